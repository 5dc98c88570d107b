// Any ONNX files against what another program computed: ESPALIER_ONNX_CASES names a folder that
// tests/judge/onnx_import_judge.py has filled. Each case is a JSON file {"model", "inputs": [{"name", "file", "dtype",
// "shape", "import_shape"}], "outputs": [{"name", "file", "dtype", "shape"}]}. ESPALIER_ONNX_ONLY names one case;
// ESPALIER_ONNX_GROUPS and ESPALIER_ONNX_NODES print its groups and nodes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>

#include "espalier/core/file.h"
#include "espalier/core/json.h"
#include "espalier/core/rng.h"
#include "espalier/families/onnx/import.h"
#include "espalier/graph/operator.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/torch.h"
#include "espalier/structure/coupling.h"
#include "espalier/structure/mask.h"
#include "espalier/structure/surgery.h"
#include "tests/structure/random_cuts.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> cases() {
  std::vector<fs::path> found;
  if (const char* folder = std::getenv("ESPALIER_ONNX_CASES"))
    for (const auto& entry : fs::directory_iterator(folder))
      if (entry.path().extension() == ".json") found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

at::Tensor read_tensor(const fs::path& folder, const Json& entry) {
  const std::string bytes = read_file(folder / entry.at("file").get<std::string>(), 1u << 30);
  const auto shape = entry.at("shape").get<Shape>();
  const std::string dtype = entry.at("dtype").get<std::string>();
  at::Tensor tensor = at::empty(shape, dtype == "int64" ? at::kLong : dtype == "bool" ? at::kBool : at::kFloat);
  EXPECT_EQ(bytes.size(), tensor.nbytes()) << entry.dump();
  std::memcpy(tensor.data_ptr(), bytes.data(), std::min<size_t>(bytes.size(), tensor.nbytes()));
  return tensor;
}

Environment run(const Graph& graph, const std::vector<at::Tensor>& inputs) {
  Environment values;
  for (size_t i = 0; i < inputs.size(); ++i) values[graph.inputs[i]] = inputs[i];
  Weights weights(graph);
  Interpreter(graph, weights).run(values, 0, static_cast<NodeId>(graph.nodes.size()));
  return values;
}

double distance(const at::Tensor& a, const at::Tensor& b) {
  const double largest = (a.to(at::kFloat) - b.to(at::kFloat)).abs().max().item<double>();
  EXPECT_FALSE(std::isnan(largest));
  return std::isnan(largest) ? std::numeric_limits<double>::infinity() : largest;
}

double largest_difference(const fs::path& folder, const Json& spec, const Graph& graph) {
  std::vector<at::Tensor> inputs;
  for (const Json& input : spec.at("inputs")) inputs.push_back(read_tensor(folder, input));
  const Environment values = run(graph, inputs);
  double worst = 0;
  for (size_t i = 0; i < graph.outputs.size(); ++i) {
    const at::Tensor expected = read_tensor(folder, spec.at("outputs").at(i)), found = values.at(graph.outputs[i]);
    if (found.sizes() != expected.sizes()) {
      ADD_FAILURE() << "output " << i << " has shape " << found.sizes() << " instead of " << expected.sizes();
      continue;
    }
    worst = std::max(worst, distance(found, expected));
  }
  return worst;
}

// The graph takes any batch: three in one forward are what they are one by one.
double difference_of_batches(const fs::path& folder, const Json& spec, const Graph& graph) {
  std::vector<std::vector<at::Tensor>> singles(3);
  std::vector<at::Tensor> batch;
  for (const Json& input : spec.at("inputs")) {
    const at::Tensor x = read_tensor(folder, input).narrow(0, 0, 1);
    for (int64_t k = 0; k < 3; ++k) singles[static_cast<size_t>(k)].push_back(at::roll(x, 3 * k + 1, -1));
    batch.push_back(at::cat({singles[0].back(), singles[1].back(), singles[2].back()}));
  }
  const Environment together = run(graph, batch);
  double worst = 0;
  for (size_t k = 0; k < 3; ++k) {
    const Environment alone = run(graph, singles[k]);
    for (ValueId output : graph.outputs)
      worst = std::max(worst, distance(alone.at(output), together.at(output).narrow(0, static_cast<int64_t>(k), 1)));
  }
  return worst;
}

// The house law: a masked model computes what the cut one does; every group alone, 30 % of its sets gone. The number of
// groups that could not be cut is reported, with why.
double difference_of_cuts(const fs::path& folder, const Json& spec, const Graph& graph) {
  std::vector<at::Tensor> inputs;
  for (const Json& input : spec.at("inputs")) inputs.push_back(read_tensor(folder, input).narrow(0, 0, 1));
  const Coupling coupling = find_coupling(graph);
  double worst = 0;
  for (const CouplingGroup& group : coupling.groups) {
    Rng rng(1, group.label);
    const auto keep = test::random_keep(group.set_count, 0.3, rng);
    if (group.set_count < 2 || !test::leaves_every_dim(group, keep)) continue;
    Mask mask = Mask::for_model(graph);
    mask.remove_units(group, keep);
    Graph smaller = graph.clone();
    try {
      cut(smaller, coupling, {test::cut_of(group, keep)});
      const Environment masked = run(apply_mask(graph, mask), inputs), now = run(smaller, inputs);
      for (ValueId output : graph.outputs) worst = std::max(worst, distance(masked.at(output), now.at(output)));
    } catch (const UserError& error) {
      ADD_FAILURE() << group.label << ": " << error.what();
    }
  }
  return worst;
}

bool takes_any_batch(const OnnxImport& imported) {
  return std::none_of(imported.notes.begin(), imported.notes.end(),
                      [](const std::string& note) { return note.starts_with("the batch stays"); });
}

TEST(OnnxCases, ComputesWhatTheOtherProgramDoes) {
  const auto list = cases();
  if (list.empty()) GTEST_SKIP() << "ESPALIER_ONNX_CASES names no folder with cases";
  c10::InferenceMode no_gradients;
  const char* only = std::getenv("ESPALIER_ONNX_ONLY");
  for (const fs::path& path : list) {
    if (only && path.stem() != only) continue;
    SCOPED_TRACE(path.stem().string());
    const Json spec = parse_json(read_file(path, 1u << 20), path.string());
    OnnxImportOptions options;
    for (const Json& input : spec.at("inputs"))
      options.input_shapes[input.at("name").get<std::string>()] = input.at("import_shape").get<Shape>();
    try {
      const OnnxImport imported = import_onnx(spec.at("model").get<std::string>(), options);
      const Coupling coupling = find_coupling(imported.graph);
      const size_t opaque = imported.source->opaque.size();
      const double worst = opaque ? 0 : largest_difference(path.parent_path(), spec, imported.graph);
      EXPECT_LE(worst, 1e-4);
      EXPECT_TRUE(takes_any_batch(imported));
      const double batches = opaque ? 0 : difference_of_batches(path.parent_path(), spec, imported.graph);
      EXPECT_LE(batches, 1e-4);
      const double cuts = opaque ? 0 : difference_of_cuts(path.parent_path(), spec, imported.graph);
      EXPECT_LE(cuts, 1e-4);
      EXPECT_EQ(opaque, 0u);
      std::printf("%-20s nodes %5zu params %4zu groups %3zu opaque %zu difference %.2e batches %.2e cuts %.2e\n",
                  path.stem().c_str(), imported.graph.nodes.size(), imported.graph.parameters().size(),
                  coupling.groups.size(), opaque, worst, batches, cuts);
      for (const std::string& note : imported.notes) std::printf("  note: %s\n", note.c_str());
      if (std::getenv("ESPALIER_ONNX_GROUPS")) std::printf("%s", describe_groups(coupling).c_str());
      if (std::getenv("ESPALIER_ONNX_NODES"))
        for (const Node& node : imported.graph.nodes) {
          std::printf("  %s %s:", node.op.c_str(), node.name.c_str());
          for (ValueId v : node.inputs) std::printf(" %s", imported.graph.values[static_cast<size_t>(v)].name.c_str());
          std::printf(" ->");
          for (ValueId v : node.outputs)
            std::printf(" %s%s", imported.graph.values[static_cast<size_t>(v)].name.c_str(),
                        to_string(imported.graph.values[static_cast<size_t>(v)].shape).c_str());
          std::printf("\n");
        }
    } catch (const std::exception& error) {
      ADD_FAILURE() << error.what();
      std::printf("%-20s FAILED %s\n", path.stem().c_str(), error.what());
    }
  }
}

}  // namespace
}  // namespace espalier
