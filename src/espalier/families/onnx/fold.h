// Constant folding: what nodes give whose inputs are known, above all the arithmetic on shapes that exporters write.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "espalier/core/tensor.h"
#include "espalier/io/onnx/model.h"

namespace espalier {

// The contents of a small tensor. Integers and bools stand in `ints`, floating numbers, rounded to their type, in
// `reals`; the other list is empty.
struct Known {
  OnnxDataType type = OnnxDataType::kFloat;
  Shape shape;
  std::vector<int64_t> ints;
  std::vector<double> reals;

  bool real() const;
  size_t count() const { return real() ? reals.size() : ints.size(); }
  double number(size_t i) const { return real() ? reals[i] : static_cast<double>(ints[i]); }
  bool operator==(const Known&) const = default;
};
using KnownPtr = std::shared_ptr<const Known>;

constexpr int64_t kMostKnown = int64_t{1} << 20;          // elements of a folded tensor
constexpr int64_t kMostKnownElements = int64_t{1} << 24;  // of all folded tensors together

bool is_real(OnnxDataType type);
double rounded(OnnxDataType type, double value);    // to the nearest number of a floating type
Known known_integers(std::vector<int64_t> values);  // INT64 [n]
Known known_from(const Tensor& tensor, OnnxDataType type);
Tensor to_tensor(const Known& known);  // bools as kBool, integers as kI64, floating types as themselves

// A node of the default domain. Inputs that are left out are null.
struct FoldCall {
  const OnnxNode& node;
  int64_t opset;
  const std::string& where;
  std::vector<const Known*> inputs;

  bool has(size_t i) const { return i < inputs.size() && inputs[i]; }
  const Known& input(size_t i) const { return *inputs.at(i); }
  int64_t integer(const char* name, int64_t otherwise) const;
  // Integers that newer operator sets take as input `i` and older ones as an attribute; nothing: neither.
  std::vector<int64_t> integers(size_t i, const char* name) const;
};

// The outputs; none where the operator is not folded, the inputs do not fit it or the result would be too large.
std::vector<Known> fold(const FoldCall& call);
bool is_foldable(const std::string& op_type);

using Folder = std::vector<Known> (*)(const FoldCall&);
struct RegisterFolder {
  RegisterFolder(const char* op_type, Folder folder);
};

// For folders.
int64_t count_of(const Shape& shape);  // -1: negative sizes, or more than kMostKnown
Shape strides_of(const Shape& shape);
bool normalise_axis(int64_t& axis, size_t rank);
Known empty_like(const Known& like, Shape shape);  // no elements yet
inline void append(Known& to, const Known& from, size_t i) {
  if (to.real()) {
    to.reals.push_back(from.reals[i]);
  } else {
    to.ints.push_back(from.ints[i]);
  }
}
// Calls visit(flat index, coordinates) for every element, row-major.
template <typename Visit>
void for_each_index(const Shape& shape, Visit visit) {
  Shape at(shape.size(), 0);
  const int64_t count = count_of(shape);
  for (int64_t i = 0; i < count; ++i) {
    visit(i, at);
    for (size_t d = shape.size(); d-- > 0 && ++at[d] == shape[d];) at[d] = 0;
  }
}
// numpy's rule; false: they do not fit.
bool broadcast_shapes(const Shape& a, const Shape& b, Shape& out);
// Of an element of a broadcast result its place in an operand.
int64_t broadcast_index(const Shape& at, const Shape& shape, const Shape& strides);

}  // namespace espalier
