#include "espalier/lab/methods/runner.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>

#include "espalier/core/assets.h"
#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/core/log.h"
#include "espalier/core/resources.h"
#include "espalier/engine/weight_file.h"
#include "espalier/families/output.h"
#include "espalier/graph/operator.h"
#include "espalier/io/text_dataset.h"
#include "espalier/lab/measure/accuracy.h"
#include "espalier/lab/measure/probe.h"
#include "espalier/lab/measure/quality.h"
#include "espalier/lab/methods/prune_request.h"
#include "espalier/lab/repair/repair.h"
#include "espalier/lab/torch.h"
#include "espalier/requests/recipe.h"
#include "espalier/structure/mask.h"

namespace espalier {
namespace {

using Clock = std::chrono::steady_clock;

std::string data_sha256(const CalibrationSource& source) {
  return source.images ? image_data_sha256(*source.images, source.images->size()) : text_sha256(source.data);
}

// Everything that determines the result, so that --resume cannot mix two runs.
Json prune_fingerprint(const PruneRequest& request, const Model& model, const CalibrationSource& source) {
  Json files = Json::array();
  for (const auto& file : model.files())
    files.push_back({file.filename().string(), std::filesystem::file_size(file)});
  return {{"espalier", ESPALIER_VERSION},
          {"recipe", recipe_of(request)},
          {"threads", request.common.threads},
          {"model", {{"path", model.path.string()}, {"hash", model_hash(model.graph)}, {"files", files}, {"config", sha256_of(model.config.dump())}}},
          {"data", source.data.empty() ? Json(nullptr) : Json(data_sha256(source))}};
}

struct StepResult {
  Json removed, findings;
  double asked = 0, reached = 0, spread = 0;
  std::string of;
  std::map<std::string, WeightMask> masks;
};

StepResult run_step(const PruneRequest& request, size_t index, Model& model, const CalibrationSource& source, RunDirectory& run) {
  const StepRequest& step = request.steps[index];
  const Method& method = find_method(step.method);
  PruneJob job(method, model, source, settings_of(request, step, method), &run, static_cast<int>(index));
  method.prune(job);
  model.graph.check();
  check_reached(job);
  StepResult result{job.removed(), {}, job.sparsity(), job.reached(), job.spread(), job.settings().of, {}};
  if (step.repair != "none") repair_model(job, step.repair, repair_options(step));
  result.findings = job.findings();
  result.masks = job.masks();
  return result;
}

// The graph with its weights in memory or in the run's files against the result opened as a user would.
void verify_result(const OutputPlace& place, const std::filesystem::path& staging, const Model& model) {
  const auto inputs = probe_inputs(model, 0);
  LoadOptions options;
  for (size_t i = 0; i < inputs.size() && place.onnx; ++i)  // sizes that the file leaves open
    options.input_shapes[model.graph.values[static_cast<size_t>(model.graph.inputs[i])].name] = inputs[i].sizes().vec();
  const Model written = load_model(staging, options);
  if (!written.notes.empty()) return;  // holds operators that only other programs run
  const auto expected = run_graph(model.graph, inputs), found = run_graph(written.graph, inputs);
  for (size_t i = 0; i < expected.size(); ++i) {
    const double scale = std::max(1.0, expected[i].abs().max().item<double>());
    const double difference = (expected[i] - found[i]).abs().max().item<double>();
    // A file in the model's own format has the very same operators; an ONNX file is put together anew.
    if (written.onnx ? !(difference <= 1e-4 * scale) : !at::equal(expected[i], found[i]))
      ESP_ASSERT(false, "{}: the written model computes other outputs than the one in memory (by {})", place.directory.string(), difference);
  }
}

Json quality_json(const Quality& quality) {
  Json json = {{"perplexity", quality.perplexity.value}, {"ci95", {quality.perplexity.low, quality.perplexity.high}}, {"tokens", quality.tokens}};
  if (quality.kl) json["kl"] = *quality.kl;
  if (quality.agreement) json["top1_agreement"] = *quality.agreement;
  return json;
}

Json accuracy_json(const Accuracy& accuracy) {
  Json json = {{"accuracy", accuracy.top1.value}, {"ci95", {accuracy.top1.low, accuracy.top1.high}}, {"images", accuracy.images}};
  if (accuracy.kl) json["kl"] = *accuracy.kl;
  if (accuracy.agreement) json["top1_agreement"] = *accuracy.agreement;
  return json;
}

Json measure_both(const PruneRequest& request, const Model& dense, const Model& pruned) {
  if (dense.task == Task::kImages) {
    const auto data = ImageDataset::open(resolve_data(request.eval_data));
    return {{"dense", accuracy_json(measure_accuracy(dense.graph, *data, dense.image, 0, 0))},
            {"pruned", accuracy_json(measure_accuracy(pruned.graph, *data, dense.image, 0, 0, &dense.graph))}};
  }
  const auto ids = tokens_of(resolve_data(request.eval_data), dense, 0);
  const int64_t length = default_length(dense.context_length);
  const auto windows = windows_of(ids, length, length);
  return {{"dense", quality_json(measure_quality(dense.graph, windows, length, length))},
          {"pruned", quality_json(measure_quality(pruned.graph, windows, length, length, &dense.graph))}};
}

}  // namespace

Model open_model(const std::string& path_or_name, const CommonRequest& common) {
  return load_model(resolve_model(path_or_name), {common.seed, common.input_shapes});
}

Json size_to_json(const Graph& graph, const Model& model) {
  const Size size = model_size(graph, model);
  return {{"params", size.params}, {"flops", size.flops}, {"bytes", size.bytes}};
}

Json run_prune(const PruneRequest& asked) {
  const auto start = Clock::now();
  for (const auto& step : asked.steps) find_method(step.method);  // a wrong name must not wait for the model
  Model model = open_model(asked.model, asked.common);
  const CalibrationSource source = calibration_of(asked, model);
  const PruneRequest request = completed(asked, model, source);
  if (!request.eval_data.empty() && model.task == Task::kOther)
    user_error("--eval: {} is neither a language model nor a classifier of pictures", model.path.string());
  const Model dense = open_model(request.model, request.common);
  const OutputPlace place = output_place(request.out, "", model, {request.force, request.resume, model.path});
  RunDirectory run(place.directory, prune_fingerprint(request, model, source), {request.force, request.resume, model.path});
  if (run.finished_result()) {
    publish(place);
    return *run.finished_result();
  }
  return run.guard([&] {
    std::map<std::string, WeightMask> masks;  // of the dense model, so only when this is the only step
    Json removed = Json::array(), findings = Json::array(), steps = Json::array();
    for (size_t i = 0; i < request.steps.size(); ++i) {
      StepResult step = run_step(request, i, model, source, run);
      for (auto& entry : step.removed) removed.push_back(std::move(entry));
      masks = request.steps.size() == 1 ? std::move(step.masks) : std::map<std::string, WeightMask>{};
      if (!step.findings.empty()) findings.push_back({{"method", request.steps[i].method}, {"findings", step.findings}});
      steps.push_back({{"asked", step.asked}, {"reached", step.reached}, {"of", step.of}});
      if (step.spread > 0) steps.back()["spread"] = step.spread;
      if (step.findings.contains("timed")) steps.back()["timed"] = step.findings["timed"];
    }
    check_uniform(request, model.graph);
    OutputOptions output;
    const PackChoice pack = parse_pack(request.pack, "--pack");
    output.pack = weight_packer(pack);
    write_result(model, place, run.staging(), output);
    model.check_unchanged();
    if (!masks.empty()) {
      Mask mask = Mask::for_model(dense.graph);
      mask.weights = std::move(masks);
      mask.save(run.staging() / "mask.safetensors");
    }
    write_file_atomically(run.staging() / "recipe.yaml", to_yaml(recipe_of(request)));
    if (!findings.empty()) write_file_atomically(run.staging() / "findings.json", findings.dump(1) + "\n");
    if (!pack.precision) verify_result(place, run.staging(), model);  // else the weights are rounded, as asked
    Json result = {{"method", request.steps.back().method},
                   {"sparsity", steps.back()},
                   {"before", size_to_json(dense.graph, dense)},
                   {"after", size_to_json(model.graph, dense)},
                   {"removed", removed},
                   {"out", request.out}};
    if (request.steps.size() > 1) result["steps"] = steps;
    if (!request.eval_data.empty()) result["quality"] = measure_both(request, dense, model);
    run.finish(result);
    publish(place);
    result["seconds"] = std::chrono::duration<double>(Clock::now() - start).count();
    result["peak_rss_bytes"] = peak_rss_bytes();
    return result;
  });
}

}  // namespace espalier
