#include "espalier/lab/allocation/greedy_search.h"

#include <algorithm>
#include <cmath>

#include "espalier/core/error.h"
#include "espalier/core/rng.h"

namespace espalier {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

void check_budget(const RemovalBudget& budget, int candidates) {
  if (budget.remove >= 0 && budget.remove <= candidates) return;
  throw UserError("layer search", "remove", fmt::format("0 to {} candidates", candidates),
                  fmt::format("{}", budget.remove));
}

// Candidates that may be tried now, in scan order.
std::vector<int> open_candidates(int candidates, const std::vector<int>& removed, const ProtectedFront& front) {
  std::vector<int> behind, in_front;
  for (int c = 0; c < candidates; ++c) {
    if (std::find(removed.begin(), removed.end(), c) != removed.end()) continue;
    (c < front.excluded ? in_front : behind).push_back(c);
  }
  const bool returned = std::ssize(removed) >= front.returns_after || behind.empty();
  if (returned) in_front.insert(in_front.end(), behind.begin(), behind.end());
  return returned ? in_front : behind;
}

double measure(const DistanceOf& distance_of, const std::vector<int>& removed, double abandon_above, Removals& log) {
  ++log.evaluations;
  const double distance = distance_of(removed, abandon_above);
  if (!std::isnan(distance)) return distance;
  ++log.nan_distances;
  return kInfinity;
}

// False, with the reason noted, when the removal would go too far.
bool accept(Removals& result, int candidate, double distance, const RemovalBudget& budget) {
  if (budget.max_distance && distance > *budget.max_distance) {
    result.stopped_by_distance = true;
    return false;
  }
  result.removed.push_back(candidate);
  result.distance.push_back(distance);
  return true;
}

struct Choice {
  int candidate;
  double distance;
};

Choice closest(const std::vector<int>& open, const DistanceOf& distance_of, Removals& log) {
  Choice best{open.front(), kInfinity};
  std::vector<int> trial = log.removed;
  trial.push_back(0);
  for (int candidate : open) {
    trial.back() = candidate;
    const double distance = measure(distance_of, trial, best.distance, log);
    if (distance < best.distance) best = {candidate, distance};
  }
  return best;
}

}  // namespace

ProtectedFront protect_front(double share, int blocks, int candidates_per_block) {
  if (!(share >= 0 && share < 1)) {
    throw UserError("layer search", "protect-front", "a number in [0, 1)", fmt::format("{}", share));
  }
  if (share == 0) return {};
  const int protected_blocks = std::min(blocks, static_cast<int>(std::floor(share * blocks)) + 1);
  return {protected_blocks * candidates_per_block, static_cast<int>(share * (candidates_per_block * blocks)) + 1};
}

Removals greedy_search(int candidates, const GreedyOptions& options, const DistanceOf& distance_of) {
  check_budget(options.budget, candidates);
  Removals result = options.start;
  while (std::ssize(result.removed) < options.budget.remove) {
    const auto [candidate, distance] =
        closest(open_candidates(candidates, result.removed, options.front), distance_of, result);
    if (!accept(result, candidate, distance, options.budget)) break;
    if (options.on_step) options.on_step(result);
  }
  return result;
}

OneShotRemovals one_shot_search(int candidates, const RemovalBudget& budget, const ProtectedFront& front,
                                const DistanceOf& distance_of) {
  check_budget(budget, candidates);
  OneShotRemovals one_shot;
  auto& each = one_shot.distance_each;
  each.assign(candidates, std::numeric_limits<double>::quiet_NaN());
  auto order = open_candidates(candidates, {}, front);
  for (int c : order) each[c] = measure(distance_of, {c}, kInfinity, one_shot.result);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return each[a] < each[b]; });
  if (budget.remove > std::ssize(order)) {
    throw UserError("layer search", "remove",
                    fmt::format("at most {} candidates outside the protected front", order.size()),
                    fmt::format("{}", budget.remove));
  }
  for (int i = 0; i < budget.remove; ++i) {
    if (!accept(one_shot.result, order[i], each[order[i]], budget)) break;
  }
  return one_shot;
}

Removals follow_order(int candidates, const std::vector<int>& order, const RemovalBudget& budget,
                      const DistanceOf& distance_of) {
  check_budget(budget, std::min<int>(candidates, static_cast<int>(order.size())));
  Removals result;
  std::vector<int> trial;
  for (int i = 0; i < budget.remove; ++i) {
    if (order[i] < 0 || order[i] >= candidates || std::find(trial.begin(), trial.end(), order[i]) != trial.end()) {
      throw UserError("layer search", "ranking", fmt::format("each of 0 to {} at most once", candidates - 1),
                      fmt::format("{} at place {}", order[i], i));
    }
    trial.push_back(order[i]);
    if (!accept(result, order[i], measure(distance_of, trial, kInfinity, result), budget)) break;
  }
  return result;
}

std::vector<int> random_order(int candidates, const ProtectedFront& front, uint64_t seed) {
  auto order = open_candidates(candidates, {}, front);
  Rng rng(seed, "layer-search");
  rng.shuffle(order);
  return order;
}

}  // namespace espalier
