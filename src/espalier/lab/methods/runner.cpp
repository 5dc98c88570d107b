#include "espalier/lab/methods/runner.h"

#include <ATen/Parallel.h>

#include <chrono>

#include "espalier/core/assets.h"
#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/core/log.h"
#include "espalier/core/resources.h"
#include "espalier/families/layer_plan.h"
#include "espalier/families/output.h"
#include "espalier/graph/operator.h"
#include "espalier/io/text_dataset.h"
#include "espalier/lab/evaluate.h"
#include "espalier/lab/measure/quality.h"
#include "espalier/lab/methods/job.h"
#include "espalier/lab/repair/repair.h"
#include "espalier/lab/torch.h"
#include "espalier/requests/recipe.h"
#include "espalier/structure/mask.h"

namespace espalier {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kDefaultText = "calibration.txt";  // embedded

bool has_tokenizer(const std::filesystem::path& model) {
  for (const char* name : {"tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt"})
    if (std::filesystem::exists(model / name)) return true;
  return false;
}

bool wants_data(const PruneRequest& request) {
  if (!request.calib.data.empty()) return true;
  for (const auto& step : request.steps) {
    const auto& needs = find_method(step.method).needs;
    if (std::find(needs.begin(), needs.end(), "data") != needs.end() || step.repair != "none") return true;
  }
  return false;
}

CalibrationSource calibration_of(const PruneRequest& request, const Model& model) {
  CalibrationSource source;
  source.samples = request.calib.samples;
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

std::optional<NOfM> pattern_of(const StepRequest& step, const Method& method) {
  if (step.pattern.empty()) return std::nullopt;
  if (!method.patterns) user_error("--pattern: {} removes no single weights, so it takes no N:M pattern", method.id);
  const size_t colon = step.pattern.find(':');
  return NOfM{std::stoll(step.pattern.substr(0, colon)), std::stoll(step.pattern.substr(colon + 1))};
}

JobSettings settings_of(const PruneRequest& request, const StepRequest& step, const Method& method) {
  JobSettings settings;
  settings.pattern = pattern_of(step, method);
  const bool has_other_budget = settings.pattern || step.options.count("remove") || step.options.count("layers-worth");
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

// The request with every default filled in: what the stored recipe says. Checks methods, options and budgets, so that
// what is wrong is said before any work. An option whose default is empty (chosen from the model) stays unsaid.
PruneRequest completed(PruneRequest request, Model& model, const CalibrationSource& source) {
  if (!source.data.empty()) {
    if (request.calib.data.empty()) request.calib.data = kDefaultText;
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
  }
  return request;
}

// Everything that determines the result, so that --resume cannot mix two runs.
Json fingerprint_of(const PruneRequest& request, const Model& model, const CalibrationSource& source) {
  Json files = Json::array();
  for (const auto& file : model.checkpoint->files())
    files.push_back({file.filename().string(), std::filesystem::file_size(file)});
  return {{"espalier", ESPALIER_VERSION},
          {"recipe", recipe_of(request)},
          {"threads", request.common.threads},
          {"model", {{"path", model.path.string()}, {"hash", model_hash(model.graph)}, {"files", files}, {"config", sha256_of(model.config.dump())}}},
          {"data", source.data.empty() ? Json(nullptr) : Json(text_sha256(source.data))}};
}

struct StepResult {
  Json removed, findings;
  double asked = 0, reached = 0;
  std::string of;
  std::map<std::string, WeightMask> masks;
};

StepResult run_step(const PruneRequest& request, size_t index, Model& model, const CalibrationSource& source, RunDirectory& run) {
  const StepRequest& step = request.steps[index];
  const Method& method = find_method(step.method);
  PruneJob job(method, model, source, settings_of(request, step, method), &run, static_cast<int>(index));
  method.prune(job);
  model.graph.check();
  if (job.sparsity() > 0 && job.reached() <= 0)
    user_error("{}: asked to remove {} of {}, and the nearest that can be done is nothing", method.id, job.sparsity(), job.settings().of);
  StepResult result{job.removed(), job.findings(), job.sparsity(), job.reached(), job.settings().of};
  if (step.repair != "none") {
    std::map<std::string, std::string> options;
    for (const auto& [name, value] : step.options)
      if (name.starts_with("repair.")) options[name.substr(7)] = value;
    repair_model(job, step.repair, options);
  }
  result.masks = job.masks();
  return result;
}

// The graph with its weights in memory or in the run's files against the same directory opened as a user would.
void verify_result(const std::filesystem::path& directory, const Graph& graph) {
  verify_written(directory, graph);
  const Model written = load_model(directory);
  TokenSequences probe(1);
  for (int32_t i = 0; i < 8; ++i) probe[0].push_back(i % static_cast<int32_t>(written.vocab_size));
  const auto logits = [&](const Graph& of) {
    BlockStream stream(of, probe);
    while (!stream.done()) stream.advance();
    return stream.logits(0, 0, 8);
  };
  if (!at::equal(logits(graph), logits(written.graph)))
    ESP_ASSERT(false, "the written model computes other logits than the one in memory");
}

Json quality_json(const Quality& quality) {
  Json json = {{"perplexity", quality.perplexity.value}, {"ci95", {quality.perplexity.low, quality.perplexity.high}}, {"tokens", quality.tokens}};
  if (quality.kl) json["kl"] = *quality.kl;
  if (quality.agreement) json["top1_agreement"] = *quality.agreement;
  return json;
}

Json measure_both(const PruneRequest& request, const Model& dense, const Model& pruned) {
  const auto ids = tokens_of(resolve_data(request.eval_data), dense, 0);
  const int64_t length = default_length(dense.context_length);
  const auto windows = windows_of(ids, length, length);
  return {{"dense", quality_json(measure_quality(dense.graph, windows, length, length))},
          {"pruned", quality_json(measure_quality(pruned.graph, windows, length, length, &dense.graph))}};
}

uint64_t largest_block_bytes(const Graph& graph) {
  std::vector<uint64_t> bytes(static_cast<size_t>(graph.block_count) + 2);
  for (const auto& node : graph.nodes)
    for (const auto& [role, name] : node.params) bytes[static_cast<size_t>(node.block + 1)] += static_cast<uint64_t>(graph.parameter(name).count()) * 4;
  return *std::max_element(bytes.begin(), bytes.end());
}

int64_t widest_input(const Graph& graph) {
  int64_t widest = 0;
  for (const auto& node : graph.nodes)
    if (node.op == "Linear" && node.block >= 0 && node.block < graph.block_count) {
      const Shape& shape = graph.parameter_of(node, "weight").shape();
      widest = std::max(widest, node.flag_or("transposed", false) ? shape[0] : shape[1]);
    }
  return widest;
}

}  // namespace

Model open_model(const std::string& path_or_name) { return load_model(resolve_model(path_or_name)); }

Json size_to_json(const Graph& graph, int64_t context_length) {
  const Size size = measure_size(graph, default_length(context_length));
  return {{"params", size.params}, {"flops", size.flops}, {"bytes", size.bytes}};
}

Json run_prune(const PruneRequest& asked) {
  const auto start = Clock::now();
  for (const auto& step : asked.steps) find_method(step.method);  // a wrong name must not wait for the model
  Model model = open_model(asked.model);
  const CalibrationSource source = calibration_of(asked, model);
  const PruneRequest request = completed(asked, model, source);
  const Model dense = open_model(request.model);
  RunDirectory run(request.out, fingerprint_of(request, model, source), {request.force, request.resume, model.path});
  if (run.finished_result()) return *run.finished_result();
  return run.guard([&] {
    std::map<std::string, WeightMask> masks;  // of the dense model, so only when this is the only step
    Json removed = Json::array(), findings = Json::array(), steps = Json::array();
    for (size_t i = 0; i < request.steps.size(); ++i) {
      StepResult step = run_step(request, i, model, source, run);
      for (auto& entry : step.removed) removed.push_back(std::move(entry));
      masks = request.steps.size() == 1 ? std::move(step.masks) : std::map<std::string, WeightMask>{};
      if (!step.findings.empty()) findings.push_back({{"method", request.steps[i].method}, {"findings", step.findings}});
      steps.push_back({{"asked", step.asked}, {"reached", step.reached}, {"of", step.of}});
    }
    if (request.uniform && !is_uniform(block_widths(model.graph)))
      user_error("--uniform: {} leaves blocks of different widths; leave --uniform out, or choose a method with equal widths", request.steps.back().method);
    OutputOptions output;
    output.pack_bitmap = request.pack == "bitmap";
    write_model(model, run.staging(), output);
    model.checkpoint->check_unchanged();
    if (!masks.empty()) {
      Mask mask = Mask::for_model(dense.graph);
      mask.weights = std::move(masks);
      mask.save(run.staging() / "mask.safetensors");
    }
    write_file_atomically(run.staging() / "recipe.yaml", to_yaml(recipe_of(request)));
    if (!findings.empty()) write_file_atomically(run.staging() / "findings.json", findings.dump(1) + "\n");
    verify_result(run.staging(), model.graph);
    Json result = {{"method", request.steps.back().method},
                   {"sparsity", steps.back()},
                   {"before", size_to_json(dense.graph, model.context_length)},
                   {"after", size_to_json(model.graph, model.context_length)},
                   {"removed", removed},
                   {"out", request.out}};
    if (request.steps.size() > 1) result["steps"] = steps;
    if (!request.eval_data.empty()) result["quality"] = measure_both(request, dense, model);
    run.finish(result);
    result["seconds"] = std::chrono::duration<double>(Clock::now() - start).count();
    result["peak_rss_bytes"] = peak_rss_bytes();
    return result;
  });
}

Json plan_prune(const PruneRequest& request) {
  Model model = open_model(request.model);
  const CalibrationSource source = calibration_of(request, model);
  Json steps = Json::array();
  bool uses_data = false, uses_gram = false, uses_gradients = false;
  for (const auto& step : request.steps) {
    const Method& method = find_method(step.method);
    PruneJob job(method, model, source, settings_of(request, step, method), nullptr, 0);
    const auto needs = [&](const char* what) { return std::find(method.needs.begin(), method.needs.end(), what) != method.needs.end(); };
    uses_data = uses_data || needs("data");
    uses_gradients = uses_gradients || needs("gradients");
    uses_gram = uses_gram || method.id == "sparsegpt" || step.repair == "ls";
    Json options = Json::object();
    for (const auto& [name, value] : job.all_options()) options[name] = value;
    steps.push_back({{"method", method.id}, {"asked", job.sparsity()}, {"of", job.settings().of}, {"options", options}});
  }
  const int64_t tokens = uses_data ? source.samples * source.length : 0;
  int64_t hidden = 0;
  for (const auto& parameter : model.graph.parameters())
    if (parameter->shape().size() == 1) hidden = std::max(hidden, parameter->shape()[0]);
  const uint64_t block = largest_block_bytes(model.graph), states = static_cast<uint64_t>(tokens * hidden * 4);
  const uint64_t wide = static_cast<uint64_t>(widest_input(model.graph));
  uint64_t memory = (300u << 20) + 2 * block + states + (uses_gram ? wide * wide * 8 * 2 : 0);
  if (uses_gradients) memory += static_cast<uint64_t>(model.graph.parameter_count()) * 12;
  const uint64_t disk = 2 * model.graph.parameter_bytes() + 2 * states;
  const Size size = measure_size(model.graph, source.length);
  const double flops = 2.0 * size.flops * static_cast<double>(tokens) * (uses_gradients ? 3 : 1);
  constexpr double kFlopsPerSecond = 30e9;  // one core of an AVX2 machine in fp32 GEMM, conservatively
  Json result = {{"model", model.path.string()},
                 {"steps", steps},
                 {"before", size_to_json(model.graph, model.context_length)},
                 {"calibration_tokens", tokens},
                 {"peak_memory_bytes", memory},
                 {"available_memory_bytes", available_memory_bytes()},
                 {"disk_bytes", disk},
                 {"estimated_seconds", flops / (kFlopsPerSecond * std::max(1, request.common.threads)) + static_cast<double>(disk) / 300e6}};
  if (memory > available_memory_bytes())
    warn("the plan needs about {} MB of memory and {} MB are free", memory >> 20, available_memory_bytes() >> 20);
  return result;
}

}  // namespace espalier
