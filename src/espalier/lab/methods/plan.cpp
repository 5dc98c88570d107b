#include "espalier/lab/methods/plan.h"

#include <algorithm>

#include "espalier/core/log.h"
#include "espalier/core/resources.h"
#include "espalier/graph/operator.h"
#include "espalier/lab/methods/prune_request.h"
#include "espalier/lab/methods/runner.h"

namespace espalier {
namespace {

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

// What the steps look at decides what they need.
struct Needs {
  bool data = false, gram = false, gradients = false;

  void add(const Method& method, const std::string& repair) {
    const auto needs = [&](const char* what) { return std::find(method.needs.begin(), method.needs.end(), what) != method.needs.end(); };
    data = data || needs("data") || repair == "ls";
    gradients = gradients || needs("gradients") || (repair != "none" && repair != "ls");
    gram = gram || method.needs_gram || repair == "ls";
  }
};

Json estimates(const Model& model, const CalibrationSource& source, const Needs& needs, int threads) {
  const Graph& graph = model.graph;
  const bool text = model.task == Task::kText;
  const int64_t tokens = !needs.data ? 0 : text ? source.samples * source.length : source.samples;  // or pictures
  int64_t hidden = 0;
  for (const auto& parameter : graph.parameters())
    if (parameter->shape().size() == 1) hidden = std::max(hidden, parameter->shape()[0]);
  const uint64_t block = largest_block_bytes(graph), states = text ? static_cast<uint64_t>(tokens * hidden * 4) : 0;
  const uint64_t wide = static_cast<uint64_t>(widest_input(graph));
  uint64_t memory = (300u << 20) + 2 * block + states + (needs.gram ? wide * wide * 8 * 2 : 0);
  if (needs.gradients) memory += static_cast<uint64_t>(graph.parameter_count()) * 12;
  const uint64_t disk = 2 * graph.parameter_bytes() + 2 * states;
  const double flops = 2.0 * model_size(graph, model).flops * static_cast<double>(tokens) * (needs.gradients ? 3 : 1);
  constexpr double kFlopsPerSecond = 30e9;  // one core of an AVX2 machine in fp32 GEMM, conservatively
  if (memory > available_memory_bytes())
    warn("the plan needs about {} MB of memory and {} MB are free", memory >> 20, available_memory_bytes() >> 20);
  return {{text ? "calibration_tokens" : "calibration_images", tokens},
          {"peak_memory_bytes", memory},
          {"available_memory_bytes", available_memory_bytes()},
          {"disk_bytes", disk},
          {"estimated_seconds", flops / (kFlopsPerSecond * std::max(1, threads)) + static_cast<double>(disk) / 300e6}};
}

}  // namespace

Json plan_prune(const PruneRequest& asked) {
  Model model = open_model(asked.model, asked.common);
  const CalibrationSource source = calibration_of(asked, model);
  const PruneRequest request = completed(asked, model, source);
  Json steps = Json::array();
  Needs needs;
  for (const auto& step : request.steps) needs.add(find_method(step.method), step.repair);
  const Json before = size_to_json(model.graph, model);
  const Json estimated = estimates(model, source, needs, request.common.threads);
  for (const auto& step : request.steps) {
    const Method& method = find_method(step.method);
    JobSettings settings = settings_of(request, step, method);
    settings.trial = true;
    PruneJob job(method, model, source, std::move(settings), nullptr, 0);
    method.prune(job);
    check_reached(job);
    steps.push_back({{"method", method.id}, {"asked", job.sparsity()}, {"reached", job.reached()}, {"of", job.settings().of}, {"options", step.options}});
  }
  check_uniform(request, model.graph);
  Json result = {{"model", model.path.string()}, {"steps", steps}, {"before", before}, {"after", size_to_json(model.graph, model)}};
  result.update(estimated);
  return result;
}

}  // namespace espalier
