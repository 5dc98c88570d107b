#include "espalier/lab/methods/prune_request.h"

#include <algorithm>
#include <set>

#include "espalier/core/assets.h"
#include "espalier/core/error.h"
#include "espalier/families/layer_plan.h"
#include "espalier/lab/measure/quality.h"
#include "espalier/lab/repair/repair.h"
#include "espalier/requests/recipe.h"

namespace espalier {
namespace {

constexpr const char* kDefaultText = "calibration.txt";  // embedded

bool has_tokenizer(const std::filesystem::path& model) {
  for (const char* name : {"tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt"})
    if (std::filesystem::exists(model / name)) return true;
  return false;
}

// Which of the taxonomy's families a model may be, as far as its task tells.
bool suits(const Method& method, Task task) {
  const std::set<std::string> words = task == Task::kText     ? std::set<std::string>{"llm", "moe", "any"}
                                      : task == Task::kImages ? std::set<std::string>{"cnn", "vit", "detector", "any"}
                                                              : std::set<std::string>{"cnn", "vit", "detector", "bert", "any"};
  return std::any_of(method.taxonomy.families.begin(), method.taxonomy.families.end(), [&](const auto& word) { return words.count(word); });
}

void check_suits(const Method& method, const Model& model) {
  if (!method.prune && method.kind == "AttentionPolicy")
    user_error("{}: it removes nothing from a model: use train --method {} and generate --policy {}", method.id, method.id, method.id);
  if (!method.prune)
    user_error("{}: it {}", method.id, method.plugin ? "prunes while a model is trained: use train --method " + method.id : "is a study, and prunes nothing: see docs/methods/" + method.id + ".md");
  if (!suits(method, model.task))
    user_error("{}: {} is for {} models; this one reads {}", model.path.string(), method.id, fmt::join(method.taxonomy.families, ", "),
               model.task == Task::kText ? "text" : model.task == Task::kImages ? "pictures" : "other data");
}

bool wants_data(const PruneRequest& request) {
  if (!request.calib.data.empty()) return true;
  for (const auto& step : request.steps) {
    const auto& needs = find_method(step.method).needs;
    if (std::find(needs.begin(), needs.end(), "data") != needs.end() || step.repair != "none") return true;
  }
  return false;
}

PatternWord pattern_of(const StepRequest& step, const Method& method) {
  const PatternWord pattern = parse_pattern(step.pattern, "--pattern");
  if ((pattern.m > 0 || pattern.block > 1) && !method.patterns)
    user_error("--pattern: {} removes no single weights, so it takes no pattern of them", method.id);
  return pattern;
}

}  // namespace

CalibrationSource calibration_of(const PruneRequest& request, const Model& model) {
  for (const auto& step : request.steps) check_suits(find_method(step.method), model);
  CalibrationSource source;
  source.samples = request.calib.samples;
  if (model.task != Task::kText) {
    const bool embedded = request.calib.data.empty() && model.task == Task::kImages && is_embedded(model.path) && wants_data(request);
    if (!request.calib.data.empty() || embedded) {
      source.data = resolve_data(embedded ? kEmbeddedPictures : request.calib.data);
      if (model.task != Task::kImages) user_error("--calib: {} is no classifier of pictures, so it is calibrated on noise; leave --calib out", model.path.string());
      source.images = ImageDataset::open(source.data);
    }
    return source;
  }
  source.length = request.calib.length ? request.calib.length : default_length(model.context_length);
  if (!wants_data(request)) return source;
  source.data = resolve_data(request.calib.data.empty() ? kDefaultText : request.calib.data);
  if (source.length > model.context_length)
    throw UserError("--length", "tokens a calibration sequence", fmt::format("at most the model's context {}", model.context_length),
                    fmt::format("{}", source.length));
  if (!has_tokenizer(model.path))
    user_error("{}: the method needs calibration text, and the directory has no tokenizer (tokenizer.json, tokenizer.model, vocab.json or vocab.txt)",
               model.path.string());
  source.tokenizer = Tokenizer::load(model.path);
  return source;
}

std::map<std::string, std::string> repair_options(const StepRequest& step) {
  std::map<std::string, std::string> options;
  for (const auto& [name, value] : step.options)
    if (name.starts_with("repair.")) options[name.substr(7)] = value;
  return options;
}

JobSettings settings_of(const PruneRequest& request, const StepRequest& step, const Method& method) {
  JobSettings settings;
  const PatternWord pattern = pattern_of(step, method);
  if (pattern.m > 0) settings.pattern = NOfM{pattern.n, pattern.m};
  settings.block = pattern.block;
  const bool has_other_budget = settings.pattern || step.options.count("remove") || step.options.count("layers-worth") ||
                                step.options.count("mask") || step.options.count("ratio");
  if (!step.sparsity && !has_other_budget) user_error("--sparsity: missing: what share shall {} remove?", method.id);
  settings.sparsity = step.sparsity.value_or(settings.pattern ? 1.0 - static_cast<double>(settings.pattern->n) / static_cast<double>(settings.pattern->m) : 0.0);
  settings.of = step.of.empty() ? method.default_of : step.of;
  if (settings.of != method.default_of && std::find(method.of.begin(), method.of.end(), settings.of) == method.of.end())
    user_error("--of: {} takes shares of {}, not of {}", method.id, method.default_of, settings.of);
  for (const auto& [name, value] : step.options)
    if (!name.starts_with("repair.")) settings.options[name] = value;
  settings.protect = request.protect;
  settings.align = request.align;
  settings.uniform = request.uniform;
  settings.seed = request.common.seed;
  return settings;
}

PruneRequest completed(PruneRequest request, Model& model, const CalibrationSource& source) {
  if (!source.data.empty()) {
    if (request.calib.data.empty()) request.calib.data = source.images ? kEmbeddedPictures : kDefaultText;
    request.calib.length = source.length;
  }
  const PruneRequest asked = request;
  for (auto& step : request.steps) {
    const Method& method = find_method(step.method);
    const PruneJob job(method, model, source, settings_of(asked, step, method), nullptr, 0);
    step.method = method.id;
    step.of = job.settings().of;
    for (const auto& [name, value] : job.all_options())
      if (!value.empty()) step.options.try_emplace(name, value);
    if (step.repair == "none") continue;
    check_repair(job, step.repair, repair_options(step));
    for (const auto& [name, value] : repair_defaults(step.repair, model.task)) step.options.try_emplace("repair." + name, value);
  }
  return request;
}

void check_reached(const PruneJob& job) {
  if (job.sparsity() > 0 && job.reached() <= 0)
    user_error("{}: asked to remove {} of {}, and the nearest that can be done is nothing", job.method().id, job.sparsity(), job.settings().of);
}

void check_uniform(const PruneRequest& request, const Graph& graph) {
  if (request.uniform && !is_uniform(block_widths(graph)))
    user_error("--uniform: {} leaves blocks of different widths; leave --uniform out, or choose a method with equal widths", request.steps.back().method);
}

}  // namespace espalier
