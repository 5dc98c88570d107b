#include "espalier/requests/recipe.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "espalier/core/error.h"
#include "espalier/core/weight_form.h"

namespace espalier {

const std::vector<std::string> kBudgets = {"params", "flops", "bytes", "heads", "layers", "experts", "latency"};
const std::vector<std::string> kRepairs = {"none", "ls", "bn", "lora", "finetune", "distill"};
const std::vector<std::string> kDevices = {"cpu", "cuda"};
const std::vector<std::string> kDtypes = {"auto", "fp32", "bf16", "fp16", "int8"};

namespace {

constexpr int64_t kMost = int64_t{1} << 40;

// One map of a recipe. Each reader leaves its target alone when the key is absent.
class Fields {
 public:
  Fields(const Json& object, std::string where, std::vector<std::string> known)
      : object_(object), where_(std::move(where)) {
    if (!object.is_object())
      throw UserError(where_, "value", fmt::format("a map of {}", fmt::join(known, ", ")), describe(object));
    for (const auto& [key, value] : object.items())
      if (std::find(known.begin(), known.end(), key) == known.end())
        user_error("{}: unknown key '{}'{}; known: {}", where_, printable(key), did_you_mean(key, known),
                   fmt::join(known, ", "));
  }

  const Json* find(const std::string& key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  void text(const std::string& key, std::string& target) const {
    if (const Json* value = find(key)) target = as_text(key, *value);
  }

  void word(const std::string& key, const std::vector<std::string>& known, std::string& target) const {
    const Json* value = find(key);
    if (!value) return;
    target = as_text(key, *value);
    if (std::find(known.begin(), known.end(), target) == known.end())
      fail(key, fmt::format("one of {}", fmt::join(known, ", ")), describe(*value) + did_you_mean(target, known));
  }

  template <typename T>
  void integer(const std::string& key, int64_t low, int64_t high, T& target) const {
    const Json* value = find(key);
    if (!value) return;
    const auto number = parsed<int64_t>(*value);
    if (!number || *number < low || *number > high)
      fail(key, fmt::format("an integer from {} to {}", low, high), describe(*value));
    target = static_cast<T>(*number);
  }

  void share(const std::string& key, std::optional<double>& target) const {
    const Json* value = find(key);
    if (!value) return;
    const auto number = parsed<double>(*value);
    if (!number || !(*number >= 0 && *number < 1)) fail(key, "a number in [0, 1)", describe(*value));
    target = *number;
  }

  void flag(const std::string& key, bool& target) const {
    std::string text = target ? "true" : "false";
    if (const Json* value = find(key); value && value->is_boolean())
      text = value->dump();
    else
      word(key, {"true", "false"}, text);
    target = text == "true";
  }

  std::string place(const std::string& key) const { return where_ + ": " + key; }

 private:
  [[noreturn]] void fail(const std::string& key, const std::string& expected, const std::string& found) const {
    throw UserError(where_, key, expected, found);
  }

  std::string as_text(const std::string& key, const Json& value) const {
    if (!value.is_string()) fail(key, "a word", describe(value));
    return value.get<std::string>();
  }

  template <typename T>
  static std::optional<T> parsed(const Json& value) {
    if (!value.is_string()) return std::nullopt;
    const auto& text = value.get_ref<const std::string&>();
    T number{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc() && end == text.data() + text.size() ? std::optional(number) : std::nullopt;
  }

  const Json& object_;
  std::string where_;
};

StepRequest read_step(const Json& value, const std::string& where) {
  const Fields fields(value, where, {"method", "sparsity", "of", "pattern", "repair", "set"});
  StepRequest step;
  fields.text("method", step.method);
  if (step.method.empty()) user_error("{}: method: missing", where);
  fields.share("sparsity", step.sparsity);
  fields.word("of", kBudgets, step.of);
  fields.text("pattern", step.pattern);
  parse_pattern(step.pattern, fields.place("pattern"));
  fields.word("repair", kRepairs, step.repair);
  const Json* options = fields.find("set");
  if (!options) return step;
  if (!options->is_object()) throw UserError(where, "set", "a map of option names and values", describe(*options));
  for (const auto& [name, option] : options->items()) {
    if (!option.is_string()) throw UserError(where, "set." + printable(name), "one value", describe(option));
    step.options[name] = option.get<std::string>();
  }
  return step;
}

void read_calibration(const Json& value, const std::string& where, CalibrationRequest& calib) {
  if (value.is_string()) {
    calib.data = value.get<std::string>();
    return;
  }
  const Fields fields(value, where, {"data", "samples", "length"});
  fields.text("data", calib.data);
  fields.integer("samples", 1, kMost, calib.samples);
  fields.integer("length", 0, kMost, calib.length);
}

void read_lists(const Fields& fields, const std::string& where, PruneRequest& request) {
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
    if (error != std::errc() || size < 1 || size > kMost || (next != end && *next != 'x') || shape.size() >= 8)
      throw UserError(where, "shape", "sizes with x between them, as 1x3x224x224", "'" + printable(text) + "'");
    shape.push_back(size);
    if (next == end) return shape;
    at = next + 1;
  }
}

PruneRequest read_recipe(const std::filesystem::path& path) {
  const Json root = read_yaml(path);
  const auto where = path.string();
  const Fields fields(
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
  fields.integer("seed", 0, INT64_MAX, request.common.seed);
  fields.integer("threads", 0, 4096, request.common.threads);
  fields.word("device", kDevices, request.common.device);
  fields.word("dtype", kDtypes, request.common.dtype);
  if (const Json* shapes = fields.find("input_shapes")) {
    if (!shapes->is_object()) throw UserError(where, "input_shapes", "a map of input names and sizes, as ids: 1x128", describe(*shapes));
    for (const auto& [name, shape] : shapes->items())
      request.common.input_shapes[name] = parse_shape(shape.is_string() ? shape.get<std::string>() : "", where + ": input_shapes");
  }
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
