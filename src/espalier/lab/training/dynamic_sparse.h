// Trainings whose masks move: sparse from the start, pruned on the way, with swaps of weights in between. GraNet, RigL, SET,
// gradual magnitude pruning and static sparse training are settings of it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "espalier/lab/training/plugin.h"

namespace espalier {

enum class Growth { kGradient, kRandom, kMomentum };
enum class PruneScope { kGlobal, kUniform };
Growth growth_of(const std::string& where, const std::string& name);            // UserError naming `where`
PruneScope prune_scope_of(const std::string& where, const std::string& name);  // the same

struct SwapPlan {
  int64_t interval = 1, start = 0, end = 0;  // at multiples of the interval, from `start` on, before `end`
  double high = 0.3, low = 0;     // share of a layer's alive weights: a cosine over [0, total]
  int64_t total = 1;
  bool constant = false;          // `high` always
  Growth growth = Growth::kGradient;
};

struct DynamicSparse {
  std::string id;
  double start_density = 1;   // below 1: random masks of ERK's densities, exactly round(density · size) of each layer
  bool uniform_start = false;  // the same density everywhere instead
  // After how many steps which sparsity; absent: none.
  std::function<std::optional<double>(int64_t steps_done)> prune_to = nullptr;
  PruneScope scope = PruneScope::kGlobal;
  bool floor_removed = false;   // counts removed are rounded down (Global MP); otherwise counts kept (GraNet)
  int64_t min_keep = 0;         // weights that every layer keeps at least, in one global ranking
  double min_keep_percent = 0;  // instead: the same as a percentage of all of them
  std::optional<SwapPlan> swaps = std::nullopt;
  std::string exclude;
};

// A model that comes with masks starts with those. Findings: layers with their densities, the course of sparsity and swaps,
// the share of positions that were ever alive, the share of the dense training's FLOPs.
std::unique_ptr<Plugin> make_dynamic_sparse(DynamicSparse settings);

}  // namespace espalier
