#include "espalier/requests/recipe.h"

#include <charconv>
#include <cstdio>

#include "espalier/core/error.h"
#include "espalier/core/weight_form.h"
#include "espalier/requests/recipe_fields.h"

namespace espalier {

const std::vector<std::string> kBudgets = {"params", "flops", "bytes", "heads", "layers", "experts", "latency"};
const std::vector<std::string> kRepairs = {"none", "ls", "bn", "lora", "perp", "finetune", "distill"};
const std::vector<std::string> kDevices = {"cpu", "cuda"};
const std::vector<std::string> kControls = {"scratch-e", "scratch-b", "scratch-b-uncapped", "finetune"};
const std::vector<std::string> kDtypes = {"auto", "fp32", "bf16", "fp16", "int8"};

MethodOptions read_settings(const Json& value, const std::string& where, const std::string& key) {
  if (!value.is_object()) throw UserError(where, key, "a map of option names and values", describe(value));
  MethodOptions settings;
  for (const auto& [name, option] : value.items()) {
    if (!option.is_string()) throw UserError(where, key + "." + printable(name), "one value", describe(option));
    settings[name] = option.get<std::string>();
  }
  return settings;
}

StepRequest read_step(const Json& value, const std::string& where) {
  const RecipeFields fields(value, where, {"method", "sparsity", "of", "pattern", "repair", "set"});
  StepRequest step;
  fields.text("method", step.method);
  if (step.method.empty()) user_error("{}: method: missing", where);
  fields.share("sparsity", step.sparsity);
  fields.word("of", kBudgets, step.of);
  fields.text("pattern", step.pattern);
  parse_pattern(step.pattern, fields.place("pattern"));
  fields.word("repair", kRepairs, step.repair);
  const Json* options = fields.find("set");
  if (options) step.options = read_settings(*options, where, "set");
  return step;
}

const std::vector<std::string> kCommonKeys = {"seed", "threads", "device", "dtype", "input_shapes"};

void read_common(const RecipeFields& fields, const std::string& where, CommonRequest& common) {
  fields.integer("seed", 0, INT64_MAX, common.seed);
  fields.integer("threads", 0, 4096, common.threads);
  fields.word("device", kDevices, common.device);
  fields.word("dtype", kDtypes, common.dtype);
  if (const Json* shapes = fields.find("input_shapes")) {
    if (!shapes->is_object()) throw UserError(where, "input_shapes", "a map of input names and sizes, as ids: 1x128", describe(*shapes));
    for (const auto& [name, shape] : shapes->items())
      common.input_shapes[name] = parse_shape(shape.is_string() ? shape.get<std::string>() : "", where + ": input_shapes");
  }
}

namespace {

void read_calibration(const Json& value, const std::string& where, CalibrationRequest& calib) {
  if (value.is_string()) {
    calib.data = value.get<std::string>();
    return;
  }
  const RecipeFields fields(value, where, {"data", "samples", "length"});
  fields.text("data", calib.data);
  fields.integer("samples", 1, kMostInRecipe, calib.samples);
  fields.integer("length", 0, kMostInRecipe, calib.length);
}

void read_lists(const RecipeFields& fields, const std::string& where, PruneRequest& request) {
  if (const Json* protect = fields.find("protect")) {
    for (const Json& entry : protect->is_array() ? *protect : Json::array({*protect})) {
      if (!entry.is_string()) throw UserError(where, "protect", "a list of patterns", describe(entry));
      request.protect.push_back(entry.get<std::string>());
    }
  }
  const Json* steps = fields.find("steps");
  if (!steps || !steps->is_array() || steps->empty())
    throw UserError(where, "steps", "a list of at least one step", steps ? describe(*steps) : "none");
  for (size_t i = 0; i < steps->size(); ++i)
    request.steps.push_back(read_step((*steps)[i], fmt::format("{}: steps[{}]", where, i)));
}

}  // namespace

PatternWord parse_pattern(const std::string& pattern, const std::string& where) {
  PatternWord word;
  if (pattern.empty() || pattern == "unstructured") return word;
  int first = 0, second = 0, used = 0;
  const char* text = pattern.c_str();
  const auto whole = [&] { return used == static_cast<int>(pattern.size()); };
  if (pattern.size() < 12 && std::sscanf(text, "block:1x%d%n", &first, &used) == 1 && whole() && first > 1 && first <= 64) {
    word.block = first;
  } else if (pattern.size() < 8 && std::sscanf(text, "%d:%d%n", &first, &second, &used) == 2 && whole() && first > 0 &&
             first < second && second <= 64) {
    word.n = first;
    word.m = second;
  } else {
    throw UserError(where, "pattern", "unstructured, N:M with 0 < N < M <= 64 as 2:4, or block:1xB with 1 < B <= 64 as block:1x16",
                    "'" + printable(pattern) + "'");
  }
  return word;
}

std::vector<int64_t> parse_shape(const std::string& text, const std::string& where) {
  std::vector<int64_t> shape;
  const char *at = text.data(), *const end = text.data() + text.size();
  for (;;) {
    int64_t size = 0;
    const auto [next, error] = std::from_chars(at, end, size);
    if (error != std::errc() || size < 1 || size > kMostInRecipe || (next != end && *next != 'x') || shape.size() >= 8)
      throw UserError(where, "shape", "sizes with x between them, as 1x3x224x224", "'" + printable(text) + "'");
    shape.push_back(size);
    if (next == end) return shape;
    at = next + 1;
  }
}

PruneRequest read_recipe(const std::filesystem::path& path) {
  const Json root = read_yaml(path);
  const auto where = path.string();
  const RecipeFields fields(
      root, where,
      {"model", "calib", "eval", "protect", "align", "uniform", "pack", "seed", "threads", "device", "dtype", "input_shapes", "steps"});
  PruneRequest request;
  request.recipe = where;
  fields.text("model", request.model);
  if (const Json* calib = fields.find("calib")) read_calibration(*calib, fields.place("calib"), request.calib);
  fields.text("eval", request.eval_data);
  fields.integer("align", 1, 4096, request.align);
  fields.flag("uniform", request.uniform);
  fields.text("pack", request.pack);
  parse_pack(request.pack, fields.place("pack"));
  read_common(fields, where, request.common);
  read_lists(fields, where, request);
  return request;
}

Json recipe_of(const PruneRequest& request) {
  Json steps = Json::array();
  for (const auto& step : request.steps) {
    Json entry = {{"method", step.method}};
    if (step.sparsity) entry["sparsity"] = *step.sparsity;
    if (!step.of.empty()) entry["of"] = step.of;
    if (!step.pattern.empty()) entry["pattern"] = step.pattern;
    entry["repair"] = step.repair;
    if (!step.options.empty()) entry["set"] = step.options;
    steps.push_back(entry);
  }
  const auto& common = request.common;
  Json calib = {{"samples", request.calib.samples}, {"length", request.calib.length}};
  if (!request.calib.data.empty()) calib["data"] = request.calib.data;
  Json recipe = {{"model", request.model}, {"calib", calib}};
  if (!request.eval_data.empty()) recipe["eval"] = request.eval_data;
  if (!request.protect.empty()) recipe["protect"] = request.protect;
  recipe.update({{"align", request.align},
                 {"uniform", request.uniform},
                 {"pack", request.pack},
                 {"seed", common.seed},
                 {"threads", common.threads},
                 {"device", common.device},
                 {"dtype", common.dtype}});
  for (const auto& [name, shape] : common.input_shapes) recipe["input_shapes"][name] = fmt::format("{}", fmt::join(shape, "x"));
  recipe["steps"] = steps;
  return recipe;
}

}  // namespace espalier
