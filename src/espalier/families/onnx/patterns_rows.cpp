// A Linear between two rearrangements of its rows that undo each other ([batch, tokens] flattened for a Gemm, turned for
// PyTorch's attention) does without them.
#include <algorithm>

#include "espalier/families/onnx/layout_map.h"
#include "espalier/families/onnx/patterns.h"
#include "espalier/families/onnx/patterns_view.h"

namespace espalier {
namespace {

constexpr size_t kLongestRowChain = 8;

class RowFusion {
 public:
  explicit RowFusion(GraphGrowth& growth) : growth_(growth), view_(growth.graph) {}

  void run() {
    for (size_t i = 0; i < growth_.graph.nodes.size(); ++i) {
      std::vector<ValueId> after{growth_.graph.nodes[i].outputs.empty() ? -1 : growth_.graph.nodes[i].outputs[0]};
      while (after.back() >= 0 && after.size() < kLongestRowChain) {
        const Node* node = view_.maker(after.back());
        if (!node || !keeps_rows(*node)) break;
        after.push_back(node->inputs[0]);
        if (view_.reads(after.back()) != 1) break;
      }
      if (after.size() > 1) fuse(i, after);
    }
  }

 private:
  // Only rearranges what stands before the last dim.
  bool keeps_rows(const Node& node) const {
    if (node.op != "Reshape" && node.op != "Transpose" && node.op != "Squeeze" && node.op != "Unsqueeze") return false;
    for (const bool other : {false, true}) {
      const Shape &in = growth_.shape(node.inputs[0], other), &out = growth_.shape(node.outputs[0], other);
      if (in.empty() || out.empty() || in.back() != out.back()) return false;
    }
    return node.op != "Transpose" || node.integers("perm").back() == std::ssize(node.integers("perm")) - 1;
  }

  // after: a value and those that it comes from by rearrangements, the last one made by a Linear.
  void fuse(size_t i, const std::vector<ValueId>& after) {
    const Node* linear = view_.maker(after.back(), "Linear");
    if (!linear || view_.reads(after.back()) != 1) return;
    std::vector<ValueId> before{linear->inputs[0]};
    while (before.size() < kLongestRowChain) {
      const Node* node = view_.maker(before.back());
      if (!node || !keeps_rows(*node)) break;
      before.push_back(node->inputs[0]);
    }
    for (size_t root = before.size(); root-- > 1;) {
      if (!undone(before, root, after, false) || !undone(before, root, after, true)) continue;
      Node direct = *linear;
      direct.inputs[0] = before[root];
      const std::string name = direct.name;
      growth_.graph.nodes[static_cast<size_t>(linear - growth_.graph.nodes.data())].name = growth_.graph.nodes[i].name;
      view_.replace(i, std::move(direct));
      growth_.graph.nodes[i].name = name;
      return;
    }
  }

  Shape rows(ValueId value, bool other) const {
    Shape shape = growth_.shape(value, other);
    shape.back() = 1;
    return shape;
  }

  bool undone(const std::vector<ValueId>& before, size_t root, const std::vector<ValueId>& after, bool other) const {
    std::vector<ValueId> path(before.begin(), before.begin() + static_cast<int64_t>(root) + 1);
    std::reverse(path.begin(), path.end());
    if (rows(path.front(), other) != rows(after.front(), other)) return false;
    auto map = std::optional(LayoutMap::identity(rows(path.front(), other)));
    const auto follow = [&](const std::vector<ValueId>& values) {
      for (size_t k = 1; k < values.size() && map; ++k)
        map = map_through(*view_.maker(values[k]), *map, rows(values[k - 1], other), rows(values[k], other), values[k]);
    };
    follow(path);
    follow({after.rbegin(), after.rend()});
    return map && *map == LayoutMap::identity(rows(path.front(), other));
  }

  GraphGrowth& growth_;
  PatternView view_;
};

}  // namespace

void fuse_rows(GraphGrowth& growth) { RowFusion(growth).run(); }

}  // namespace espalier
