#include "espalier/engine/language_eval.h"

#include <chrono>
#include <cmath>

#include "espalier/core/assets.h"
#include "espalier/core/error.h"
#include "espalier/core/progress.h"
#include "espalier/core/signals.h"
#include "espalier/engine/attention/policy.h"
#include "espalier/engine/needle.h"
#include "espalier/engine/open.h"
#include "espalier/engine/text_quality.h"
#include "espalier/io/text_dataset.h"

namespace espalier {
namespace {

constexpr int64_t kLogitTokens = 64;  // whose logits are kept at a time

double nats_of(std::span<const float> logits, int32_t target) {
  float top = logits[0];
  for (float logit : logits) top = std::max(top, logit);
  double sum = 0;
  for (float logit : logits) sum += std::exp(static_cast<double>(logit) - top);
  return std::log(sum) - (static_cast<double>(logits[static_cast<size_t>(target)]) - top);
}

struct TextRun {
  NatsSums sums;
  std::vector<std::string> notes;  // of the policy
  Json report;                     // likewise, at the end of the first window
  AttentionCounters counters;
  uint64_t cache_bytes = 0;  // the most at the end of a window
};

void add_counters(AttentionCounters& sum, const AttentionCounters& one) {
  sum.keys_scored += one.keys_scored, sum.keys_attended += one.keys_attended, sum.values_read += one.values_read;
  sum.key_multiplies += one.key_multiplies, sum.multiply_adds += one.multiply_adds, sum.fast_bytes += one.fast_bytes, sum.slow_bytes += one.slow_bytes;
}

// The window goes through in pieces of kLogitTokens, which is also how often a policy may free what it drops.
void score_window(Decoder& decoder, const EvalRequest& request, const std::vector<int32_t>& ids, size_t window, int64_t length, int64_t first,
                  TextRun& run, std::vector<float>& logits) {
  // The last window may be shorter; the policy's options fit all of them or none.
  const auto sequence = decoder.start(attention_request(request.common, request.engine), length);
  const auto count = static_cast<int64_t>(ids.size()), vocab = decoder.vocab_size();
  double nats = 0, squares = 0;
  for (int64_t at = 0; at < count; at += kLogitTokens) {
    check_interrupted();
    const int64_t n = std::min(kLogitTokens, count - at);
    const ForwardWork work{sequence.get(), std::span(ids).subspan(static_cast<size_t>(at), static_cast<size_t>(n)), logits.data(), true};
    decoder.forward({&work, 1});
    for (int64_t i = std::max<int64_t>(0, first - 1 - at); i < n && at + i + 1 < count; ++i) {
      const double value = nats_of({logits.data() + i * vocab, static_cast<size_t>(vocab)}, ids[static_cast<size_t>(at + i + 1)]);
      nats += value, squares += value * value;
    }
  }
  run.sums.add(window, nats, squares, count - first);
  add_counters(run.counters, sequence->counters());
  if (window == 0) run.notes = sequence->policy().notes(), run.report = sequence->policy().report();
  run.cache_bytes = std::max(run.cache_bytes, sequence->cache_bytes());
}

Json perplexity(Decoder& decoder, const EvalRequest& request) {
  const auto data = resolve_data(request.data.empty() ? "evaluation.txt" : request.data);
  const int64_t length = request.length ? request.length : default_length(decoder.context_length());
  const auto beyond = [&] { return decoder.start(attention_request(request.common, request.engine), length)->policy().needs().any_length; };
  if (length < 2 || (length > decoder.context_length() && !beyond()))
    throw UserError("--length", "tokens a window", fmt::format("2 to the model's context {}", decoder.context_length()), fmt::format("{}", length));
  const int64_t stride = request.stride ? request.stride : length;
  const auto windows = windows_of(tokens_of(data, decoder.model(), request.limit), length, stride);
  if (windows.empty()) user_error("evaluation: the text has fewer than two tokens");
  Progress progress("evaluating", static_cast<int64_t>(windows.size()), "window");
  std::vector<float> logits(static_cast<size_t>(kLogitTokens * decoder.vocab_size()));
  TextRun run;
  for (size_t i = 0; i < windows.size(); ++i) {
    score_window(decoder, request, windows[i], i, length, first_scored(i, length, stride), run, logits);
    progress.advance(1);
  }
  const Estimate estimate = run.sums.perplexity();
  Json result = {{"metric", "ppl"},
          {"value", estimate.value},
          {"ci95", {estimate.low, estimate.high}},
          {"tokens", run.sums.tokens()},
          {"nats_per_token", run.sums.nats_per_token()},
          {"length", length},
          {"stride", stride},
          {"data", {{"path", data.string()}, {"sha256", text_sha256(data)}}},
          {"cache_bytes", run.cache_bytes},
          {"counters", {{"keys_scored", run.counters.keys_scored},
                        {"keys_attended", run.counters.keys_attended},
                        {"values_read", run.counters.values_read},
                        {"key_multiplies", run.counters.key_multiplies},
                        {"multiply_adds", run.counters.multiply_adds},
                        {"fast_bytes", run.counters.fast_bytes},
                        {"slow_bytes", run.counters.slow_bytes}}}};
  if (!run.notes.empty()) result["notes"] = run.notes;
  if (!run.report.is_null()) result["report"] = run.report;
  return result;
}

}  // namespace

Json evaluate_language(Decoder& decoder, const EvalRequest& request) {
  const auto start = std::chrono::steady_clock::now();
  Json result;
  if (request.metric == "needle") {
    result = needle_retrieval(decoder, request);
  } else if (request.metric.empty() || request.metric == "ppl") {
    result = perplexity(decoder, request);
  } else {
    throw UserError("--metric", "metric through the engine", "ppl or needle", request.metric);
  }
  result["policy"] = request.engine.policy.empty() ? "dense" : request.engine.policy;
  result["seconds"] = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

Json evaluate_language(const EvalRequest& request) {
  if (!request.against.empty()) user_error("--against: distances are measured in the laboratory, under dense attention; leave out --policy");
  const auto decoder = open_decoder(request.model, request.common, request.engine);
  return evaluate_language(*decoder, request);
}

}  // namespace espalier
