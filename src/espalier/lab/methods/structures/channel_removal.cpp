#include "espalier/lab/methods/structures/channel_removal.h"

#include <algorithm>
#include <chrono>

#include "espalier/core/choice.h"
#include "espalier/core/log.h"
#include "espalier/core/ranking.h"
#include "espalier/lab/measure/latency.h"
#include "espalier/lab/methods/structures/removal_report.h"

namespace espalier {
namespace {

constexpr std::pair<const char*, GroupKind> kKinds[] = {
    {"residual", GroupKind::kResidual}, {"heads", GroupKind::kHeads}, {"neurons", GroupKind::kNeurons}, {"other", GroupKind::kOther}};
constexpr std::pair<const char*, bool> kScopes[] = {{"global", false}, {"layer", true}};
constexpr std::pair<const char*, GroupConvPolicy> kGroupConv[] = {{"keep-groups", GroupConvPolicy::kKeepGroups}, {"drop-groups", GroupConvPolicy::kDropGroups}};
constexpr std::pair<const char*, SplitPolicy> kSplits[] = {{"outer", SplitPolicy::kOuter}, {"inner", SplitPolicy::kInner}};

std::set<GroupKind> kinds_of(const std::string& list) {
  std::set<GroupKind> kinds;
  for (size_t start = 0; start <= list.size();) {
    const size_t comma = std::min(list.find(',', start), list.size());
    const std::string word = list.substr(start, comma - start);
    if (word == "all") {
      for (const auto& [name, kind] : kKinds) kinds.insert(kind);
    } else {
      kinds.insert(choice_from_name("groups", word, kKinds));
    }
    start = comma + 1;
  }
  return kinds;
}

int64_t at_least_one(const PruneJob& job, const std::string& option, int64_t otherwise) {
  if (job.option_text(option).empty()) return otherwise;
  const int64_t value = job.option_int(option);
  if (value < 1) throw UserError(job.method().id, "option " + option, "at least 1", fmt::format("{}", value));
  return value;
}

// Multi-query attention: the one KV head cannot go, so query heads may.
bool only_single_kv_heads(const Coupling& coupling) {
  bool any = false;
  for (const auto& group : coupling.groups) {
    if (!group.heads) continue;
    if (group.heads->kv_heads != 1) return false;
    any = any || group.heads->queries_per_set > 1;
  }
  return any;
}

// Where a set stands among those of its group, in (0, 1]: one ranking by it takes the same share of every group.
std::vector<double> standings(const Coupling& coupling, const SetScores& scores) {
  std::vector<double> standing(scores.raw.size());
  for (const auto& group : coupling.groups) {
    std::vector<double> own;
    for (int32_t set : group.canonical) own.push_back(scores.raw[static_cast<size_t>(set)]);
    const auto order = ascending_order(std::span<const double>(own));
    for (size_t rank = 0; rank < order.size(); ++rank)
      standing[static_cast<size_t>(group.canonical[static_cast<size_t>(order[rank])])] = static_cast<double>(rank + 1) / static_cast<double>(order.size());
  }
  return standing;
}

// Sets of groups that may be cut, lowest first.
std::vector<int32_t> ranking_of(const SetRemoval& removal, const Coupling& coupling, const SetScores& scores, bool local) {
  std::vector<int32_t> ranking;
  for (int32_t set : rank_sets(local ? standings(coupling, scores) : scores.normalised))
    if (removal.kinds.count(coupling.groups[static_cast<size_t>(scores.group_of_set[static_cast<size_t>(set)])].kind)) ranking.push_back(set);
  return ranking;
}

SetScores equal_scores(const Coupling& coupling) {
  return group_importance_of_slices(coupling, [](const CouplingMember&) { return std::vector<double>(); }, Aggregation::kSum, GroupNormaliser::kNone);
}

[[noreturn]] void shortfall(const PruneJob& job, const SetRemoval& removal, const Coupling& coupling, double asked, double best) {
  std::vector<std::string> labels;
  for (const auto& group : coupling.groups)
    if (removal.kinds.count(group.kind)) labels.push_back(group.label);
  const size_t count = labels.size();
  if (count > 8) labels.resize(8);
  std::string frozen = coupling.unknown_operators.empty() ? "" : fmt::format("; operators without a rule freeze what they touch: {}", fmt::join(coupling.unknown_operators, ", "));
  if (count == 0)
    user_error("{}: asked to remove {:g} of {}, and no set of channels can go: every one is frozen, protected or left out{}", job.method().id, asked, job.settings().of, frozen);
  const std::string speed = job.settings().of == "flops" ? fmt::format(", a speed-up of {:.3g}", 1 / (1 - best)) : "";
  user_error("{}: asked to remove {:g} of {}, and at most {:.4f} can go{}: {}{} can give no more (min-channels {}, round-to {}); all else is frozen{}", job.method().id,
             asked, job.settings().of, best, speed, fmt::join(labels, ", "), count > labels.size() ? fmt::format(" and {} more groups", count - labels.size()) : "",
             removal.limits.min_channels, removal.limits.round_to, frozen);
}

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

bool is_measured(const PruneJob& job) { return job.settings().of == "latency" && !job.trial(); }

MeasuredShare time_share(const ForwardTimer& timer, const Graph& graph) {
  const TimeRatio ratio = timer.ratio_of(graph);
  return {1 - ratio.value, ratio.spread};
}

double counted_share(const PruneJob& job, const Graph& graph) {
  const Model& model = job.model();
  const std::string& of = job.settings().of;
  const Size before = model_size(job.graph(), model), after = model_size(graph, model);
  const auto share = [](double left, double all) { return all > 0 ? 1 - left / all : 0.0; };
  if (of == "flops" || of == "latency") return share(after.flops, before.flops);
  if (of == "bytes") return share(static_cast<double>(after.bytes), static_cast<double>(before.bytes));
  ESP_ASSERT(of == "params", "a budget of {}", of);
  return share(static_cast<double>(after.params), static_cast<double>(before.params));
}

Graph cut_without(const Graph& graph, const Coupling& coupling, const std::vector<int32_t>& removed) {
  Graph rest = graph.clone();
  cut(rest, coupling, cuts_without(coupling, removed));
  return rest;
}

// Says what a search for a time could not settle.
void report_end(const PruneJob& job, const TimeSearchResult& found, double share, int64_t all, const TimeSearchLimits& limits) {
  const std::string result = fmt::format("{:.3f} ± {:.3f} of the time is gone where {:g} was asked for", found.gone.value, found.gone.spread, share);
  if (found.end == TimeSearchEnd::kNoise)
    warn("{}: forwards of equal work differ too much on this machine now: after {} measurements {}", job.method().id, found.measurements, result);
  if (found.end != TimeSearchEnd::kTime) return;
  if (found.count == all)
    user_error("{}: {:g} s of measuring were over after {} measurements, before any cut smaller than the largest was known to take {:g} off the time; ask for a share of flops",
               job.method().id, limits.seconds, found.measurements, share);
  warn("{}: {:g} s of measuring are over after {} measurements: {}; a smaller cut might do", job.method().id, limits.seconds, found.measurements, result);
}

}  // namespace

std::vector<OptionSpec> set_removal_options(const std::string& scope, std::vector<OptionSpec> first) {
  const std::vector<OptionSpec> shared = {
      {"groups", "text", "all", "all, or some of residual, heads, neurons, other, with commas", "which kinds of coupling groups may be cut"},
      {"scope", "text", scope, "global, layer", "layer: every group loses the same share of its sets"},
      {"round-to", "int", "", "> 0", "kept sets of a group are rounded up to a multiple; empty: what --align says; attention heads are not rounded"},
      {"min-channels", "int", "1", "> 0", "sets that every dimension keeps"},
      {"steps", "int", "1", "> 0", "rounds of equal shares, each scored anew on what is left"},
      {"group-conv", "text", "keep-groups", "keep-groups, drop-groups", "what a grouped convolution loses: channels of every group, or whole groups"},
      {"split", "text", "outer", "outer, inner", "what stays of a dimension that a Reshape takes apart: its first factor or its last"}};
  first.insert(first.end(), shared.begin(), shared.end());
  return first;
}

SetRemoval set_removal(const PruneJob& job) {
  SetRemoval removal;
  removal.kinds = kinds_of(job.option_text("groups"));
  removal.local = choice_from_name("scope", job.option_text("scope"), kScopes);
  removal.limits.round_to = at_least_one(job, "round-to", std::max<int64_t>(1, job.settings().align));
  removal.limits.round_heads = false;
  removal.limits.min_channels = at_least_one(job, "min-channels", 1);
  removal.steps = at_least_one(job, "steps", 1);
  removal.coupling = coupling_options(job);
  return removal;
}

CouplingOptions coupling_options(const PruneJob& job) {
  CouplingOptions options;
  options.protect = job.settings().protect;
  options.group_conv = choice_from_name("group-conv", job.option_text("group-conv"), kGroupConv);
  options.split = choice_from_name("split", job.option_text("split"), kSplits);
  return options;
}

Coupling coupling_for(const PruneJob& job, const CouplingOptions& options, const Graph& graph) {
  Coupling coupling = find_coupling(graph, options);
  if (only_single_kv_heads(coupling)) {
    CouplingOptions queries = options;
    queries.head_unit = HeadUnit::kQueryHead;
    coupling = find_coupling(graph, queries);
  }
  for (const auto& op : coupling.unknown_operators) warn("{}: {}", job.method().id, op);
  return coupling;
}

MeasuredShare measured_share(const PruneJob& job, const Graph& graph) {
  return is_measured(job) ? time_share(ForwardTimer(job.model()), graph) : MeasuredShare{counted_share(job, graph), 0};
}

void note_place(PruneJob& job) {
  if (is_measured(job)) job.findings()["timed"] = timing_place(job.model());
}

double share_gone(const PruneJob& job, const Graph& graph) { return measured_share(job, graph).value; }

std::vector<GroupCut> cuts_without(const Coupling& coupling, const std::vector<int32_t>& removed) {
  const std::set<int32_t> gone(removed.begin(), removed.end());
  std::vector<GroupCut> cuts;
  for (const auto& group : coupling.groups) {
    GroupCut cut{group.id, {}};
    for (int64_t set = 0; set < group.set_count; ++set)
      if (!gone.count(group.canonical[static_cast<size_t>(set)])) cut.kept.push_back(set);
    if (std::ssize(cut.kept) < group.set_count) cuts.push_back(std::move(cut));
  }
  return cuts;
}

double share_without(const PruneJob& job, const Graph& graph, const Coupling& coupling, const std::vector<int32_t>& removed) {
  return share_gone(job, cut_without(graph, coupling, removed));
}

std::vector<int32_t> sets_for_share(const PruneJob& job, const SetRemoval& removal, const Graph& graph, const Coupling& coupling,
                                    const SetScores& scores, double share) {
  constexpr double kRounding = 1e-12;
  const auto ranking = ranking_of(removal, coupling, scores, removal.local || job.trial());
  const auto first = [&](int64_t count) { return choose_removals(coupling, ranking, count, removal.limits); };
  const int64_t all = std::ssize(ranking);
  if (share <= 0) return {};
  if (is_measured(job)) {
    const ForwardTimer timer(job.model());
    const TimeSearchLimits limits;
    const auto found = fewest_for_time(all, share, [&](int64_t count) { return time_share(timer, cut_without(graph, coupling, first(count))); }, now, limits);
    if (found.end == TimeSearchEnd::kShortfall) shortfall(job, removal, coupling, share, found.gone.value);
    report_end(job, found, share, all, limits);
    return first(found.count);
  }
  const auto gone = [&](int64_t count) { return share_without(job, graph, coupling, first(count)); };
  if (gone(all) < share - kRounding) shortfall(job, removal, coupling, share, gone(all));
  int64_t low = 0, high = all;
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (gone(middle) >= share - kRounding ? high : low) = middle;
  }
  return first(high);
}

void carry_out(PruneJob& job, const Coupling& coupling, const std::vector<GroupCut>& cuts) {
  RemovalReport report;
  report.add(coupling, cuts);
  Graph graph = job.graph().clone();
  cut(graph, coupling, cuts);
  const MeasuredShare gone = measured_share(job, graph);
  job.graph() = std::move(graph);
  report.write(job);
  note_place(job);
  job.reached(gone.value, gone.spread);
}

void remove_sets(PruneJob& job, const SetRemoval& removal, const ScoreSets& scores_of, const BeforeCut& before_cut) {
  Graph graph = job.graph().clone();  // the job's own stays whole until the end: shares are of it
  RemovalReport report;
  for (int64_t step = 1; step <= removal.steps; ++step) {
    const Coupling coupling = coupling_for(job, removal.coupling, graph);
    const SetScores scores = job.trial() ? equal_scores(coupling) : scores_of(graph, coupling);
    const double share = job.sparsity() * static_cast<double>(step) / static_cast<double>(removal.steps);
    const auto cuts = cuts_without(coupling, sets_for_share(job, removal, graph, coupling, scores, share));
    if (before_cut && !job.trial()) before_cut(graph, coupling, cuts);
    cut(graph, coupling, cuts);
    report.add(coupling, cuts);
  }
  const MeasuredShare gone = measured_share(job, graph);
  job.graph() = std::move(graph);
  report.write(job);
  note_place(job);
  job.reached(gone.value, gone.spread);
}

std::vector<LossBatch> loss_batches(PruneJob& job, int64_t samples) {
  std::vector<LossBatch> batches;
  if (job.model().task == Task::kText) {
    if (!job.source().tokenizer) user_error("{}: gradients need calibration text (--calib)", job.method().id);
    for (const auto& window : job.windows(samples, std::min<int64_t>(job.model().context_length, 256))) {
      const at::Tensor ids = token_tensor(window);
      batches.push_back({{ids.narrow(1, 0, ids.size(1) - 1)}, ids.narrow(1, 1, ids.size(1) - 1).flatten()});
    }
    return batches;
  }
  constexpr int64_t kBatch = 32;
  const LabelledImages images = job.image_samples(samples);
  for (int64_t i = 0; i < images.labels.size(0); i += kBatch) {
    const int64_t count = std::min(kBatch, images.labels.size(0) - i);
    batches.push_back({{images.pixels.narrow(0, i, count)}, images.labels.narrow(0, i, count)});
  }
  return batches;
}

}  // namespace espalier
