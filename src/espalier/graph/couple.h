// What an operator's coupling rule may say (SPA, section A). An *atom* stands for one index of one tensor dim;
// a dim without atoms is dead (it never carries channels). structure/coupling.cpp implements the union-find.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace espalier {

using Atoms = std::vector<int32_t>;  // empty: a dead dim

// How attention heads may be cut: whole KV groups (a KV head with its query heads), or query heads alone with
// every K and V kept.
enum class HeadUnit { kKvGroup, kQueryHead };

class Coupler {
 public:
  virtual ~Coupler() = default;
  // Atoms of the current node's parameter or of a value's dim. Negative axes count from the end.
  virtual const Atoms& param(const std::string& role, int axis) = 0;
  virtual const Atoms& input(size_t i, int axis) = 0;
  virtual void set_output(size_t i, int axis, Atoms atoms) = 0;
  virtual void pass_through() = 0;  // every dim of output 0 inherits from input 0

  virtual void tie(int32_t a, int32_t b) = 0;
  virtual void freeze(const Atoms& atoms) = 0;
  // Entry `entry` of the node's integer-list attribute is the number of these atoms; surgery rewrites it.
  virtual void counts(const std::string& attribute, size_t entry, const Atoms& atoms) = 0;
  // The node computes a mean or variance over these atoms, so that a mask has to tell it which remain.
  virtual void statistics_over(const Atoms& atoms) = 0;
  virtual HeadUnit head_unit() const = 0;

  // Equal-sized live dims tie atom by atom; a live dim met by a dead one of the same size is frozen.
  void tie_all(const Atoms& a, const Atoms& b);
  // All atoms of each run of `size` consecutive positions become one set.
  void tie_runs(const Atoms& atoms, int64_t size);
};

}  // namespace espalier
