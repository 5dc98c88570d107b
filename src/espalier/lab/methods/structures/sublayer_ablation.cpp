#include "espalier/lab/methods/structures/sublayer_ablation.h"

#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/core/signals.h"
#include "espalier/lab/torch.h"

namespace espalier {

SublayerAblation::SublayerAblation(const Graph& graph, const std::vector<SubLayer>& sublayers, const std::vector<AblationCandidate>& candidates,
                                   const TokenSequences& sequences, Metric metric, bool prefix_cache)
    : graph_(graph), sublayers_(sublayers), candidates_(candidates), metric_(metric), cache_(prefix_cache), weights_(graph),
      interpreter_(graph, weights_), skipped_(sublayers.size(), false) {
  at::NoGradGuard no_gradients;
  for (size_t s = 0; s < sequences.size(); ++s) {
    ids_.push_back(token_tensor(sequences[s]));
    positions_ += std::ssize(sequences[s]);
    scored_ += std::ssize(sequences[s]) - 1;
    Environment values{{graph_.inputs[0], ids_[s]}};
    interpreter_.run(values, 0, interpreter_.block_range(0).first);
    streams_.emplace_back(static_cast<size_t>(graph_.block_count));
    streams_[s][0] = values.at(interpreter_.block_input(0));
    if (cache_) store_streams(s, 0);
    if (metric_ != Metric::kPerplexity) reference_.push_back(logits(s, cache_ ? graph_.block_count - 1 : 0));
  }
}

double SublayerAblation::distance(const std::vector<int>& removed, double abandon_above) {
  ESP_ASSERT(!removed.empty() && std::equal(accepted_.begin(), accepted_.end(), removed.begin(), removed.end() - 1));
  set_skipped(removed);
  Distance sum(metric_);
  for (size_t s = 0; s < ids_.size(); ++s) {
    check_interrupted();
    const at::Tensor changed = logits(s, first_block(removed.back()));
    if (metric_ == Metric::kPerplexity) {
      sum.add_tokens(changed, ids_[s][0]);
    } else {
      sum.add(reference_[s], changed);
    }
    if (s + 1 < ids_.size() && sum.lower_bound(terms()) > abandon_above) return sum.lower_bound(terms());
  }
  return sum.value();
}

// Streams that enter blocks up to the first change stay as they are.
void SublayerAblation::accept(const std::vector<int>& removed) {
  const auto [old_end, new_end] = std::mismatch(accepted_.begin(), accepted_.end(), removed.begin(), removed.end());
  int first = graph_.block_count;
  for (auto it = old_end; it != accepted_.end(); ++it) first = std::min(first, first_block(*it));
  for (auto it = new_end; it != removed.end(); ++it) first = std::min(first, first_block(*it));
  accepted_ = removed;
  set_skipped(removed);
  for (size_t s = 0; cache_ && s < ids_.size(); ++s) store_streams(s, first);
}

int64_t SublayerAblation::terms() const {
  return metric_ == Metric::kNorm ? std::ssize(ids_) : metric_ == Metric::kPerplexity ? scored_ : positions_;
}

void SublayerAblation::set_skipped(const std::vector<int>& removed) {
  std::fill(skipped_.begin(), skipped_.end(), false);
  for (int candidate : removed)
    for (size_t sublayer : candidates_[static_cast<size_t>(candidate)].sublayers) skipped_[sublayer] = true;
}

// [tokens, vocab], from the stored stream that enters block `first` on.
at::Tensor SublayerAblation::logits(size_t sequence, int first) {
  at::NoGradGuard no_gradients;
  Environment values{{interpreter_.block_input(first), streams_[sequence][static_cast<size_t>(first)]}};
  for (int block = first; block < graph_.block_count; ++block) run_block(values, block);
  interpreter_.run(values, interpreter_.block_range(graph_.block_count).first, static_cast<NodeId>(graph_.nodes.size()));
  return values.at(graph_.outputs[0])[0];
}

// The streams behind block `first`; nothing needs what the last block gives.
void SublayerAblation::store_streams(size_t sequence, int first) {
  at::NoGradGuard no_gradients;
  for (int block = first; block + 1 < graph_.block_count; ++block) {
    Environment values{{interpreter_.block_input(block), streams_[sequence][static_cast<size_t>(block)]}};
    run_block(values, block);
    streams_[sequence][static_cast<size_t>(block) + 1] = values.at(interpreter_.block_input(block + 1));
  }
}

// Nodes that only a skipped branch needs are not run; its Add passes the residual on.
void SublayerAblation::run_block(Environment& values, int block) {
  ++blocks_run_;
  const auto [first, last] = interpreter_.block_range(block);
  std::vector<const SubLayer*> skipped;
  for (size_t i = 0; i < sublayers_.size(); ++i)
    if (skipped_[i] && sublayers_[i].block == block) skipped.push_back(&sublayers_[i]);
  for (NodeId n = first; n < last; ++n) {
    const auto by_add = std::find_if(skipped.begin(), skipped.end(), [n](const SubLayer* s) { return s->add == n; });
    const bool inside = std::any_of(skipped.begin(), skipped.end(), [n](const SubLayer* s) { return std::count(s->nodes.begin(), s->nodes.end(), n) > 0; });
    if (by_add != skipped.end()) {
      values[graph_.nodes[static_cast<size_t>(n)].outputs[0]] = values.at((*by_add)->residual);
    } else if (!inside) {
      interpreter_.run(values, n, n + 1);
    }
  }
}

}  // namespace espalier
