// Which of a few dozen candidates (sub-layers, layers, heads) to remove, by removing and measuring. Candidates are
// numbered in scan order; the first scanned wins among equal distances; a NaN distance loses and is counted.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace espalier {

// Distance from the intact model with exactly these candidates removed (in order of removal). Once it is certain to
// exceed `abandon_above`, any larger number (infinity) may be returned instead of the exact one.
using DistanceOf = std::function<double(const std::vector<int>& removed, double abandon_above)>;

struct Removals {
  std::vector<int> removed;      // in order
  std::vector<double> distance;  // after each removal
  int64_t evaluations = 0;
  int64_t nan_distances = 0;
  bool stopped_by_distance = false;  // the next removal would have exceeded max_distance
};

struct RemovalBudget {
  int remove = 0;                      // UserError when larger than the number of candidates, or negative
  std::optional<double> max_distance;  // a removal that exceeds it is not made, and ends the search
};

// The first `excluded` candidates are not tried until `returns_after` removals are made, or no other is left.
struct ProtectedFront {
  int excluded = 0;
  int returns_after = std::numeric_limits<int>::max();
};

// FinerCut's rule for a share x of the blocks: floor(x * blocks) + 1 blocks are protected until int(x * candidates) + 1
// removals are made; x = 0 protects nothing. candidates_per_block: 2 for attention and FFN, 1 otherwise.
ProtectedFront protect_front(double share, int blocks, int candidates_per_block);

// Each step tries every candidate that is left on top of those removed, and removes the closest one.
// `start` continues an interrupted search (its removals are taken as made); on_step is called after each removal.
struct GreedyOptions {
  RemovalBudget budget;
  ProtectedFront front;
  Removals start;
  std::function<void(const Removals&)> on_step;
};
Removals greedy_search(int candidates, const GreedyOptions& options, const DistanceOf& distance_of);

// Each candidate is measured once, alone; the closest ones go. `distance` holds their single distances.
struct OneShotRemovals {
  Removals result;
  std::vector<double> distance_each;  // of every candidate that was tried; NaN for the protected ones
};
OneShotRemovals one_shot_search(int candidates, const RemovalBudget& budget, const ProtectedFront& front,
                                const DistanceOf& distance_of);

// Removes in a given order (a loaded ranking), measuring each step. UserError when a number is out of range or
// repeated.
Removals follow_order(int candidates, const std::vector<int>& order, const RemovalBudget& budget,
                      const DistanceOf& distance_of);

// A random order of all candidates that are not protected.
std::vector<int> random_order(int candidates, const ProtectedFront& front, uint64_t seed);

}  // namespace espalier
