// A graph in the engine and in the laboratory's interpreter, on the same random inputs.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "espalier/core/error.h"
#include "espalier/core/rng.h"
#include "espalier/engine/graph_runner.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"
#include "espalier/structure/surgery.h"
#include "tests/structure/random_cuts.h"

namespace espalier::test {

inline Tensor random_tensor(DType type, const Shape& shape, Rng& rng, double low, double high) {
  Tensor tensor(type, shape);
  if (type == DType::kF32)
    for (float& value : tensor.mutable_as<float>()) value = static_cast<float>(rng.uniform(low, high));
  if (type == DType::kI64)
    for (int64_t& value : tensor.mutable_as<int64_t>())
      value = static_cast<int64_t>(std::floor(rng.uniform(low, high)));
  if (type == DType::kBool)
    for (uint8_t& value : tensor.mutable_as<uint8_t>()) value = rng.below(2) == 0;
  return tensor;
}

inline std::vector<at::Tensor> interpret(const Graph& graph, const std::vector<Tensor>& inputs) {
  const at::NoGradGuard no_gradients;
  Weights weights(graph);
  Environment values;
  for (size_t i = 0; i < inputs.size(); ++i) values[graph.inputs[i]] = to_torch(inputs[i]);
  Interpreter(graph, weights).run(values, 0, static_cast<NodeId>(graph.nodes.size()));
  std::vector<at::Tensor> outputs;
  for (ValueId output : graph.outputs) outputs.push_back(values.at(output));
  return outputs;
}

// Types and shapes alike, integers equal, reals within `tolerance` of the largest magnitude in the output.
inline void expect_same(const Tensor& found, const at::Tensor& expected, double tolerance, const std::string& what) {
  const at::Tensor mine = to_torch(found);
  ASSERT_EQ(mine.scalar_type(), expected.scalar_type()) << what;
  ASSERT_EQ(mine.sizes().vec(), expected.sizes().vec()) << what;
  if (expected.numel() == 0) return;
  if (!at::isFloatingType(expected.scalar_type())) {
    EXPECT_TRUE(at::equal(mine, expected)) << what << "\n" << mine << "\n" << expected;
    return;
  }
  const double scale = std::max(1e-3, expected.abs().max().item<double>());
  ASSERT_TRUE(std::isfinite(scale)) << what;
  EXPECT_LE((mine - expected).abs().max().item<double>(), tolerance * scale) << what;
}

// The graph's shapes are inferred. A second run must give the same again: steps may work in place.
inline void expect_same_as_interpreter(const Graph& graph, const std::vector<DType>& types, Rng& rng,
                                       const std::string& what, double tolerance, double low = -1, double high = 1,
                                       int threads = 1) {
  std::vector<Tensor> inputs;
  std::vector<Shape> shapes;
  for (size_t i = 0; i < graph.inputs.size(); ++i) {
    shapes.push_back(graph.values[static_cast<size_t>(graph.inputs[i])].shape);
    inputs.push_back(random_tensor(types[i], shapes[i], rng, low, high));
  }
  const auto expected = interpret(graph, inputs);
  GraphRunner runner(graph, shapes, {threads, types});
  std::vector<Tensor> found;
  for (int run = 0; run < 2; ++run) {
    runner.run(inputs, found);
    ASSERT_EQ(found.size(), expected.size()) << what;
    for (size_t i = 0; i < found.size(); ++i)
      expect_same(found[i], expected[i], tolerance, fmt::format("{} output {} run {}", what, i, run));
  }
}

// A third of the channels of every group that can spare them.
inline Graph cut_somewhere(const Graph& graph, uint64_t seed) {
  Graph smaller = graph.clone();
  const Coupling coupling = find_coupling(smaller);
  std::vector<GroupCut> cuts;
  for (const auto& group : coupling.groups) {
    Rng rng(seed, group.label);
    const auto keep = random_keep(group.set_count, 0.3, rng);
    if (group.set_count >= 2 && leaves_every_dim(group, keep)) cuts.push_back(cut_of(group, keep));
  }
  cut(smaller, coupling, cuts);
  return smaller;
}

}  // namespace espalier::test
