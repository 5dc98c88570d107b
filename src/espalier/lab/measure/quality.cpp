#include "espalier/lab/measure/quality.h"

#include <chrono>
#include <memory>

#include "espalier/core/error.h"
#include "espalier/core/progress.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

constexpr uint64_t kHiddenBytes = 512u << 20;
constexpr int64_t kLogitPositions = 512;  // a vocabulary of 128k makes 256 MB of them

// Runs one group of windows through every block of the graph.
std::unique_ptr<BlockStream> stream_through(const Graph& graph, const TokenSequences& group, Progress& progress, const Observer* observer = nullptr) {
  auto stream = std::make_unique<BlockStream>(graph, group, 4096);
  while (!stream->done()) {
    stream->advance(observer);
    progress.advance(1);
  }
  return stream;
}

class Scorer {
 public:
  Scorer(QualitySums& sums, int64_t length, int64_t stride) : sums_(sums), length_(length), stride_(stride) {}

  // logits [n, vocab] of positions from `at` on of one window.
  void score(size_t window, const std::vector<int32_t>& ids, int64_t at, const at::Tensor& logits, const at::Tensor& dense) {
    const int64_t from = std::max(at, first_scored(window, length_, stride_) - 1);
    const int64_t to = std::min<int64_t>(at + logits.size(0), static_cast<int64_t>(ids.size()) - 1);
    if (from >= to) return;
    const at::Tensor part = logits.narrow(0, from - at, to - from);
    const std::vector<int64_t> targets(ids.begin() + from + 1, ids.begin() + to + 1);
    sums_.score(window, part, at::tensor(targets));
    if (dense.defined()) sums_.compare(part, dense.narrow(0, from - at, to - from));
  }

 private:
  QualitySums& sums_;
  int64_t length_, stride_;
};

}  // namespace

void QualitySums::score(size_t window, const at::Tensor& logits, const at::Tensor& targets) {
  const at::Tensor nats = -at::log_softmax(logits, -1).gather(-1, targets.unsqueeze(-1)).to(at::kDouble);
  nats_.add(window, nats.sum().item<double>(), nats.square().sum().item<double>(), nats.numel());
}

void QualitySums::compare(const at::Tensor& logits, const at::Tensor& dense) {
  const at::Tensor p = at::log_softmax(dense, -1), q = at::log_softmax(logits, -1);
  kl_ += (p.exp() * (p - q)).sum(-1).to(at::kDouble).sum().item<double>();
  agreeing_ += (dense.argmax(-1) == logits.argmax(-1)).sum().item<int64_t>();
  compared_ += logits.size(0);
}

Quality QualitySums::quality() const {
  Quality quality;
  quality.tokens = nats_.tokens();
  quality.nats_per_token = nats_.nats_per_token();
  quality.perplexity = nats_.perplexity();
  if (compared_ > 0) {
    quality.kl = kl_ / static_cast<double>(compared_);
    quality.agreement = static_cast<double>(agreeing_) / static_cast<double>(compared_);
  }
  return quality;
}

Quality measure_quality(const Graph& graph, const TokenSequences& windows, int64_t length, int64_t stride, const Graph* against,
                        const Observer* observer) {
  at::NoGradGuard no_gradients;
  if (windows.empty()) user_error("evaluation: the text has fewer than two tokens");
  const auto start = std::chrono::steady_clock::now();
  const auto groups = group_by_memory(graph, windows, kHiddenBytes);
  Progress progress("evaluating", static_cast<int64_t>(groups.size()) * (graph.block_count + (against ? against->block_count : 0)), "block");
  QualitySums sums;
  Scorer scorer(sums, length, stride);
  size_t window = 0;
  for (const auto& group : groups) {
    auto stream = stream_through(graph, group, progress, observer);
    auto dense = against ? stream_through(*against, group, progress) : nullptr;
    size_t row = 0;
    for (size_t batch = 0; batch < stream->batch_count(); ++batch) {
      const int64_t rows = stream->hidden()[batch].size(0), tokens = stream->hidden()[batch].size(1);
      for (int64_t at = 0; at < tokens; at += kLogitPositions) {
        const int64_t count = std::min(kLogitPositions, tokens - at);
        const at::Tensor logits = stream->logits(batch, at, count);
        const at::Tensor reference = dense ? dense->logits(batch, at, count) : at::Tensor();
        for (int64_t r = 0; r < rows; ++r)
          scorer.score(window + row + static_cast<size_t>(r), group[row + static_cast<size_t>(r)], at, logits[r],
                       dense ? reference[r] : reference);
      }
      row += static_cast<size_t>(rows);
    }
    window += group.size();
  }
  Quality quality = sums.quality();
  quality.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return quality;
}

}  // namespace espalier
