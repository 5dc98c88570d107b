// Where the elements of a value lie in another one that layout operators (Reshape, Transpose, Split, Gather, …) made it
// from: each dim is a product of factors, each with a stride in the other value's flat order. So it costs nothing to
// ask whether a chain of such operators, however an exporter wrote it, comes to the same as another chain.
#pragma once

#include <optional>
#include <vector>

#include "espalier/graph/graph.h"

namespace espalier {

struct LayoutFactor {
  int64_t size, stride;
  bool operator==(const LayoutFactor&) const = default;
};
using LayoutFactors = std::vector<LayoutFactor>;  // the outermost first; sizes of 1 are left out

// Neighbours that together are one.
LayoutFactors joined(const LayoutFactors& factors);

struct LayoutMap {
  std::vector<LayoutFactors> dims;
  int64_t offset = 0;

  static LayoutMap identity(const Shape& shape);
  LayoutFactors flat() const;  // of all dims, joined
  bool operator==(const LayoutMap&) const = default;
};

// Whether this operator only moves elements.
bool is_layout(const Node& node);

// The map of the node's output `output` from that of its input; `in` and `out` are their shapes. Nothing where it
// cannot be said like this, as with indices in no order.
std::optional<LayoutMap> map_through(const Node& node, const LayoutMap& map, const Shape& in, const Shape& out,
                                     ValueId output);

}  // namespace espalier
