// Operators that change the shape or the order of dims.
#include <algorithm>
#include <numeric>

#include "espalier/families/onnx/import_ops.h"

namespace espalier::ops_layout {
namespace {

void transpose(NodeImport& n) {
  auto perm = n.integers("perm");
  if (perm.empty())
    for (size_t d = n.rank(0); d-- > 0;) perm.push_back(static_cast<int64_t>(d));
  if (std::is_sorted(perm.begin(), perm.end()) && perm.size() == n.rank(0) &&
      (perm.empty() || perm.back() + 1 == std::ssize(perm)) && (perm.empty() || perm.front() == 0))
    return n.alias();
  n.give("Transpose", {n.value(0)}, {{"perm", perm}});
}

void flatten(NodeImport& n) { n.give("Flatten", {n.value(0)}, {{"axis", n.integer("axis", 1)}}); }

// Without axes all dims of size 1 go, but not a batch that happens to be 1.
void squeeze(NodeImport& n) {
  auto axes = n.integers(1, "axes");
  if (!axes) {
    axes.emplace();
    for (size_t d = 0; d < n.rank(0); ++d)
      if (n.shape(0)[d] == 1 && n.other_shape(0)[d] == 1) axes->push_back(static_cast<int64_t>(d));
  }
  if (axes->empty()) return n.alias();
  n.give("Squeeze", {n.value(0)}, {{"axes", *axes}});
}

void unsqueeze(NodeImport& n) {
  const auto axes = n.integers(1, "axes");
  if (!axes) n.refuse("axes", "numbers", "none");
  n.give("Unsqueeze", {n.value(0)}, {{"axes", *axes}});
}

void reshape(NodeImport& n) {
  const Known *shape = n.known_at(1, false), *other = n.known_at(1, true);
  if (!shape || shape->real()) NodeImport::not_understood("its shape is computed from data");
  if (n.integer("allowzero", 0) != 0 && std::count(shape->ints.begin(), shape->ints.end(), 0) > 0)
    NodeImport::not_understood("its shape has dims of size 0");
  give_reshape(n, n.value(0), *shape, *other);
}

// The dim of the output that the batch scales: entry 1 keeps what the input has there.
void expand(NodeImport& n) {
  const Known *wanted = n.known_at(1, false), *other = n.known_at(1, true);
  if (!wanted || wanted->real()) NodeImport::not_understood("its shape is computed from data");
  const Shape& in = n.shape(0);
  Shape full, full_other;
  if (!broadcast_shapes(in, wanted->ints, full))
    n.refuse("shape", "one that broadcasts with " + to_string(in), to_string(wanted->ints));
  if (!broadcast_shapes(n.other_shape(0), other->ints, full_other)) full_other = full;
  const size_t added = full.size() - in.size();
  Shape shape = full;
  bool follows = false, changes = added > 0;
  for (size_t d = 0; d < full.size(); ++d) {
    const bool same = d >= added && in[d - added] == full[d] && n.other_shape(0)[d - added] == full_other[d];
    if (same) shape[d] = 1;
    changes = changes || !same;
    if (same || d > 0 || !n.importer().is_batch(full[d], full_other[d])) continue;
    follows = true;
    shape[d] = 1;
  }
  if (!changes) return n.alias();
  ValueId x = n.value(0);
  const bool more = added > 0 || std::any_of(shape.begin(), shape.end(), [](int64_t size) { return size != 1; });
  if (!follows) return n.give("Expand", {x}, {{"shape", shape}});
  if (more) x = n.add("rows", "Expand", {x}, {{"shape", shape}});
  const auto batched = n.importer().over_batch(x);
  if (!batched) NodeImport::not_understood("it repeats over the batch, which no input has");
  n.give_value(*batched);
}

void tile(NodeImport& n) {
  const Known *repeats = n.known_at(1, false), *other = n.known_at(1, true);
  if (!repeats || repeats->real()) NodeImport::not_understood("its repeats are computed from data");
  auto counts = repeats->ints;
  ValueId x = n.value(0);
  const bool follows = !counts.empty() && !n.shape(0).empty() && n.shape(0)[0] == 1 &&
                       n.importer().is_batch(counts[0], other->ints[0]) && counts[0] != other->ints[0];
  if (follows) counts[0] = 1;
  const bool more = std::any_of(counts.begin(), counts.end(), [](int64_t count) { return count != 1; });
  if (!follows && !more) return n.alias();
  if (!follows) return n.give("Tile", {x}, {{"repeats", counts}});
  if (more) x = n.add("rows", "Tile", {x}, {{"repeats", counts}});
  const auto batched = n.importer().over_batch(x);
  if (!batched) NodeImport::not_understood("it repeats over the batch, which no input has");
  n.give_value(*batched);
}

// Operands that a file made for a batch of one has for one row follow the batch of the others.
void concat(NodeImport& n) {
  const size_t axis = n.axis(n.integer("axis", 0), n.rank(0));
  std::vector<ValueId> inputs;
  bool batched = false;
  for (size_t i = 0; i < n.input_count(); ++i) {
    inputs.push_back(n.value(i));
    const Shape &shape = n.shape_of(inputs[i]), &other = n.other_shape_of(inputs[i]);
    batched = batched || (!shape.empty() && !other.empty() && n.importer().is_batch(shape[0], other[0]));
  }
  for (ValueId& input : inputs) {
    const Shape &shape = n.shape_of(input), &other = n.other_shape_of(input);
    if (axis > 0 && batched && n.importer().batch_free() && !shape.empty() && shape[0] == 1 && other[0] == 1)
      input = n.importer().over_batch(input).value_or(input);
  }
  if (inputs.size() == 1) return n.alias();
  n.give("Concat", std::move(inputs), {{"axis", static_cast<int64_t>(axis)}});
}

// Parts of equal size, the last one smaller where that does not come out.
std::vector<int64_t> equal_parts(NodeImport& n, int64_t size) {
  const int64_t parts = n.integer("num_outputs", static_cast<int64_t>(n.output_count()));
  if (parts != static_cast<int64_t>(n.output_count()) || parts < 1)
    n.refuse("outputs", std::to_string(parts), std::to_string(n.output_count()));
  const int64_t each = (size + parts - 1) / parts;
  std::vector<int64_t> sizes;
  for (int64_t i = 0; i < parts; ++i) sizes.push_back(std::clamp<int64_t>(size - i * each, 0, each));
  return sizes;
}

void split(NodeImport& n) {
  const size_t axis = n.axis(n.integer("axis", 0), n.rank(0));
  const auto given = n.integers(1, "split");
  const auto sizes = given ? *given : equal_parts(n, n.shape(0)[axis]);
  if (sizes.size() != n.output_count())
    n.refuse("outputs", std::to_string(sizes.size()), std::to_string(n.output_count()));
  Node node{"Split", "", {n.value(0)}, {}, {}, {}};
  node.attributes = {{"axis", static_cast<int64_t>(axis)}, {"sizes", sizes}};
  n.give(std::move(node), sizes.size());
}

std::optional<std::vector<int64_t>> bounds(NodeImport& n, size_t i, const char* name) {
  if (!n.has(i)) return n.integers(i, name);
  const Known* found = n.known_at(i, false);
  if (!found || found->real()) NodeImport::not_understood(fmt::format("its {} are computed from data", name));
  return found->ints;
}

// At the other batch size.
int64_t other_bound(NodeImport& n, size_t input, size_t entry, int64_t otherwise) {
  const Known* other = n.known_at(input, true);
  return other && entry < other->ints.size() ? other->ints[entry] : otherwise;
}

void slice(NodeImport& n) {
  const auto starts = bounds(n, 1, "starts"), ends = bounds(n, 2, "ends");
  if (!starts || !ends || ends->size() != starts->size()) n.refuse("starts and ends", "as many of each", "others");
  auto axes = bounds(n, 3, "axes"), steps = bounds(n, 4, "steps");
  if (!axes || axes->empty()) axes.emplace(starts->size()), std::iota(axes->begin(), axes->end(), int64_t{0});
  if (!steps || steps->empty()) steps.emplace(starts->size(), 1);
  if (axes->size() != starts->size() || steps->size() != starts->size())
    n.refuse("axes and steps", fmt::format("{} numbers", starts->size()),
             fmt::format("{} and {}", axes->size(), steps->size()));
  std::map<std::string, Attribute> kept;
  std::vector<int64_t> some_axes, some_starts, some_ends, some_steps;
  for (size_t i = 0; i < starts->size(); ++i) {
    const size_t axis = n.axis((*axes)[i], n.rank(0));
    const int64_t end = (*ends)[i], other_end = other_bound(n, 2, i, end);
    // A file for one batch bakes its size in as the end.
    const bool baked = end == other_end && n.shape(0)[axis] != n.other_shape(0)[axis];
    const bool whole = (*starts)[i] == 0 && (*steps)[i] == 1 && other_bound(n, 1, i, 0) == 0 &&
                       end >= n.shape(0)[axis] && (baked || other_end >= n.other_shape(0)[axis]);
    if (whole) continue;
    some_axes.push_back(static_cast<int64_t>(axis));
    some_starts.push_back((*starts)[i]);
    some_ends.push_back(end);
    some_steps.push_back((*steps)[i]);
    if (end != other_end || (*starts)[i] != other_bound(n, 1, i, (*starts)[i]))
      n.importer().fix_batch("a Slice depends on it");
  }
  if (some_axes.empty()) return n.alias();
  n.give("Slice", {n.value(0)},
         {{"axes", some_axes}, {"starts", some_starts}, {"ends", some_ends}, {"steps", some_steps}});
}

// Channels to blocks of pixels. DCR: the block's row and column come before the channels, CRD: after them.
void depth_to_space(NodeImport& n) {
  const int64_t block = n.integer("blocksize", 0);
  if (n.rank(0) != 4 || block < 1 || block > 4096 || n.shape(0)[1] % (block * block) != 0)
    n.refuse("input", "[n, c, h, w] with blocks in c", to_string(n.shape(0)));
  const int64_t c = n.shape(0)[1] / (block * block), h = n.shape(0)[2], w = n.shape(0)[3];
  const bool crd = n.text("mode", "DCR") == "CRD";
  const std::vector<int64_t> apart =
      crd ? std::vector<int64_t>{0, c, block, block, h, w} : std::vector<int64_t>{0, block, block, c, h, w};
  const std::vector<int64_t> perm =
      crd ? std::vector<int64_t>{0, 1, 4, 2, 5, 3} : std::vector<int64_t>{0, 3, 4, 1, 5, 2};
  const ValueId blocks = n.add("blocks", "Reshape", {n.value(0)}, {{"shape", apart}});
  const ValueId ordered = n.add("ordered", "Transpose", {blocks}, {{"perm", perm}});
  n.give("Reshape", {ordered}, {{"shape", std::vector<int64_t>{0, c, h * block, w * block}}});
}

void space_to_depth(NodeImport& n) {
  const int64_t block = n.integer("blocksize", 0);
  const Shape& x = n.shape(0);
  if (x.size() != 4 || block < 1 || block > 4096 || x[2] % block != 0 || x[3] % block != 0)
    n.refuse("input", "[n, c, h, w] with blocks in h and w", to_string(x));
  const int64_t c = x[1], h = x[2] / block, w = x[3] / block;
  const ValueId blocks =
      n.add("blocks", "Reshape", {n.value(0)}, {{"shape", std::vector<int64_t>{0, c, h, block, w, block}}});
  const ValueId ordered = n.add("ordered", "Transpose", {blocks}, {{"perm", std::vector<int64_t>{0, 3, 5, 1, 2, 4}}});
  n.give("Reshape", {ordered}, {{"shape", std::vector<int64_t>{0, c * block * block, h, w}}});
}

const RegisterOnnxImport registered[] = {
    {"Transpose", transpose},
    {"Flatten", flatten},
    {"Squeeze", squeeze},
    {"Unsqueeze", unsqueeze},
    {"Reshape", reshape},
    {"Expand", expand},
    {"Tile", tile},
    {"Concat", concat},
    {"Split", split},
    {"Slice", slice},
    {"DepthToSpace", depth_to_space},
    {"SpaceToDepth", space_to_depth},
};

}  // namespace
}  // namespace espalier::ops_layout
