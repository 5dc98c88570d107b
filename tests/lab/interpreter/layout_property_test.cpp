// Random chains of layout operators between a convolution and a linear layer: whatever coupling finds in them, the
// masked network computes what the cut one does, or the cut is refused by name.
#include <gtest/gtest.h>

#include "espalier/core/rng.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/torch.h"
#include "espalier/structure/mask.h"
#include "espalier/structure/surgery.h"
#include "tests/structure/test_networks.h"
#include "tests/support.h"

namespace espalier {
namespace {

using test::List;

class RandomChain {
 public:
  explicit RandomChain(uint64_t seed) : rng_(seed, "layout chains") {
    const int64_t channels = std::vector<int64_t>{6, 8, 12, 24}[rng_.below(4)];
    shape_ = {2, channels, 2, 3};
    net_.input("x", {2, 3, 2, 3});
    value_ = net_.conv("x", "first", {channels, 3, 1, 1});
    const auto length = 1 + rng_.below(5);
    for (uint64_t i = 0; i < length; ++i) step(fmt::format("v{}", i));
    int64_t width = 1;
    for (size_t d = 1; d < shape_.size(); ++d) width *= shape_[d];
    net_.node("Flatten", {value_}, {"flat"});
    net_.output(net_.linear("flat", "last", 3, width));
    net_.infer();
  }
  const Graph& graph() const { return net_.graph; }

 private:
  void step(const std::string& name) {
    switch (rng_.below(5)) {
      case 0:
        net_.node("Activation", {value_}, {name}, {}, {{"kind", std::string("tanh")}});
        break;
      case 1:
      case 2:
        transpose(name);
        break;
      default:
        reshape(name);
    }
    value_ = name;
  }
  void transpose(const std::string& name) {
    List perm;
    for (int64_t axis : rng_.sample(std::ssize(shape_), std::ssize(shape_))) perm.push_back(axis);
    for (size_t i = perm.size(); i-- > 1;) std::swap(perm[i], perm[rng_.below(i + 1)]);
    Shape permuted;
    for (int64_t axis : perm) permuted.push_back(shape_[static_cast<size_t>(axis)]);
    net_.layout("Transpose", value_, name, "perm", perm);
    shape_ = permuted;
  }
  // Some dims fall apart, then some neighbours grow together.
  void reshape(const std::string& name) {
    Shape apart, merged;
    for (int64_t size : shape_) {
      const int64_t factor = std::vector<int64_t>{1, 2, 3, 4}[rng_.below(4)];
      if (factor > 1 && size > factor && size % factor == 0) {
        apart.push_back(factor);
        size /= factor;
      }
      apart.push_back(size);
    }
    for (int64_t size : apart) {
      if (!merged.empty() && rng_.below(3) == 0) {
        merged.back() *= size;
      } else {
        merged.push_back(size);
      }
    }
    net_.layout("Reshape", value_, name, "shape", merged);
    shape_ = merged;
  }

  Rng rng_;
  test::Network net_;
  std::string value_;
  Shape shape_;
};

at::Tensor run(const Graph& graph) {
  Weights weights(graph);
  return Interpreter(graph, weights).forward(at::sin(at::arange(36, at::kFloat)).view({2, 3, 2, 3}));
}

TEST(LayoutProperty, MaskedEqualsCutThroughRandomChains) {
  int compared = 0, refused = 0, gathers = 0;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    const RandomChain chain(seed);
    const Coupling coupling = find_coupling(chain.graph());
    for (const auto& group : coupling.groups) {
      Rng rng(seed, group.label);
      const auto removed = rng.sample(group.set_count, group.set_count / 3);
      if (removed.empty()) continue;
      std::vector<uint8_t> keep(static_cast<size_t>(group.set_count), 1);
      for (int64_t set : removed) keep[static_cast<size_t>(set)] = 0;
      Mask mask = Mask::for_model(chain.graph());
      mask.remove_units(group, keep);
      std::vector<int64_t> kept;
      for (size_t set = 0; set < keep.size(); ++set)
        if (keep[set]) kept.push_back(static_cast<int64_t>(set));
      Graph smaller = chain.graph().clone();
      try {
        cut(smaller, coupling, group.id, kept);
      } catch (const UserError& error) {
        EXPECT_NE(std::string(error.what()).find("whole rows and columns"), std::string::npos) << error.what();
        ++refused;
        continue;
      }
      const at::Tensor masked = run(apply_mask(chain.graph(), mask)), shrunk = run(smaller);
      ASSERT_EQ(masked.sizes(), shrunk.sizes()) << "seed " << seed;
      EXPECT_LT((masked - shrunk).abs().max().item<double>(), 1e-5) << "seed " << seed << " " << group.label;
      EXPECT_LT(smaller.parameter_count(), chain.graph().parameter_count());
      ++compared;
      for (const Node& node : smaller.nodes) gathers += node.op == "Gather";
    }
  }
  EXPECT_GT(compared, 100);
  EXPECT_GE(gathers, 1);
  EXPECT_LT(refused, compared / 2);
  RecordProperty("compared", compared);
  RecordProperty("refused", refused);
  RecordProperty("gathers", gathers);
}

}  // namespace
}  // namespace espalier
