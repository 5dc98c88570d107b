// 26 FinerCut (2024): single attention and FFN sub-layers go, greedily, by how little the output distribution moves from
// the intact model's.
#include "espalier/core/error.h"
#include "espalier/core/progress.h"
#include "espalier/core/ranking.h"
#include "espalier/core/signals.h"
#include "espalier/lab/allocation/greedy_search.h"
#include "espalier/lab/measure/distance.h"
#include "espalier/lab/methods/reproduce.h"
#include "espalier/lab/methods/structures/unit_removal.h"
#include "espalier/lab/torch.h"
#include "espalier/structure/surgery.h"

namespace espalier {
namespace {

// What one candidate removes: one sub-layer, or both of a block.
struct Candidate {
  int block;
  std::string name;  // "attn_3", "ffn_3", "block_3"
  std::vector<size_t> sublayers;
};

std::vector<Candidate> find_candidates(const std::vector<SubLayer>& sublayers, const std::string& level, const PruneJob& job) {
  if (level != "both" && level != "attn" && level != "ffn" && level != "block")
    throw UserError("26-finercut", "option level", "both, attn, ffn or block", printable(level));
  std::vector<Candidate> candidates;
  for (size_t i = 0; i < sublayers.size(); ++i) {
    const SubLayer& s = sublayers[i];
    const std::string kind = name_of(s.kind);
    if (job.is_protected(job.graph().nodes[static_cast<size_t>(s.out_projection)].name)) continue;
    if (level == "block") {
      if (candidates.empty() || candidates.back().block != s.block) candidates.push_back({s.block, fmt::format("block_{}", s.block), {}});
      candidates.back().sublayers.push_back(i);
    } else if (level == "both" || level == kind) {
      candidates.push_back({s.block, fmt::format("{}_{}", kind, s.block), {i}});
    }
  }
  return candidates;
}

// Runs the model with some sub-layers skipped and measures the distance from the intact logits. The residual stream at
// every block input of the model with the accepted removals is kept: a candidate of block b only needs blocks >= b.
class Evaluator {
 public:
  Evaluator(PruneJob& job, const std::vector<SubLayer>& sublayers, const std::vector<Candidate>& candidates, const TokenSequences& sequences,
            Metric metric, bool prefix_cache)
      : graph_(job.graph()), sublayers_(sublayers), candidates_(candidates), metric_(metric), cache_(prefix_cache), weights_(graph_),
        interpreter_(graph_, weights_), skipped_(sublayers.size(), false) {
    for (const auto& sequence : sequences) {
      ids_.push_back(token_tensor(sequence));
      positions_ += static_cast<int64_t>(sequence.size());
      scored_ += static_cast<int64_t>(sequence.size()) - 1;
    }
    for (size_t s = 0; s < ids_.size(); ++s) {
      prefix_.push_back(std::vector<at::Tensor>(static_cast<size_t>(graph_.block_count)));
      Environment values{{graph_.inputs[0], ids_[s]}};
      interpreter_.run(values, 0, interpreter_.block_range(0).first);
      prefix_[s][0] = values.at(interpreter_.block_input(0));
      reference_.push_back(run_from(s, 0, false));
    }
    refresh({});
  }

  // The removed candidates, of which all but the last are the accepted ones that refresh() knows.
  double distance(const std::vector<int>& removed, double abandon_above) {
    set_skipped(removed);
    const int first = cache_ && !removed.empty() ? candidates_[static_cast<size_t>(removed.back())].block : 0;
    Distance sum(metric_);
    for (size_t s = 0; s < ids_.size(); ++s) {
      check_interrupted();
      const at::Tensor logits = run_from(s, first, false);
      if (metric_ == Metric::kPerplexity) {
        sum.add_tokens(logits, ids_[s][0]);
      } else {
        sum.add(reference_[s], logits);
      }
      if (s + 1 < ids_.size() && sum.lower_bound(terms()) > abandon_above) return sum.lower_bound(terms());
    }
    return sum.value();
  }

  // After an acceptance: the streams of the model that now is.
  void refresh(const std::vector<int>& accepted) {
    set_skipped(accepted);
    for (size_t s = 0; s < ids_.size(); ++s) run_from(s, 0, true);
  }

  int64_t blocks_run() const { return blocks_run_; }

 private:
  int64_t terms() const {
    return metric_ == Metric::kNorm ? static_cast<int64_t>(ids_.size()) : metric_ == Metric::kPerplexity ? scored_ : positions_;
  }

  void set_skipped(const std::vector<int>& removed) {
    std::fill(skipped_.begin(), skipped_.end(), false);
    for (int candidate : removed)
      for (size_t sublayer : candidates_[static_cast<size_t>(candidate)].sublayers) skipped_[sublayer] = true;
  }

  // Logits [tokens, vocab] of a sequence, from the stored stream that enters block `first` on.
  at::Tensor run_from(size_t s, int first, bool store) {
    at::NoGradGuard no_gradients;
    Environment values{{interpreter_.block_input(first), prefix_[s][static_cast<size_t>(first)]}};
    for (int block = first; block < graph_.block_count; ++block) {
      if (store) prefix_[s][static_cast<size_t>(block)] = values.at(interpreter_.block_input(block));
      run_block(values, block);
      ++blocks_run_;
    }
    interpreter_.run(values, interpreter_.block_range(graph_.block_count).first, static_cast<NodeId>(graph_.nodes.size()));
    return values.at(graph_.outputs[0])[0];
  }

  // Nodes that only a skipped branch needs are not run; its Add passes the residual on.
  void run_block(Environment& values, int block) {
    const auto [first, last] = interpreter_.block_range(block);
    std::vector<const SubLayer*> skipped;
    for (size_t i = 0; i < sublayers_.size(); ++i)
      if (skipped_[i] && sublayers_[i].block == block) skipped.push_back(&sublayers_[i]);
    for (NodeId n = first; n < last; ++n) {
      const SubLayer* by_add = nullptr;
      bool inside = false;
      for (const SubLayer* sublayer : skipped) {
        if (sublayer->add == n) by_add = sublayer;
        inside = inside || std::count(sublayer->nodes.begin(), sublayer->nodes.end(), n) > 0;
      }
      if (by_add) {
        values[graph_.nodes[static_cast<size_t>(n)].outputs[0]] = values.at(by_add->residual);
      } else if (!inside) {
        interpreter_.run(values, n, n + 1);
      }
    }
  }

  const Graph& graph_;
  const std::vector<SubLayer>& sublayers_;
  const std::vector<Candidate>& candidates_;
  Metric metric_;
  bool cache_;
  Weights weights_;
  Interpreter interpreter_;
  std::vector<bool> skipped_;
  std::vector<at::Tensor> ids_, reference_;
  std::vector<std::vector<at::Tensor>> prefix_;  // [sequence][block]
  int64_t positions_ = 0, scored_ = 0, blocks_run_ = 0;
};

int removal_target(const PruneJob& job, size_t sublayers, size_t candidates) {
  const std::string given = job.option_text("remove");
  const int64_t count = given.empty() ? removal_count(job.sparsity(), static_cast<int64_t>(sublayers)) : job.option_int("remove");
  if (count < 1) user_error("26-finercut: asked for {} of {} sub-layers, which removes none", job.sparsity(), sublayers);
  if (count > static_cast<int64_t>(candidates))
    throw UserError("26-finercut", "sub-layers to remove", fmt::format("at most the {} candidates", candidates), fmt::format("{}", count));
  return static_cast<int>(count);
}

ProtectedFront front_of(const PruneJob& job, const std::string& level) {
  const int blocks = job.model().graph.block_count;
  const std::string given = job.option_text("protect-front");
  const double share = given.empty() ? (blocks >= 16 ? 0.4 : 0.0) : job.option_real("protect-front");
  check_share(share, "26-finercut: protect-front");
  const int per_block = level == "both" ? 2 : 1;
  ProtectedFront front = protect_front(share, blocks, per_block);
  return front;
}

Json removals_json(const Removals& found, const std::vector<Candidate>& candidates) {
  Json ranking = Json::array();
  for (size_t i = 0; i < found.removed.size(); ++i)
    ranking.push_back({{"candidate", found.removed[i]}, {"name", candidates[static_cast<size_t>(found.removed[i])].name}, {"distance", found.distance[i]}});
  return ranking;
}

Removals search(PruneJob& job, Evaluator& evaluator, const std::vector<Candidate>& candidates, const RemovalBudget& budget, const ProtectedFront& front,
                Json& extra) {
  const auto count = static_cast<int>(candidates.size());
  const std::string kind = job.option_text("search");
  const DistanceOf distance_of = [&](const std::vector<int>& removed, double above) { return evaluator.distance(removed, above); };
  const auto follow = [&](const std::vector<int>& order) {
    return follow_order(count, order, budget, [&](const std::vector<int>& removed, double above) {
      evaluator.refresh({removed.begin(), removed.end() - 1});
      return evaluator.distance(removed, above);
    });
  };
  if (kind == "random") return follow(random_order(count, front, job.settings().seed));
  if (kind == "load") {
    std::vector<int> order;
    for (const auto& entry : read_json(job.option_text("ranking"))) order.push_back(static_cast<int>(json_int(entry, "candidate", job.option_text("ranking"), 0, count - 1)));
    return follow(order);
  }
  if (kind == "one-shot") {
    OneShotRemovals result = one_shot_search(count, budget, front, [&](const std::vector<int>& removed, double above) {
      if (removed.size() > 1) evaluator.refresh({});  // a whole set: from the first block on
      return evaluator.distance(removed, above);
    });
    extra["distance_each"] = result.distance_each;
    return result.result;
  }
  if (kind != "greedy") throw UserError("26-finercut", "option search", "greedy, one-shot, random or load", printable(kind));
  GreedyOptions options{budget, front, {}, {}};
  if (const auto saved = job.load_state("search")) {
    options.start.removed = saved->at("removed").get<std::vector<int>>();
    options.start.distance = saved->at("distance").get<std::vector<double>>();
    evaluator.refresh(options.start.removed);
  }
  Progress progress("removing sub-layers", budget.remove, "sub-layer");
  progress.advance(static_cast<int64_t>(options.start.removed.size()));
  options.on_step = [&](const Removals& so_far) {
    evaluator.refresh(so_far.removed);
    job.save_state("search", {{"removed", so_far.removed}, {"distance", so_far.distance}});
    progress.advance(1);
    progress.note(candidates[static_cast<size_t>(so_far.removed.back())].name);
  };
  return greedy_search(count, options, distance_of);
}

// One line a block: A and F where the sub-layers are, '.' where they were removed.
std::string map_of(const Graph& graph, const std::vector<SubLayer>& sublayers, const std::vector<bool>& gone) {
  std::vector<std::string> rows(static_cast<size_t>(graph.block_count));
  for (size_t i = 0; i < sublayers.size(); ++i)
    rows[static_cast<size_t>(sublayers[i].block)] += gone[i] ? '.' : sublayers[i].attention ? 'A' : 'F';
  std::string text;
  for (size_t b = 0; b < rows.size(); ++b) text += fmt::format("{:>3} {}\n", b, rows[b]);
  return text;
}

void prune(PruneJob& job) {
  Graph& graph = job.graph();
  const int64_t before = graph.parameter_count();
  const std::string level = job.option_text("level"), output = job.option_text("output");
  if (output != "cut" && output != "zero-out") throw UserError("26-finercut", "option output", "cut or zero-out", printable(output));
  const auto sublayers = find_sublayers(graph);
  const auto candidates = find_candidates(sublayers, level, job);
  RemovalBudget budget;
  budget.remove = removal_target(job, level == "block" ? static_cast<size_t>(graph.block_count) : sublayers.size(), candidates.size());
  if (!job.option_text("max-distance").empty()) budget.max_distance = job.option_real("max-distance");
  const Metric metric = metric_from_name(job.option_text("metric"));
  const auto sequences = job.prompts(job.option_int("sequences"), false, job.option_int("length"));
  Evaluator evaluator(job, sublayers, candidates, sequences, metric, job.option_flag("prefix-cache"));
  Json extra = Json::object();
  const Removals found = search(job, evaluator, candidates, budget, front_of(job, level), extra);
  std::vector<bool> gone(sublayers.size(), false);
  std::vector<SubLayer> removed;
  for (int candidate : found.removed)
    for (size_t i : candidates[static_cast<size_t>(candidate)].sublayers) {
      gone[i] = true;
      removed.push_back(sublayers[i]);
      job.note_removed({{"unit", "sublayer"}, {"node", fmt::format("blocks.{}.{}", sublayers[i].block, name_of(sublayers[i].kind))}, {"indices", {0}}});
    }
  job.findings() = {{"metric", metric_name(metric)}, {"ranking", removals_json(found, candidates)}, {"map", map_of(graph, sublayers, gone)},
                    {"nan_distances", found.nan_distances}, {"evaluations", found.evaluations}, {"block_evaluations", evaluator.blocks_run()}};
  for (const auto& [key, value] : extra.items()) job.findings()[key] = value;
  if (output == "zero-out") {
    zero_sublayers(graph, removed);
  } else {
    remove_sublayers(graph, removed, job.model().family->block_prefix(graph));
  }
  job.reached(job.settings().of == "params" ? removed_share(before, graph) : static_cast<double>(removed.size()) / static_cast<double>(sublayers.size()));
}

Reproduction reproduce(ReproduceContext& context) {
  const auto greedy = context.run("26-finercut", 0.25);
  const auto one_shot = context.run("26-finercut", 0.25, {{"search", "one-shot"}});
  const double random = context.mean_perplexity("26-finercut", 0.25, {{"search", "random"}}, 3);
  return {"removing single attention and FFN layers costs less than removing others (Llama3-8B keeps 90 % at 25 %)",
          fmt::format("a quarter of the sub-layers removed: greedy {:.3f}, one-shot {:.3f}, random {:.3f} (mean of 3 seeds), dense {:.3f}",
                      greedy.quality.perplexity.value, one_shot.quality.perplexity.value, random, context.dense().perplexity.value),
          greedy.quality.perplexity.value < random, greedy.findings};
}

const RegisterMethod registered(
    {.id = "26-finercut",
     .name = "FinerCut",
     .year = 2024,
     .kind = "OneShot",
     .taxonomy = {{"sublayer"}, "universal", {"after"}, "unlabelled", "output deviation", "", "global", "iterative", "none", "", {"llm"}},
     .needs = {"data"},
     .options = {{"remove", "int", "", "> 0", "a count of sub-layers instead of a share"},
                 {"level", "text", "both", "both, attn, ffn, block", "what a candidate is"},
                 {"metric", "text", "js", "js, js-code, kl, angular, norm, perplexity", "distance from the intact model's output"},
                 {"protect-front", "real", "", "[0, 1)", "share of the first blocks that go last; empty: 0.4 from 16 blocks on, else 0"},
                 {"search", "text", "greedy", "greedy, one-shot, random, load", "how the order is found"},
                 {"ranking", "text", "", "file", "with search load: the ranking of an earlier run's findings, as a JSON list"},
                 {"sequences", "int", "10", "> 0", "calibration sequences, each a paragraph of the text"},
                 {"length", "int", "256", "> 0", "tokens of a sequence at most"},
                 {"max-distance", "real", "", ">= 0", "stop before a removal that goes beyond it"},
                 {"prefix-cache", "flag", "true", "true, false", "keep the residual streams of the accepted model; same result, half the work"},
                 {"output", "text", "cut", "cut, zero-out", "zero-out keeps every shape, for plain loaders"}},
     .default_of = "layers",
     .of = {},
     .prune = prune,
     .reproduce = reproduce});

}  // namespace
}  // namespace espalier
