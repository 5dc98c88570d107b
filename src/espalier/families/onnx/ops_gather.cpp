// Lookups: rows of a table by ids that are computed, or constant indices of an axis.
#include <algorithm>

#include "espalier/families/onnx/import_ops.h"

namespace espalier::ops_gather {
namespace {

// Constant indices, perhaps repeated over the batch: those of one row.
struct Chosen {
  std::vector<int64_t> indices;
  Shape shape;
  bool over_batch = false;
};

bool repeats(const Known& one, const Known& all) {
  if (one.count() == 0) return false;
  for (size_t i = 0; i < all.count(); ++i)
    if (all.ints[i] != one.ints[i % one.count()]) return false;
  return true;
}

Chosen chosen_indices(NodeImport& n, const Known& a, const Known& b, bool leading) {
  Chosen chosen{a.ints, a.shape};
  if (&a == &b || a == b) return chosen;
  const bool batched = leading && !a.shape.empty() && a.shape[0] == 1 && a.shape.size() == b.shape.size() &&
                       n.importer().is_batch(a.shape[0], b.shape[0]) && repeats(a, b);
  if (batched) {
    chosen.over_batch = true;
  } else {
    n.importer().fix_batch("the indices of a Gather depend on it");
  }
  return chosen;
}

void embedding(NodeImport& n) {
  const StoredPtr table = n.stored(0);
  if (!table || table->shape.size() != 2 || n.integer("axis", 0) != 0)
    NodeImport::not_understood("its indices are computed, and it is no lookup in a table of rows");
  Node node{"Embedding", "", {n.value(1)}, {}, {}, {}};
  node.params["weight"] = n.parameter(table);
  n.give(std::move(node));
}

bool takes_all(const Chosen& chosen, int64_t size) {
  if (std::ssize(chosen.indices) != size) return false;
  for (size_t i = 0; i < chosen.indices.size(); ++i)
    if (chosen.indices[i] != static_cast<int64_t>(i)) return false;
  return true;
}

// Constant indices of one axis. Those of several dims are picked as a list, which is then taken apart.
void pick(NodeImport& n, size_t axis, const Chosen& chosen) {
  const Shape in = n.shape(0);
  std::map<std::string, Attribute> attributes = {{"axis", static_cast<int64_t>(axis)}, {"indices", chosen.indices}};
  if (n.stored(0) && axis == 0 && in.size() > 1) attributes["table"] = true;
  if (chosen.shape.empty()) attributes["scalar"] = true;
  const bool all = !chosen.shape.empty() && takes_all(chosen, in[axis]);  // as_strided of what is contiguous already
  if (all && chosen.shape.size() == 1) return n.alias();
  if (chosen.shape.size() <= 1) return n.give("Gather", {n.value(0)}, std::move(attributes));
  Shape apart(axis, 0);
  apart.insert(apart.end(), chosen.shape.begin(), chosen.shape.end());
  apart.insert(apart.end(), in.begin() + static_cast<int64_t>(axis) + 1, in.end());
  const ValueId rows = all ? n.value(0) : n.add("rows", "Gather", {n.value(0)}, std::move(attributes));
  const Known shape = known_integers(apart);
  if (!chosen.over_batch) return give_reshape(n, rows, shape, shape);
  const ValueId shaped = n.add("shaped", "Reshape", {rows}, {{"shape", apart}});
  n.give_value(n.importer().over_batch(shaped).value_or(shaped));
}

void gather(NodeImport& n) {
  const Known *a = n.known_at(1, false), *b = n.known_at(1, true);
  if (!a || a->real()) return embedding(n);
  const size_t axis = n.axis(n.integer("axis", 0), n.rank(0));
  pick(n, axis, chosen_indices(n, *a, *b, axis == 0));
}

// Rows of index numbers: understood where each is one number, so that whole slices of dim 0 are taken.
void gather_nd(NodeImport& n) {
  const Known *a = n.known_at(1, false), *b = n.known_at(1, true);
  if (!a || a->real() || a->shape.size() < 2 || a->shape.back() != 1 || n.integer("batch_dims", 0) != 0)
    NodeImport::not_understood("it takes more than whole slices of dim 0");
  if (n.rank(0) == 0) n.refuse("input", "at least one dim", "a scalar");
  Chosen chosen = chosen_indices(n, *a, *b, true);
  chosen.shape.pop_back();
  pick(n, 0, chosen);
}

const RegisterOnnxImport registered[] = {{"Gather", gather}, {"GatherND", gather_nd}};

}  // namespace
}  // namespace espalier::ops_gather
