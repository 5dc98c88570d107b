// Whole networks in the engine against the interpreter: every family of vision models and BERTs with weights of
// their own, the small networks that couple channels in every way, dense and cut.
#include <gtest/gtest.h>

#include "tests/families/vision_models.h"
#include "tests/lab/engine/against_interpreter.h"
#include "tests/structure/test_networks.h"
#include "tests/support.h"

namespace espalier::test {
namespace {

Graph shaped(const Graph& graph, const std::vector<Shape>& shapes) {
  Graph result = graph.clone();
  infer_shapes(result, shapes);
  return result;
}

std::vector<Shape> with_batch(const Model& model, int64_t batch) {
  std::vector<Shape> shapes = model.example_inputs;
  for (Shape& shape : shapes) shape[0] = batch;
  return shapes;
}

double highest(const Model& model) { return model.input_dtypes[0] == DType::kI64 ? 9 : 1; }

void check_model(const Graph& graph, const Model& model, int64_t batch, int threads, const std::string& what) {
  Rng rng(static_cast<uint64_t>(batch), what);
  const bool ids = model.input_dtypes[0] == DType::kI64;
  expect_same_as_interpreter(shaped(graph, with_batch(model, batch)), model.input_dtypes, rng, what, 1e-4, ids ? 0 : -1,
                             highest(model), threads);
}

class EngineFamilies : public ::testing::TestWithParam<std::pair<const std::string, Json>> {};

TEST_P(EngineFamilies, ComputeWhatTheInterpreterDoes) {
  const auto& [name, config] = GetParam();
  const TempDir directory;
  const Model model = load_tiny_vision(directory.path(), config);
  check_model(model.graph, model, 1, 1, name);
  check_model(model.graph, model, 3, 2, name + " of three");
}

TEST_P(EngineFamilies, AlsoWhenCut) {
  const auto& [name, config] = GetParam();
  const TempDir directory;
  const Model model = load_tiny_vision(directory.path(), config);
  const Graph smaller = cut_somewhere(model.graph, 1);
  ASSERT_LT(smaller.parameter_count(), model.graph.parameter_count());
  check_model(smaller, model, 2, 1, name + " cut");
}

INSTANTIATE_TEST_SUITE_P(Tiny, EngineFamilies, ::testing::ValuesIn(tiny_vision_configs()),
                         [](const auto& info) { return info.param.first; });

TEST(GraphRunnerNetworks, CoupledInEveryWay) {
  using Build = Network (*)();
  for (Build build : {residual_network, depthwise_network, grouped_network, group_norm_network, concat_network,
                      shuffle_network, gated_network, upsampling_network, attention_network, grouped_query_network}) {
    const Network network = build();
    Rng rng(0, "networks");
    expect_same_as_interpreter(network.graph, std::vector<DType>(network.graph.inputs.size(), DType::kF32), rng,
                               "network", 1e-4);
  }
}

// Random chains of what kernels take into themselves: norms, activations, additions of values that live on or die.
class RandomNetwork {
 public:
  explicit RandomNetwork(uint64_t seed) : rng_(seed, "fused chains") {
    net_.input("x", {2, 5, 7, 6});
    values_.push_back(net_.conv("x", "first", {kChannels, 5, 3, 3}));
    for (int i = 0; i < 12; ++i) step(fmt::format("s{}", i));
    net_.output(values_.back());
    net_.output(values_[rng_.below(values_.size())]);
    net_.infer();
  }
  const Graph& graph() const { return net_.graph; }

 private:
  static constexpr int64_t kChannels = 9;

  const std::string& any() { return values_[values_.size() - 1 - rng_.below(std::min<uint64_t>(3, values_.size()))]; }
  void step(const std::string& name) {
    const std::string from = any();
    switch (rng_.below(6)) {
      case 0:
        values_.push_back(net_.conv(from, name, {kChannels, kChannels, 3, 3}));
        break;
      case 1:
        values_.push_back(net_.conv(from, name, {kChannels, 1, 3, 3}, kChannels));
        break;
      case 2:
        net_.conv(from, name, {kChannels, kChannels, 1, 1});
        values_.push_back(net_.batch_norm(name, kChannels));
        break;
      case 3:
        net_.node("Add", {from, any()}, {name});
        values_.push_back(name);
        break;
      case 4:
        net_.node("Mul", {from, any()}, {name});
        values_.push_back(name);
        break;
      default:
        net_.node(
            "Activation", {from}, {name}, {},
            {{"kind", std::vector<std::string>{"relu", "silu", "gelu", "hardswish", "elu", "erf"}[rng_.below(6)]}});
        values_.push_back(name);
    }
  }

  Rng rng_;
  Network net_;
  std::vector<std::string> values_;
};

TEST(GraphRunnerNetworks, RandomFusedChains) {
  for (uint64_t seed = 0; seed < 150 && !::testing::Test::HasFailure(); ++seed) {
    const RandomNetwork network(seed);
    Rng rng(seed, "inputs");
    expect_same_as_interpreter(network.graph(), {DType::kF32}, rng, fmt::format("seed {}", seed), 1e-4, -1, 1,
                               1 + static_cast<int>(seed % 2));
  }
}

}  // namespace
}  // namespace espalier::test
