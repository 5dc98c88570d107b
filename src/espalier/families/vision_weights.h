// Where the weights of a model come from: a checkpoint, whose tensors then decide every width, or nothing, in which
// case the configuration decides and the values are initial ones, made from a seed when somebody asks for them.
//
// What neither tensors nor the stock keys of a configuration can say of a cut model stands in one block of config.json:
//   "espalier": {"format": 1, "widths": {"layer1.0.conv1": 12}, "indices": {"stage2.1.shuffle": [0, 3, 1]},
//                "removed": ["swin.encoder.layers.0.blocks.1.attention"]}
// widths: output channels of modules that differ from the stock architecture (a checkpoint has to agree);
// indices: a channel shuffle that has become a choice of channels; removed: branches that are gone.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "espalier/core/json.h"
#include "espalier/graph/graph.h"
#include "espalier/io/checkpoint.h"

namespace espalier {

// Initial values of a parameter.
struct Initial {
  enum class Kind { kConstant, kNormal, kUniform, kTruncatedNormal };
  Kind kind = Kind::kConstant;
  double scale = 0;  // the constant, the deviation, or the bound of (−scale, scale)

  static Initial constant(double value) { return {Kind::kConstant, value}; }
  static Initial normal(double deviation) { return {Kind::kNormal, deviation}; }
  static Initial uniform(double bound) { return {Kind::kUniform, bound}; }
  // Normal, redrawn beyond two deviations.
  static Initial truncated(double deviation) { return {Kind::kTruncatedNormal, deviation}; }
};

// A width: whatever the tensor has (the configuration's for fresh weights), or exactly what the neighbours demand.
struct Width {
  int64_t value = 0;
  bool fixed = false;
};
inline Width free_width(int64_t configured) { return {configured, false}; }
inline Width exactly(int64_t value) { return {value, true}; }

class WeightSource {
 public:
  // Names of the checkpoint count without "module." when all start with it (wrappers for several devices).
  WeightSource(const Checkpoint& checkpoint, const Json& config, std::string where);
  WeightSource(uint64_t seed, const Json& config, std::string where);

  bool is_fresh() const { return !checkpoint_; }
  const std::string& where() const { return where_; }
  std::vector<std::string> names() const { return {names_.begin(), names_.end()}; }
  bool has(const std::string& tensor) const { return names_.count(tensor) > 0; }  // fresh: nothing
  bool has(const std::string& tensor, bool configured) const { return is_fresh() ? configured : has(tensor); }
  // Entries of a list of modules ("layer1.{}."); UserError unless the checkpoint and the configuration agree.
  int64_t count(const std::string& pattern, const std::string& key, int64_t configured) const;
  const Shape& shape(const std::string& tensor) const;  // UserError if absent; not of fresh ones

  // Output width of a module whose weight is `tensor` (its axis 0).
  int64_t out_width(const std::string& module, const std::string& tensor, Width width);
  // What the "espalier" block says of it, else `otherwise`.
  int64_t stated_width(const std::string& module, int64_t otherwise);
  const std::vector<int64_t>* indices(const std::string& node);  // null: none given
  bool is_removed(const std::string& branch);

  // Declares the parameter under its name, once. UserError naming the tensor unless it has this shape and a floating
  // type.
  void declare(Graph& graph, const std::string& tensor, const Shape& expected, const Initial& initial) const;
  // UserError for tensors that no node uses, but for those that `ignored` accepts, and for unused "espalier" entries.
  void check_all_used(const Graph& graph, bool (*ignored)(const std::string& tensor)) const;

 private:
  void read_block(const Json& config);
  int64_t stored_width(const std::string& tensor) const;
  std::string stored_name(const std::string& tensor) const { return prefix_ + tensor; }

  const Checkpoint* checkpoint_ = nullptr;
  uint64_t seed_ = 0;
  std::string where_, prefix_;
  std::set<std::string> names_;
  std::map<std::string, int64_t> widths_;
  std::map<std::string, std::vector<int64_t>> indices_;
  std::set<std::string> removed_, used_;
};

// The prefix "module." if all names of the checkpoint start with it, else "".
std::string wrapper_prefix(const Checkpoint& checkpoint);

}  // namespace espalier
