#include "espalier/lab/criteria/group_importance.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "espalier/core/error.h"
#include "espalier/core/ranking.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

template <typename Choice>
Choice parse(const std::string& name, const std::string& what, const std::map<std::string, Choice>& known) {
  const auto found = known.find(name);
  if (found != known.end()) return found->second;
  std::vector<std::string> names;
  for (const auto& [key, value] : known) names.push_back(key);
  throw UserError(what, "name", fmt::format("one of {}", fmt::join(names, ", ")), printable(name));
}

// Puts slices together as they come.
class Aggregate {
 public:
  void add(double slice) {
    largest_ = count_ == 0 ? slice : std::max(largest_, slice);
    ++count_;
    sum_ += slice;
    product_ *= slice;
  }
  double value(Aggregation how) const {
    if (count_ == 0) return 0;
    switch (how) {
      case Aggregation::kSum:
        return sum_;
      case Aggregation::kMean:
        return sum_ / static_cast<double>(count_);
      case Aggregation::kMax:
        return largest_;
      case Aggregation::kProd:
        return product_;
    }
    bug(__FILE__, __LINE__, "an aggregation without a rule");
  }

 private:
  int64_t count_ = 0;
  double sum_ = 0, product_ = 1, largest_ = 0;
};

// The sum over all dims but one, fp64.
std::vector<double> slice_sums(const at::Tensor& scores, const CouplingMember& member) {
  if (!scores.defined()) return {};
  const auto axis = static_cast<int64_t>(member.axis);
  ESP_ASSERT(scores.dim() > axis && scores.size(axis) == std::ssize(member.set_of_index), "scores of {}", member.param);
  const at::Tensor sums = scores.to(at::kDouble).movedim(axis, 0).reshape({scores.size(axis), -1}).sum(1).contiguous();
  return {sums.data_ptr<double>(), sums.data_ptr<double>() + sums.numel()};
}

double divisor(const std::vector<double>& scores, GroupNormaliser how) {
  double sum = 0;
  for (double score : scores) sum += score;
  switch (how) {
    case GroupNormaliser::kMean:
      return sum / static_cast<double>(scores.size());
    case GroupNormaliser::kMax:
      return *std::max_element(scores.begin(), scores.end());
    case GroupNormaliser::kSum:
      return sum;
    case GroupNormaliser::kNone:
      return 1;
  }
  bug(__FILE__, __LINE__, "a normaliser without a rule");
}

size_t set_count(const Coupling& coupling) {
  size_t count = 0;
  for (const auto& group : coupling.groups) count += group.canonical.size();
  return count;
}

// Of each parameter dim how many of its sets remain, and in which dims each set lies.
class RemainingSets {
 public:
  explicit RemainingSets(const Coupling& coupling) : dims_of_set_(set_count(coupling)) {
    for (const auto& group : coupling.groups) {
      for (const auto& member : group.members) {
        const std::set<int32_t> sets(member.set_of_index.begin(), member.set_of_index.end());
        for (int32_t set : sets)
          if (set >= 0)
            dims_of_set_[static_cast<size_t>(group.canonical[static_cast<size_t>(set)])].push_back(left_.size());
        left_.push_back(std::ssize(sets) - static_cast<int64_t>(sets.count(-1)));
      }
    }
  }
  bool may_go(int32_t set, int64_t least) const {
    const auto& dims = dims_of_set_[static_cast<size_t>(set)];
    return std::all_of(dims.begin(), dims.end(), [&](size_t dim) { return left_[dim] > least; });
  }
  void remove(int32_t set) {
    for (size_t dim : dims_of_set_[static_cast<size_t>(set)]) --left_[dim];
  }

 private:
  std::vector<std::vector<size_t>> dims_of_set_;
  std::vector<int64_t> left_;
};

// Takes the last removed sets of the group off the list until what it keeps is a multiple of `multiple`.
void give_back(const CouplingGroup& group, int64_t multiple, std::vector<int32_t>& removed) {
  const std::set<int32_t> own(group.canonical.begin(), group.canonical.end());
  const auto gone = std::count_if(removed.begin(), removed.end(), [&](int32_t set) { return own.count(set) != 0; });
  const int64_t kept = group.set_count - gone;
  int64_t missing = std::min<int64_t>(gone, (multiple - kept % multiple) % multiple);
  for (size_t i = removed.size(); i-- > 0 && missing > 0;) {
    if (!own.count(removed[i])) continue;
    removed.erase(removed.begin() + static_cast<int64_t>(i));
    --missing;
  }
}

}  // namespace

Aggregation parse_aggregation(const std::string& name) {
  return parse<Aggregation>(name, "aggregation",
                            {{"sum", Aggregation::kSum},
                             {"mean", Aggregation::kMean},
                             {"max", Aggregation::kMax},
                             {"prod", Aggregation::kProd}});
}

GroupNormaliser parse_group_normaliser(const std::string& name) {
  return parse<GroupNormaliser>(name, "normaliser",
                                {{"mean", GroupNormaliser::kMean},
                                 {"max", GroupNormaliser::kMax},
                                 {"sum", GroupNormaliser::kSum},
                                 {"none", GroupNormaliser::kNone}});
}

ElementScores magnitude_scores(const Graph& graph, double p) {
  return [&graph, p](const std::string& name) {
    return to_torch(graph.parameter(name).load()).to(at::kDouble).abs().pow(p);
  };
}

SetScores group_importance(const Coupling& coupling, const ElementScores& scores, Aggregation aggregation,
                           GroupNormaliser normaliser) {
  return group_importance_of_slices(
      coupling, [&](const CouplingMember& member) { return slice_sums(scores(member.param), member); }, aggregation,
      normaliser);
}

SetScores group_importance_of_slices(const Coupling& coupling, const SliceScores& scores, Aggregation aggregation,
                                     GroupNormaliser normaliser) {
  const size_t count = set_count(coupling);
  SetScores result{std::vector<double>(count), std::vector<double>(count), std::vector<int32_t>(count)};
  for (const auto& group : coupling.groups) {
    std::vector<Aggregate> sets(group.canonical.size());
    for (const auto& member : group.members) {
      const auto slices = scores(member);
      for (size_t i = 0; i < slices.size(); ++i) {
        if (std::isnan(slices[i])) user_error("{}: a score of axis {} is not a number", member.param, member.axis);
        if (const int32_t set = member.set_of_index[i]; set >= 0) sets[static_cast<size_t>(set)].add(slices[i]);
      }
    }
    std::vector<double> raw;
    for (const auto& set : sets) raw.push_back(set.value(aggregation));
    const double by = divisor(raw, normaliser);
    for (size_t set = 0; set < raw.size(); ++set) {
      const auto number = static_cast<size_t>(group.canonical[set]);
      result.raw[number] = raw[set];
      result.normalised[number] = by == 0 ? 0 : raw[set] / by;
      result.group_of_set[number] = group.id;
    }
  }
  return result;
}

std::vector<int32_t> rank_sets(const std::vector<double>& scores) {
  const auto order = ascending_order(std::span<const double>(scores));
  return {order.begin(), order.end()};
}

std::vector<int32_t> choose_removals(const Coupling& coupling, const std::vector<int32_t>& ranking, int64_t count,
                                     const RemovalLimits& limits) {
  if (limits.min_channels < 1 || limits.round_to < 1)
    throw UserError("removal", "min_channels and round_to", "numbers of at least 1",
                    fmt::format("{} and {}", limits.min_channels, limits.round_to));
  RemainingSets remaining(coupling);
  std::vector<int32_t> removed;
  for (int32_t set : ranking) {
    if (std::ssize(removed) >= count) break;
    if (!remaining.may_go(set, limits.min_channels)) continue;
    remaining.remove(set);
    removed.push_back(set);
  }
  for (const auto& group : coupling.groups)
    if (limits.round_heads || group.kind != GroupKind::kHeads) give_back(group, limits.round_to, removed);
  return removed;
}

}  // namespace espalier
