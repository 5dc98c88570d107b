// Products of matrices.
#include <algorithm>

#include "espalier/families/onnx/import_ops.h"

namespace espalier::ops_linear {
namespace {

// `weight` as it stands in the file is [in, out], or [out, in] with `out_first`.
Node linear(NodeImport& n, ValueId x, const StoredPtr& weight, bool out_first) {
  Node node{"Linear", "", {x}, {}, {}, {}};
  const bool swapped = weight->untransposed != nullptr;
  node.params["weight"] = n.parameter(swapped ? weight->untransposed : weight);
  if (out_first == swapped) node.attributes["transposed"] = true;
  return node;
}

StoredPtr scaled(const StoredPtr& from, double factor) {
  if (factor == 1) return from;
  auto to = std::make_shared<Stored>(*from);
  to->form += fmt::format("|times {}", factor);
  to->untransposed = nullptr;
  to->fetch = [from, factor] {
    const Tensor tensor = from->fetch();
    auto values = tensor.to_floats();
    for (float& value : values) value = static_cast<float>(value * factor);
    return Tensor::from_floats(tensor.shape(), values).to(tensor.dtype());
  };
  return to;
}

// [out] from [1, out]; nullptr: it has another shape.
StoredPtr bias_vector(const StoredPtr& from, int64_t out) {
  if (!from || element_count(from->shape) != out) return nullptr;
  if (from->shape == Shape{out}) return from;
  if (from->shape.empty() || from->shape.back() != out) return nullptr;
  auto to = std::make_shared<Stored>(*from);
  to->shape = {out};
  to->untransposed = nullptr;
  to->form += fmt::format("|shape {}", out);
  to->fetch = [from, out] {
    const auto owner = std::make_shared<const Tensor>(from->fetch());
    return Tensor(owner->dtype(), {out}, owner, owner->bytes());
  };
  return to;
}

ValueId transposed_value(NodeImport& n, const char* suffix, ValueId x) {
  return n.add(suffix, "Transpose", {x}, {{"perm", std::vector<int64_t>{1, 0}}});
}

ValueId times(NodeImport& n, const char* suffix, ValueId x, double factor) {
  return factor == 1 ? x : n.add(suffix, "Mul", {x, n.constant_number("factor", factor)});
}

// Both operands are computed, or the weight has no layout of its own.
void gemm_of_values(NodeImport& n, double alpha, double beta) {
  ValueId a = n.value(0), b = n.value(1);
  if (n.integer("transA", 0) != 0) a = transposed_value(n, "a", a);
  if (n.integer("transB", 0) != 0) b = transposed_value(n, "b", b);
  if (!n.has(2) && alpha == 1) return n.give("MatMul", {a, b});
  const ValueId product = times(n, "scaled", n.add("product", "MatMul", {a, b}), alpha);
  if (!n.has(2)) return n.give_value(product);
  n.give("Add", {product, times(n, "addend", n.value(2), beta)});
}

void gemm(NodeImport& n) {
  const double alpha = n.real("alpha", 1), beta = n.real("beta", 1);
  if (n.rank(0) != 2 || n.rank(1) != 2)
    n.refuse("inputs", "matrices", to_string(n.shape(0)) + " and " + to_string(n.shape(1)));
  const StoredPtr weight = n.stored(1);
  if (!weight || !is_real(weight->type)) return gemm_of_values(n, alpha, beta);
  const bool out_first = n.integer("transB", 0) != 0;
  const int64_t out = weight->shape[out_first ? 0 : 1];
  ValueId x = n.value(0);
  if (n.integer("transA", 0) != 0) x = transposed_value(n, "a", x);
  Node node = linear(n, x, scaled(weight, alpha), out_first);
  if (!n.has(2)) return n.give(std::move(node));
  if (const StoredPtr bias = bias_vector(n.stored(2), out)) {
    node.params["bias"] = n.parameter(scaled(bias, beta));
    return n.give(std::move(node));
  }
  n.give("Add", {n.add("product", std::move(node)), times(n, "addend", n.value(2), beta)});
}

// A vector takes part as a matrix of one row or column, whose dim then goes.
void matmul_of_vectors(NodeImport& n) {
  const bool left = n.rank(0) == 1, right = n.rank(1) == 1;
  ValueId a = n.value(0), b = n.value(1);
  if (left) a = n.add("row", "Unsqueeze", {a}, {{"axes", std::vector<int64_t>{0}}});
  if (right) b = n.add("column", "Unsqueeze", {b}, {{"axes", std::vector<int64_t>{1}}});
  const ValueId product = n.add("product", "MatMul", {a, b});
  std::vector<int64_t> axes;
  if (left) axes.push_back(-2);
  if (right) axes.push_back(-1);
  n.give("Squeeze", {product}, {{"axes", axes}});
}

void matmul(NodeImport& n) {
  if (n.rank(0) == 0 || n.rank(1) == 0) n.refuse("inputs", "at least one dim", "a scalar");
  const StoredPtr weight = n.stored(1);
  if (weight && weight->shape.size() == 2 && is_real(weight->type)) return n.give(linear(n, n.value(0), weight, false));
  if (n.rank(0) == 1 || n.rank(1) == 1) return matmul_of_vectors(n);
  n.give("MatMul", {n.value(0), n.value(1)});
}

std::vector<int64_t> permutation(const std::string& from, const std::string& to) {
  std::vector<int64_t> perm;
  for (char letter : to) perm.push_back(static_cast<int64_t>(from.find(letter)));
  return perm;
}

bool has_repeats(std::string letters) {
  std::sort(letters.begin(), letters.end());
  return std::adjacent_find(letters.begin(), letters.end()) != letters.end();
}

ValueId ordered(NodeImport& n, const char* suffix, ValueId x, const std::string& from, const std::string& to) {
  return from == to ? x : n.add(suffix, "Transpose", {x}, {{"perm", permutation(from, to)}});
}

// The weight's leading or trailing dims as one: [rows, columns].
StoredPtr as_matrix(const StoredPtr& from, size_t row_dims) {
  if (from->shape.size() == 2) return from;
  auto to = std::make_shared<Stored>(*from);
  const auto split = from->shape.begin() + static_cast<int64_t>(row_dims);
  to->shape = {element_count({from->shape.begin(), split}), element_count({split, from->shape.end()})};
  to->untransposed = nullptr;
  to->form += fmt::format("|shape {}", to_string(to->shape));
  to->fetch = [from, shape = to->shape] {
    const auto owner = std::make_shared<const Tensor>(from->fetch());
    return Tensor(owner->dtype(), shape, owner, owner->bytes());
  };
  return to;
}

// The last `count` dims of x become these.
ValueId with_last_dims(NodeImport& n, const char* suffix, ValueId x, size_t rank, size_t count, Shape sizes) {
  Shape shape(rank - count, 0);
  shape.insert(shape.end(), sizes.begin(), sizes.end());
  return n.add(suffix, "Reshape", {x}, {{"shape", shape}});
}

// "bnhd,hde->bne", "bnc,chd->bnhd": a Linear whose inputs or outputs have several dims; false: it is not that.
bool einsum_linear(NodeImport& n, const std::string& a, const std::string& b, const std::string& out) {
  const StoredPtr weight = n.stored(1);
  if (!weight || !is_real(weight->type) || a.size() != n.rank(0) || b.size() != n.rank(1)) return false;
  std::string left, contracted, right;
  for (char letter : a)
    if (b.find(letter) == std::string::npos) left += letter;
  for (char letter : b) (a.find(letter) == std::string::npos ? right : contracted) += letter;
  const bool out_first = b == right + contracted;
  if ((b != contracted + right && !out_first) || out != left + right || left.empty() || contracted.empty() ||
      right.empty() || contracted.size() + left.size() != a.size())
    return false;
  const Shape sizes = weight->shape;
  for (size_t i = 0; i < b.size(); ++i) {
    const size_t at = a.find(b[i]);
    if (sizes[i] == 0 || (at != std::string::npos && n.shape(0)[at] != sizes[i])) return false;
  }
  ValueId x = ordered(n, "a", n.value(0), a, left + contracted);
  if (contracted.size() > 1) x = with_last_dims(n, "flat", x, a.size(), contracted.size(), {-1});
  Node node = linear(n, x, as_matrix(weight, out_first ? right.size() : contracted.size()), out_first);
  if (right.size() == 1) {
    n.give(std::move(node));
    return true;
  }
  const auto first = sizes.begin() + static_cast<int64_t>(out_first ? 0 : contracted.size());
  const ValueId y = n.add("product", std::move(node));
  Shape shape(left.size(), 0);
  shape.insert(shape.end(), first, first + static_cast<int64_t>(right.size()));
  n.give("Reshape", {y}, {{"shape", shape}});
  return true;
}

// "bhid,bhjd->bhij": batch dims in both and in the result, one contracted dim, one own dim each.
void einsum(NodeImport& n) {
  std::string equation = n.text("equation", "");
  std::erase(equation, ' ');
  const size_t comma = equation.find(','), arrow = equation.find("->");
  if (n.input_count() != 2 || comma == std::string::npos || arrow == std::string::npos || arrow < comma ||
      equation.find('.') != std::string::npos || equation.find(',', comma + 1) != std::string::npos)
    NodeImport::not_understood("only products of two matrices are known");
  const std::string a = equation.substr(0, comma), b = equation.substr(comma + 1, arrow - comma - 1),
                    out = equation.substr(arrow + 2);
  if (!has_repeats(a) && !has_repeats(b) && !has_repeats(out) && einsum_linear(n, a, b, out)) return;
  auto in = [](std::string_view letters, char letter) { return letters.find(letter) != std::string_view::npos; };
  std::string batch, contracted, left, right;
  for (char letter : a) {
    if (in(b, letter)) {
      (in(out, letter) ? batch : contracted) += letter;
    } else {
      left += letter;
    }
  }
  for (char letter : b)
    if (!in(a, letter)) right += letter;
  const bool fits = a.size() == n.rank(0) && b.size() == n.rank(1) && !has_repeats(a) && !has_repeats(b) &&
                    !has_repeats(out) && out.size() == batch.size() + left.size() + right.size() &&
                    contracted.size() == 1 && right.size() == 1 && (left.size() == 1 || batch.empty());
  const std::string result = batch + left + right;
  for (char letter : out)
    if (!in(result, letter)) NodeImport::not_understood("only products of two matrices are known");
  if (!fits) NodeImport::not_understood("only products of two matrices are known");
  const StoredPtr weight = batch.empty() ? n.stored(1) : nullptr;
  if (!weight && left.size() == 1 && out == batch + right + left)  // the other way round nothing is to be turned
    return n.give("MatMul", {ordered(n, "b", n.value(1), b, batch + right + contracted),
                             ordered(n, "a", n.value(0), a, batch + contracted + left)});
  const ValueId x = ordered(n, "a", n.value(0), a, batch + left + contracted);
  Node product = weight
                     ? linear(n, x, weight, b == right + contracted)
                     : Node{"MatMul", "", {x, ordered(n, "b", n.value(1), b, batch + contracted + right)}, {}, {}, {}};
  if (result == out) return n.give(std::move(product));
  n.give("Transpose", {n.add("product", std::move(product))}, {{"perm", permutation(result, out)}});
}

const RegisterOnnxImport registered[] = {{"Gemm", gemm}, {"MatMul", matmul}, {"Einsum", einsum}};

}  // namespace
}  // namespace espalier::ops_linear
