// Layout operators: how dims of values are taken apart, permuted and put together (graph/couple.h).
#include <algorithm>
#include <functional>
#include <numeric>

#include "espalier/core/error.h"
#include "espalier/structure/coupling_walk.h"

namespace espalier {
namespace {

// A factor that an input dim and an output dim of a Reshape have in common. In row-major order the pieces of both
// shapes are the same.
struct Piece {
  int64_t size;
  size_t in, out;
};

class Refinement {
 public:
  Refinement(const Shape& in, const Shape& out, std::vector<uint8_t> live)
      : in_(in), out_(out), live_(std::move(live)) {
    const bool empty = std::count(in.begin(), in.end(), 0) + std::count(out.begin(), out.end(), 0) > 0;
    if (empty) {
      for (size_t i = 0; i < in.size(); ++i) broken.push_back(i);
    } else {
      walk();
    }
  }
  std::vector<Piece> pieces;
  std::vector<size_t> broken;  // input dims that share no factors with the output: [4, 6] → [6, 4]

 private:
  void walk() {
    size_t i = 0, j = 0;
    while (i < in_.size() || j < out_.size()) {
      const bool in_one = i < in_.size() && in_[i] == 1, out_one = j < out_.size() && out_[j] == 1;
      if (in_one) {
        if (live_[i] && !out_.empty()) pieces.push_back({1, i, std::min(j, out_.size() - 1)});
        ++i;
        if (out_one) ++j;
      } else if (out_one) {
        ++j;
      } else {
        block(i, j);
      }
    }
  }

  // The shortest runs of dims with equal products, from (i, j) on.
  void block(size_t& i, size_t& j) {
    const size_t first_in = i, first_out = j, before = pieces.size();
    int64_t in = in_.at(i++), out = out_.at(j++);
    while (in != out) {
      if (in < out) {
        in *= in_.at(i++);
      } else {
        out *= out_.at(j++);
      }
    }
    if (refine(first_in, i, first_out)) return;
    pieces.resize(before);
    for (size_t dim = first_in; dim < i; ++dim) broken.push_back(dim);
  }

  bool refine(size_t from, size_t to, size_t b) {
    int64_t left_out = out_[b];
    for (size_t a = from; a < to; ++a) {
      int64_t left_in = in_[a];
      if (left_in == 1 && live_[a]) pieces.push_back({1, a, b});
      while (left_in > 1) {
        while (left_out == 1) left_out = out_[++b];
        const auto [small, large] = std::minmax(left_in, left_out);
        if (large % small != 0) return false;
        const int64_t size = small;
        pieces.push_back({size, a, b});
        left_in /= size;
        left_out /= size;
      }
    }
    return true;
  }

  const Shape &in_, &out_;
  std::vector<uint8_t> live_;
};

int64_t product(const Shape& sizes, size_t from = 0) {
  return std::accumulate(sizes.begin() + static_cast<int64_t>(from), sizes.end(), int64_t{1}, std::multiplies<>());
}

// Calls visit(position, coordinates) for all coordinates of a row-major grid.
void for_each_coordinate(const Shape& sizes, const std::function<void(size_t, const Shape&)>& visit) {
  Shape at(sizes.size(), 0);
  const int64_t count = product(sizes);
  for (int64_t position = 0; position < count; ++position) {
    visit(static_cast<size_t>(position), at);
    for (size_t d = sizes.size(); d-- > 0 && ++at[d] == sizes[d];) at[d] = 0;
  }
}

}  // namespace

// A piece of an output dim and what it carries: nothing, a whole live dim, or a factor of a split.
struct CouplingWalk::Strand {
  int64_t size = 1;
  size_t out = 0;
  const Atoms* whole = nullptr;
  AxisSplit* split = nullptr;
  size_t factor = 0;
  bool live() const { return whole || split; }
};

void CouplingWalk::settle(ValueDim& dim) {
  if (!dim.split || !dim.split->decided) return;
  dim.atoms = dim.factor == dim.split->live_factor ? dim.split->live : Atoms{};
  dim.split = nullptr;
}

const Atoms& CouplingWalk::look(ValueDim& dim) {
  if (dim.split && !dim.split->decided) decide(*dim.split);
  settle(dim);
  return dim.atoms;
}

void CouplingWalk::decide(AxisSplit& split) {
  split.decided = true;
  split.live_factor = options_.split == SplitPolicy::kOuter ? 0 : split.factors.size() - 1;
  const auto size = static_cast<size_t>(split.factors[split.live_factor]);
  const auto stride = static_cast<size_t>(product(split.factors, split.live_factor + 1));
  split.live.assign(size, -1);
  for (size_t i = 0; i < split.atoms.size(); ++i) {
    int32_t& leader = split.live[i / stride % size];
    if (leader < 0) leader = split.atoms[i];
    tie(leader, split.atoms[i]);
  }
}

AxisSplit* CouplingWalk::add_split(AxisSplit split) {
  split.index = static_cast<int>(splits_.size());
  if (split.family < 0) split.family = split.index;
  splits_.push_back(std::make_unique<AxisSplit>(std::move(split)));
  return splits_.back().get();
}

// The split in which factors fall into these parts; the same one when none does.
CouplingWalk::FinerSplit CouplingWalk::refine(AxisSplit& split, const std::map<size_t, Shape>& parts) {
  FinerSplit finer;
  AxisSplit copy = split;
  copy.factors.clear();
  for (size_t f = 0; f < split.factors.size(); ++f) {
    finer.offset.push_back(copy.factors.size());
    const auto found = parts.find(f);
    const Shape sizes = found == parts.end() ? Shape{split.factors[f]} : found->second;
    copy.factors.insert(copy.factors.end(), sizes.begin(), sizes.end());
  }
  finer.split = copy.factors.size() == split.factors.size() ? &split : add_split(std::move(copy));
  return finer;
}

AxisSplit* CouplingWalk::take_apart(size_t axis, const Atoms& atoms, const Shape& factors) {
  AxisSplit split{-1, node().inputs[0], axis, atoms, std::vector<int64_t>(atoms.size()), factors};
  std::iota(split.source.begin(), split.source.end(), int64_t{0});
  return add_split(std::move(split));
}

// One strand a piece. Dims that fall into several pieces become splits, factors that do finer ones.
CouplingWalk::Strands CouplingWalk::strands_of(std::vector<ValueDim>& dims, const Shape& in, const Shape& out) {
  std::vector<uint8_t> live;
  for (ValueDim& dim : dims) {
    settle(dim);
    live.push_back(dim.live());
  }
  const Refinement refinement(in, out, std::move(live));
  for (size_t dim : refinement.broken) freeze_value_dim(dims[dim]);
  std::vector<Shape> parts(dims.size());
  for (const Piece& piece : refinement.pieces) parts[piece.in].push_back(piece.size);

  std::map<AxisSplit*, std::map<size_t, Shape>> parts_of_split;
  std::map<AxisSplit*, FinerSplit> finer;
  std::vector<AxisSplit*> fresh(dims.size(), nullptr);
  for (size_t d = 0; d < dims.size(); ++d) {
    if (dims[d].split && !parts[d].empty()) parts_of_split[dims[d].split][dims[d].factor] = parts[d];
    if (!dims[d].split && !dims[d].atoms.empty() && parts[d].size() > 1)
      fresh[d] = take_apart(d, dims[d].atoms, parts[d]);
  }
  for (const auto& [split, of_factor] : parts_of_split) finer[split] = refine(*split, of_factor);

  Strands strands;
  std::vector<size_t> next(dims.size(), 0);
  for (const Piece& piece : refinement.pieces) {
    Strand strand{piece.size, piece.out};
    const ValueDim& dim = dims[piece.in];
    strand.split = dim.split ? finer.at(dim.split).split : fresh[piece.in];
    strand.factor = next[piece.in]++ + (dim.split ? finer.at(dim.split).offset[dim.factor] : 0);
    if (!strand.split && !dim.atoms.empty()) strand.whole = &dim.atoms;
    strands.push_back(strand);
  }
  return strands;
}

ValueDim CouplingWalk::merge(const Strands& strands, const AxisSplit& split, size_t axis) {
  Shape sizes;
  std::vector<int64_t> strides;
  bool all_live = true;
  for (const Strand& strand : strands) {
    sizes.push_back(strand.size);
    strides.push_back(strand.live() ? product(split.factors, strand.factor + 1) : 0);
    all_live = all_live && strand.live();
  }
  ValueDim dim;
  Merge merge{node_, axis, &split, {}};
  for_each_coordinate(sizes, [&](size_t, const Shape& at) {
    const auto from = static_cast<size_t>(std::inner_product(at.begin(), at.end(), strides.begin(), int64_t{0}));
    dim.atoms.push_back(split.atoms[from]);
    merge.picks.push_back(split.source[from]);
  });
  if (all_live) merges_.push_back(std::move(merge));
  return dim;
}

ValueDim CouplingWalk::assemble(Strands strands, size_t axis) {
  auto live_count = [&] { return std::count_if(strands.begin(), strands.end(), [](auto& s) { return s.live(); }); };
  const auto first = std::find_if(strands.begin(), strands.end(), [](auto& s) { return s.live(); });
  if (first == strands.end()) return {};
  if (AxisSplit* split = first->split) {
    const bool only =
        std::all_of(strands.begin(), strands.end(), [&](auto& s) { return !s.live() || s.split == split; });
    if (only && live_count() == std::ssize(split->factors) && !split->decided) return merge(strands, *split, axis);
    if (strands.size() == 1 && !split->decided) return {{}, split, first->factor};
  }
  for (Strand& strand : strands) {
    if (!strand.split) continue;
    if (!strand.split->decided) decide(*strand.split);
    if (strand.factor == strand.split->live_factor) strand.whole = &strand.split->live;
    strand.split = nullptr;
  }
  if (live_count() > 1)
    for (const Strand& strand : strands)
      if (strand.whole) freeze(*strand.whole);
  if (live_count() != 1) return {};
  ValueDim dim;
  int64_t total = 1, inner = 1;
  const Strand* from = nullptr;
  for (const Strand& strand : strands) {
    total *= strand.size;
    inner = strand.live() ? 1 : inner * strand.size;
    if (strand.live()) from = &strand;
  }
  dim.atoms.resize(static_cast<size_t>(total));
  for (size_t v = 0; v < dim.atoms.size(); ++v)
    dim.atoms[v] = (*from->whole)[v / static_cast<size_t>(inner) % from->whole->size()];
  return dim;
}

void CouplingWalk::reshape(const std::string& counted) {
  const Shape &in = shape_of(node().inputs[0]), &out = shape_of(node().outputs[0]);
  const Strands strands = strands_of(input_dims(0), in, out);
  auto& dims = output_dims(0);
  for (size_t axis = 0; axis < dims.size(); ++axis) {
    Strands own;
    std::copy_if(strands.begin(), strands.end(), std::back_inserter(own), [&](auto& s) { return s.out == axis; });
    dims[axis] = assemble(std::move(own), axis);
  }
  if (counted.empty()) return;
  const auto& entries = node().integers(counted);
  for (size_t axis = 0; axis < dims.size() && axis < entries.size(); ++axis)
    if (entries[axis] == out[axis]) count_output(0, static_cast<int>(axis), counted, axis);
}

void CouplingWalk::map_dims(const std::vector<int>& source) {
  auto& from = input_dims(0);
  auto& to = output_dims(0);
  ESP_ASSERT(to.size() == source.size(), "{}", node().name);
  std::vector<uint8_t> used(from.size(), 0);
  for (size_t i = 0; i < to.size(); ++i) {
    if (source[i] < 0) continue;
    const auto at = static_cast<size_t>(source[i]);
    settle(from[at]);
    to[i] = from[at];
    used[at] = 1;
  }
  for (size_t i = 0; i < from.size(); ++i)
    if (!used[i]) freeze_value_dim(from[i]);
}

// The split that remains when a factor keeps these coordinates; a factor of one goes.
AxisSplit* CouplingWalk::part_of(const AxisSplit& split, size_t factor, const std::vector<int64_t>& indices) {
  AxisSplit part = split;
  part.atoms.clear();
  part.source.clear();
  part.factors[factor] = std::ssize(indices);
  for_each_coordinate(part.factors, [&](size_t, const Shape& at) {
    int64_t from = 0;
    for (size_t f = 0; f < at.size(); ++f)
      from = from * split.factors[f] + (f == factor ? indices[static_cast<size_t>(at[f])] : at[f]);
    part.atoms.push_back(split.atoms[static_cast<size_t>(from)]);
    part.source.push_back(split.source[static_cast<size_t>(from)]);
  });
  if (indices.size() == 1) part.factors.erase(part.factors.begin() + static_cast<int64_t>(factor));
  return add_split(std::move(part));
}

void CouplingWalk::pick(size_t output, int axis, const std::vector<int64_t>& indices) {
  auto& from = input_dims(0);
  auto& to = output_dims(output);
  const size_t at = static_cast<size_t>(axis < 0 ? axis + static_cast<int>(from.size()) : axis);
  for (ValueDim& dim : from) settle(dim);
  std::vector<ValueDim> dims = from;
  ValueDim& chosen = dims[at];
  if (AxisSplit* split = chosen.split) {
    const size_t gone = chosen.factor;
    const bool single = indices.size() == 1;
    AxisSplit* part = part_of(*split, gone, indices);
    if (single) chosen = {};
    for (ValueDim& dim : dims) {
      if (dim.split != split) continue;
      dim.split = part;
      if (single && dim.factor > gone) --dim.factor;
      if (part->factors.size() == 1) dim = {part->atoms, nullptr, 0};
    }
  } else if (chosen.live()) {
    Atoms atoms;
    for (int64_t index : indices) atoms.push_back(chosen.atoms[static_cast<size_t>(index)]);
    chosen.atoms = std::move(atoms);
  }
  if (to.size() < dims.size()) {
    freeze_value_dim(chosen);
    dims.erase(dims.begin() + static_cast<int64_t>(at));
  }
  to = std::move(dims);
}

}  // namespace espalier
