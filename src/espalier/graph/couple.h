// What an operator's coupling rule may say (SPA, section A). An *atom* stands for one index of one tensor dim;
// a dim without atoms is dead (it never carries channels). structure/coupling.cpp implements the union-find.
//
// A Reshape may take one live dim apart (channels into groups, a width into heads). What that means is decided late:
// layout operators (reshape, map_dims, pick) carry the parts along, and when a Reshape puts exactly these parts together
// again nothing has been coupled (a channel shuffle). Any other look at a part decides: one factor stays live
// (CouplingOptions::split), all atoms with the same coordinate of it become one set, and the other factors are dead.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace espalier {

using Atoms = std::vector<int32_t>;  // empty: a dead dim

// How attention heads may be cut: whole KV groups (a KV head with its query heads), or query heads alone with
// every K and V kept.
enum class HeadUnit { kKvGroup, kQueryHead };

// What a grouped convolution loses: the same channels of every group, or whole groups.
enum class GroupConvPolicy { kKeepGroups, kDropGroups };

class Coupler {
 public:
  virtual ~Coupler() = default;
  // Atoms of the current node's parameter or of a value's dim. Negative axes count from the end.
  virtual const Atoms& param(const std::string& role, int axis) = 0;
  virtual const Atoms& input(size_t i, int axis) = 0;
  virtual size_t input_rank(size_t i) = 0;
  virtual void set_output(size_t i, int axis, Atoms atoms) = 0;
  virtual void pass_through() = 0;  // every dim of output 0 inherits from input 0

  virtual void tie(int32_t a, int32_t b) = 0;
  virtual void freeze(const Atoms& atoms) = 0;
  virtual Atoms fresh_frozen(size_t count) = 0;  // positions that no parameter makes: padding
  virtual void freeze_everything() = 0;          // an unknown operator; its name goes into the report

  // Output 0 is input 0 in another shape. Entries of the integer list `counted` that equal a live dim of the output
  // follow that dim; an empty name: there is no such list.
  virtual void reshape(const std::string& counted) = 0;
  // Dim i of output 0 is dim source[i] of input 0, −1: a new dead one. Live dims that are not named are frozen.
  virtual void map_dims(const std::vector<int>& source) = 0;
  // Output i holds these indices of an axis of input 0, in this order; the other dims pass.
  virtual void pick(size_t output, int axis, const std::vector<int64_t>& indices) = 0;
  // The node's attributes address these indices of an axis of input 0; surgery renumbers them.
  virtual void addresses(int axis, const std::vector<int64_t>& indices) = 0;

  // Entry `entry` of the node's integer list (or the integer itself) is the number of these atoms, or the size of an
  // output's dim; surgery rewrites it.
  virtual void counts(const std::string& attribute, size_t entry, const Atoms& atoms) = 0;
  virtual void count_output(size_t i, int axis, const std::string& attribute, size_t entry) = 0;
  // The node computes a mean or variance over these atoms, so that a mask has to tell it which remain.
  virtual void statistics_over(const Atoms& atoms) = 0;
  virtual HeadUnit head_unit() const = 0;
  virtual GroupConvPolicy group_conv() const = 0;

  // Equal-sized live dims tie atom by atom; a live dim met by a dead one of the same size is frozen.
  void tie_all(const Atoms& a, const Atoms& b);
  // All atoms of each run of `size` consecutive positions become one set.
  void tie_runs(const Atoms& atoms, int64_t size);
  // Atoms `size` positions apart become one set: i, i + size, i + 2 size, …
  void tie_strided(const Atoms& atoms, int64_t size);
};

}  // namespace espalier
