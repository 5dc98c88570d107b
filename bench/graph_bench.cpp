// Whole networks on the engine: a ResNet-50 and its half in width, batches of 1 and 8, one and two threads. Counters:
// pictures a second, GFLOP/s, and what the oneDNN convolutions could reach at most (peak_flops). `espalier bench`
// measures files, two models turn by turn.
//   graph_bench --benchmark_filter='half.*threads:1'
#include <benchmark/benchmark.h>

#include <map>

#include "espalier/core/rng.h"
#include "espalier/engine/graph_runner.h"
#include "espalier/engine/machine_limits.h"
#include "espalier/families/family.h"
#include "espalier/graph/operator.h"

namespace {

using namespace espalier;

Graph resnet50(int64_t first_width) {
  Json widths = Json::array();
  for (int64_t width = first_width; width <= 8 * first_width; width *= 2) widths.push_back(width);
  const Json config{{"model_type", "resnet-torchvision"},
                    {"block", "bottleneck"},
                    {"layers", {3, 4, 6, 3}},
                    {"widths", widths},
                    {"image_size", 224},
                    {"num_classes", 1000}};
  return find_family("resnet-torchvision", "bench").fresh(config, 0, "bench");
}

double peak(int threads) {
  static std::map<int, double> known;
  if (!known.count(threads)) {
    Team team(threads);
    known[threads] = peak_flops(team);
  }
  return known[threads];
}

void run(benchmark::State& state, int64_t width) {
  const auto batch = state.range(0);
  const auto threads = static_cast<int>(state.range(1));
  const double limit = peak(threads);
  Graph graph = resnet50(width);
  const Shape shape{batch, 3, 224, 224};
  infer_shapes(graph, {shape});
  GraphRunner runner(graph, {shape}, {threads, {}});
  Tensor pictures(DType::kF32, shape);
  Rng rng(0, "bench/pictures");
  for (float& value : pictures.mutable_as<float>()) value = static_cast<float>(rng.normal());
  std::vector<Tensor> outputs;
  const std::vector<Tensor> inputs{pictures};
  for ([[maybe_unused]] auto unused : state) runner.run(inputs, outputs);
  const auto runs = static_cast<double>(state.iterations());
  const double flops = total_cost(graph).flops;
  state.counters["pictures/s"] = benchmark::Counter(runs * static_cast<double>(batch), benchmark::Counter::kIsRate);
  state.counters["GFLOP/s"] = benchmark::Counter(runs * flops * 1e-9, benchmark::Counter::kIsRate);
  state.counters["peak GFLOP/s"] = limit * 1e-9;
}

BENCHMARK_CAPTURE(run, resnet50 / whole, 64)
    ->ArgNames({"batch", "threads"})
    ->ArgsProduct({{1, 8}, {1, 2}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(run, resnet50 / half, 32)
    ->ArgNames({"batch", "threads"})
    ->ArgsProduct({{1, 8}, {1, 2}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
