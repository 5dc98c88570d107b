#include "espalier/engine/graph_benchmark.h"

#include <algorithm>
#include <chrono>

#include "espalier/core/error.h"
#include "espalier/core/progress.h"
#include "espalier/core/resources.h"
#include "espalier/core/rng.h"
#include "espalier/core/signals.h"
#include "espalier/engine/graph_runner.h"
#include "espalier/engine/machine_limits.h"
#include "espalier/engine/simd.h"
#include "espalier/engine/statistics.h"
#include "espalier/families/family.h"

namespace espalier {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kRoundSeconds = 0.1;

struct Arm {
  std::string name;
  std::unique_ptr<GraphRunner> runner;
  std::vector<Tensor> inputs, outputs;
  double load_seconds = 0, flops = 0;
  uint64_t resident_bytes = 0;
  std::vector<double> ms;  // of each run
};

// The rows of the smallest table that these ids look something up in.
uint64_t id_limit(const Graph& graph, ValueId input) {
  int64_t limit = 2;  // a mask
  bool found = false;
  for (NodeId reader : graph.consumers(input)) {
    const Node& node = graph.nodes[static_cast<size_t>(reader)];
    if (node.op != "Embedding") continue;
    const int64_t rows = graph.parameter_of(node, "weight").shape()[0];
    limit = found ? std::min(limit, rows) : rows;
    found = true;
  }
  return static_cast<uint64_t>(std::max<int64_t>(1, limit));
}

Tensor random_input(const Graph& graph, size_t i, DType type, const Shape& shape, Rng& rng) {
  Tensor tensor(type == DType::kI64 ? DType::kI64 : DType::kF32, shape);
  if (type == DType::kI64) {
    const uint64_t limit = id_limit(graph, graph.inputs[i]);
    for (int64_t& id : tensor.mutable_as<int64_t>()) id = static_cast<int64_t>(rng.below(limit));
  } else {
    for (float& value : tensor.mutable_as<float>()) value = static_cast<float>(rng.normal());
  }
  return tensor;
}

std::vector<Shape> batched_shapes(const Model& model, int64_t batch) {
  std::vector<Shape> shapes = model.example_inputs;
  for (Shape& shape : shapes)
    if (!shape.empty()) shape[0] = batch;
  return shapes;
}

Arm open_arm(const std::string& path, const BenchRequest& request) {
  Arm arm;
  arm.name = path;
  const uint64_t before = rss_bytes();
  const auto start = Clock::now();
  const Model model = load_model(path, {request.common.seed, request.common.input_shapes});
  const auto shapes = batched_shapes(model, request.batch);
  arm.runner = std::make_unique<GraphRunner>(
      model.graph, shapes, GraphRunnerOptions{std::max(1, request.common.threads), model.input_dtypes});
  arm.load_seconds = seconds_since(start);
  Graph shaped = model.graph.clone();
  infer_shapes(shaped, shapes);
  arm.flops = total_cost(shaped).flops;
  Rng rng(request.common.seed, "bench/inputs");
  for (size_t i = 0; i < shapes.size(); ++i)
    arm.inputs.push_back(random_input(model.graph, i, model.input_dtypes[i], shapes[i], rng));
  arm.runner->run(arm.inputs, arm.outputs);
  const uint64_t now = rss_bytes();
  arm.resident_bytes = now > before ? now - before : 0;
  return arm;
}

void run_round(Arm& arm) {
  const auto round = Clock::now();
  do {
    check_interrupted();
    const auto start = Clock::now();
    arm.runner->run(arm.inputs, arm.outputs);
    arm.ms.push_back(seconds_since(start) * 1e3);
  } while (seconds_since(round) < kRoundSeconds);
}

Json describe(const Arm& arm, const BenchRequest& request, double peak) {
  std::vector<double> rates;
  for (double ms : arm.ms) rates.push_back(static_cast<double>(request.batch) * 1e3 / ms);
  return {{"model", arm.name},
          {"load_s", arm.load_seconds},
          {"images_per_s", spread(rates)},
          {"ms", spread(arm.ms)},
          {"runs", arm.ms.size()},
          {"flops", arm.flops},
          {"share_of_peak_flops", arm.flops / (median(arm.ms) * 1e-3) / peak},
          {"workspace_bytes", arm.runner->workspace_bytes()},
          {"resident_bytes", arm.resident_bytes}};
}

double ratio(const Json& a, const Json& b) { return b.get<double>() == 0 ? 0 : a.get<double>() / b.get<double>(); }

}  // namespace

Json bench_graph(const BenchRequest& request) {
  std::vector<Arm> arms;
  arms.push_back(open_arm(request.model, request));
  if (!request.against.empty()) arms.push_back(open_arm(request.against, request));
  Progress progress("bench", request.rounds, "rounds");
  for (int64_t round = 0; round < request.rounds; ++round) {
    for (Arm& arm : arms) run_round(arm);
    progress.advance(1);
  }
  Team team(std::max(1, request.common.threads));
  const double peak = peak_flops(team);
  Json result = describe(arms[0], request, peak);
  result["kind"] = "images";
  result["batch"] = request.batch;
  result["rounds"] = request.rounds;
  result["threads"] = team.size();
  result["simd"] = name_of(simd_level());
  result["limits"] = {{"peak_flops_fp32", peak}};
  result["peak_rss_bytes"] = peak_rss_bytes();
  if (arms.size() > 1) {
    result["against"] = describe(arms[1], request, peak);
    const Json& other = result["against"];
    result["ratio"] = {{"images_per_s", ratio(result["images_per_s"]["median"], other["images_per_s"]["median"])},
                       {"flops", ratio(result["flops"], other["flops"])},
                       {"resident_bytes", ratio(result["resident_bytes"], other["resident_bytes"])}};
  }
  return result;
}

}  // namespace espalier
