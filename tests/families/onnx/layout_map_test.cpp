// Maps of random chains of layout operators, against moving every index by hand.
#include "espalier/families/onnx/layout_map.h"

#include <gtest/gtest.h>

#include <numeric>

#include "espalier/core/rng.h"
#include "espalier/graph/operator.h"

namespace espalier::test {
namespace {

// A value as the flat index of each of its elements in the first one.
struct Indexed {
  Shape shape;
  std::vector<int64_t> index;
};

template <typename Visit>
void each_position(const Shape& shape, Visit visit) {
  std::vector<int64_t> at(shape.size(), 0);
  for (int64_t i = element_count(shape); i-- > 0;) {
    visit(at);
    for (size_t d = shape.size(); d-- > 0 && ++at[d] == shape[d];) at[d] = 0;
  }
}

int64_t flat(const Shape& shape, const std::vector<int64_t>& at) {
  int64_t index = 0;
  for (size_t d = 0; d < shape.size(); ++d) index = index * shape[d] + at[d];
  return index;
}

// Every element of the new value is one of the old value's, at from(position).
template <typename From>
Indexed moved(const Indexed& x, const Shape& shape, From from) {
  Indexed y{shape, {}};
  each_position(shape, [&](const std::vector<int64_t>& at) { y.index.push_back(x.index[static_cast<size_t>(flat(x.shape, from(at)))]); });
  return y;
}

std::vector<int64_t> indices_of(const LayoutFactors& factors) {
  std::vector<int64_t> all{0};
  for (const LayoutFactor& factor : factors) {
    std::vector<int64_t> next;
    for (int64_t base : all)
      for (int64_t i = 0; i < factor.size; ++i) next.push_back(base + i * factor.stride);
    all = std::move(next);
  }
  return all;
}

Indexed told(const LayoutMap& map, const Shape& shape) {
  Indexed y{shape, {}};
  std::vector<std::vector<int64_t>> dims;
  for (const auto& factors : map.dims) dims.push_back(indices_of(factors));
  each_position(shape, [&](const std::vector<int64_t>& at) {
    int64_t index = map.offset;
    for (size_t d = 0; d < at.size(); ++d) index += dims[d].at(static_cast<size_t>(at[d]));
    y.index.push_back(index);
  });
  return y;
}

class Chain {
 public:
  explicit Chain(uint64_t seed) : rng_(seed, "layout") {
    x_ = {{2, 6, 24}, {}};
    x_.index.resize(288);
    std::iota(x_.index.begin(), x_.index.end(), 0);
    map_ = LayoutMap::identity(x_.shape);
  }

  // False once no map can be told.
  bool step() {
    Node node{"", "", {0}, {1}, {}, {}};
    const Indexed y = next(node);
    const auto map = map_through(node, map_, x_.shape, y.shape, 1);
    if (!map) return false;
    EXPECT_EQ(told(*map, y.shape).index, y.index) << node.op;
    for (size_t d = 0; d < y.shape.size(); ++d) EXPECT_EQ(std::ssize(indices_of(map->dims[d])), y.shape[d]);
    map_ = *map;
    x_ = y;
    return true;
  }

 private:
  int64_t below(int64_t n) { return static_cast<int64_t>(rng_.uniform() * static_cast<double>(n)); }

  Indexed next(Node& node) {
    const Shape shape = x_.shape;
    const auto axis = static_cast<size_t>(below(std::ssize(shape)));
    switch (below(5)) {
      case 0: {
        std::vector<int64_t> perm(shape.size());
        std::iota(perm.begin(), perm.end(), 0);
        for (size_t i = perm.size(); i > 1; --i) std::swap(perm[i - 1], perm[static_cast<size_t>(below(static_cast<int64_t>(i)))]);
        Shape to;
        for (int64_t p : perm) to.push_back(shape[static_cast<size_t>(p)]);
        node.op = "Transpose";
        node.attributes["perm"] = perm;
        return moved(x_, to, [&](const std::vector<int64_t>& at) {
          std::vector<int64_t> from(at.size());
          for (size_t i = 0; i < at.size(); ++i) from[static_cast<size_t>(perm[i])] = at[i];
          return from;
        });
      }
      case 1: {
        Shape to{1};
        for (int64_t left = element_count(shape), p = 2; left > 1;) {  // its prime factors, joined by chance
          if (left % p != 0) {
            ++p;
          } else if (left /= p; below(2) == 0) {
            to.push_back(p);
          } else {
            to.back() *= p;
          }
        }
        node.op = "Reshape";
        return {to, x_.index};
      }
      case 2: {
        const int64_t first = below(shape[axis]), count = 1 + below(shape[axis] - first);
        Shape to = shape;
        to[axis] = count;
        node.op = "Slice";
        node.attributes = {{"axes", std::vector<int64_t>{static_cast<int64_t>(axis)}}, {"starts", std::vector<int64_t>{first}}, {"ends", std::vector<int64_t>{first + count}}};
        return moved(x_, to, [&](std::vector<int64_t> at) { return at[axis] += first, at; });
      }
      case 3: {
        if (shape.size() < 2) break;
        const int64_t index = below(shape[axis]);
        Shape to = shape;
        to.erase(to.begin() + static_cast<int64_t>(axis));
        node.op = "Gather";
        node.attributes = {{"axis", static_cast<int64_t>(axis)}, {"indices", std::vector<int64_t>{index}}, {"scalar", true}};
        return moved(x_, to, [&](std::vector<int64_t> at) { return at.insert(at.begin() + static_cast<int64_t>(axis), index), at; });
      }
      default: break;
    }
    Shape to = shape;
    to[axis] *= 2;
    node.op = "Repeat";
    node.attributes = {{"axis", static_cast<int64_t>(axis)}, {"repeats", int64_t{2}}};
    return moved(x_, to, [&](std::vector<int64_t> at) { return at[axis] /= 2, at; });
  }

  Rng rng_;
  Indexed x_;
  LayoutMap map_;
};

TEST(LayoutMap, RandomChains) {
  int steps = 0;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    Chain chain(seed);
    for (int i = 0; i < 7 && chain.step(); ++i) ++steps;
  }
  EXPECT_GT(steps, 900);
}

}  // namespace
}  // namespace espalier::test
