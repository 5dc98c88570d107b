// How long it takes to find the coupling groups of a graph in memory, and all of an ONNX file's way to them.
//   group_discovery MODEL…      MODEL: a directory (config.json alone will do: fresh weights) or an .onnx file
// Medians of 21 runs in milliseconds: opening the model, inferring shapes, finding the groups; their number and sets.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/families/family.h"
#include "espalier/structure/coupling.h"

namespace espalier {
namespace {

template <typename Work>
double median_ms(int rounds, Work work) {
  std::vector<double> times;
  for (int i = 0; i < rounds; ++i) {
    const auto start = std::chrono::steady_clock::now();
    work();
    times.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  }
  std::nth_element(times.begin(), times.begin() + rounds / 2, times.end());
  return times[static_cast<size_t>(rounds / 2)];
}

void measure(const std::string& path) {
  const double open = median_ms(5, [&] { load_model(path); });
  const Model model = load_model(path);
  Graph graph = model.graph.clone();
  const auto shapes = costing_shapes(model);
  const double shaping = median_ms(21, [&] { infer_shapes(graph, shapes); });
  Coupling coupling;
  const double groups = median_ms(21, [&] { coupling = find_coupling(model.graph); });
  int64_t sets = 0;
  for (const auto& group : coupling.groups) sets += group.set_count;
  fmt::print("{:<40} {:>6} nodes  open {:>8.2f} ms  shapes {:>7.2f} ms  groups {:>7.2f} ms  {} groups, {} sets\n", path, graph.nodes.size(), open, shaping,
             groups, coupling.groups.size(), sets);
}

}  // namespace
}  // namespace espalier

int main(int argc, char** argv) {
  espalier::set_verbosity(espalier::Verbosity::kQuiet);
  try {
    for (int i = 1; i < argc; ++i) espalier::measure(argv[i]);
  } catch (const espalier::UserError& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
  }
  return argc < 2;
}
