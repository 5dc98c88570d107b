#include "espalier/engine/policy_measure.h"

#include <algorithm>
#include <chrono>

#include "espalier/core/assets.h"
#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/core/signals.h"
#include "espalier/engine/attention/policy.h"
#include "espalier/engine/language_eval.h"
#include "espalier/engine/open.h"
#include "espalier/engine/policy_budget.h"
#include "espalier/engine/statistics.h"
#include "espalier/engine/text_quality.h"

namespace espalier {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kSteps = 32, kRounds = 3;  // decoded tokens of a round

double ms_since(Clock::time_point start) { return std::chrono::duration<double, std::milli>(Clock::now() - start).count(); }

std::filesystem::path data_of(const PolicyCompareRequest& request) { return resolve_data(request.data.empty() ? "evaluation.txt" : request.data); }

EvalRequest eval_request(const PolicyCompareRequest& request, const EngineRequest& engine, const std::string& metric) {
  EvalRequest eval;
  eval.common = request.common, eval.model = request.model, eval.data = data_of(request).string();
  eval.metric = metric, eval.engine = engine;
  eval.needles = request.needles, eval.depths = request.depths;
  return eval;
}

// Query heads of all layers: what one token of a text attends to in each.
uint64_t query_heads(Decoder& decoder) {
  const auto sequence = decoder.start({}, 1);
  const int32_t token = 0;
  const ForwardWork work{sequence.get(), {&token, 1}, nullptr, false};
  decoder.forward({&work, 1});
  return sequence->counters().keys_attended;
}

// A prompt of the text and kSteps decoded tokens of it.
void add_costs(Json& row, Decoder& decoder, const PolicyCompareRequest& request, const EngineRequest& engine, int64_t length) {
  std::vector<int32_t> ids = tokens_of(data_of(request), decoder.model(), length);
  if (static_cast<int64_t>(ids.size()) < length) throw UserError("--data", "tokens", fmt::format("at least {}", length), fmt::format("{}", ids.size()));
  const std::span<const int32_t> prompt = std::span(ids).first(static_cast<size_t>(length - kSteps));
  std::vector<float> logits(static_cast<size_t>(decoder.vocab_size()));
  std::vector<double> prefill, decode;
  for (int64_t round = 0; round < kRounds; ++round) {
    check_interrupted();
    const auto sequence = decoder.start(attention_request(request.common, engine), length);
    auto start = Clock::now();
    const ForwardWork whole{sequence.get(), prompt, logits.data(), false};
    decoder.forward({&whole, 1});
    prefill.push_back(ms_since(start));
    const AttentionCounters before = sequence->counters();
    for (const int32_t& id : std::span(ids).last(kSteps)) {
      start = Clock::now();
      const ForwardWork step{sequence.get(), {&id, 1}, logits.data(), false};
      decoder.forward({&step, 1});
      decode.push_back(ms_since(start));
    }
    const AttentionCounters& after = sequence->counters();
    row["keys"] = static_cast<double>(after.keys_attended - before.keys_attended) / static_cast<double>(query_heads(decoder) * kSteps);
    row["fast_bytes"] = (after.fast_bytes - before.fast_bytes) / kSteps;
    row["slow_bytes"] = (after.slow_bytes - before.slow_bytes) / kSteps;
    row["cache_bytes"] = sequence->cache_bytes();
    row["resident_bytes"] = sequence->cache_bytes() + decoder.weight_bytes();
    if (const auto notes = sequence->policy().notes(); !notes.empty()) row["notes"] = notes;
  }
  row["prefill_ms"] = median(prefill);
  row["decode_ms"] = median(decode);
}

}  // namespace

int64_t policy_length(const Decoder& decoder, const PolicyCompareRequest& request) {
  const int64_t context = decoder.context_length();
  if (request.length > 0 && (request.length < 2 * kSteps || request.length > context))
    throw UserError("--length", "tokens", fmt::format("{} to the model's context {}", 2 * kSteps, context), fmt::format("{}", request.length));
  return request.length > 0 ? request.length : default_length(context);
}

Json measure_policy(Decoder& decoder, const PolicyCompareRequest& request, const EngineRequest& arm, int64_t budget) {
  const auto start = Clock::now();
  const int64_t length = policy_length(decoder, request);
  EngineRequest engine = arm;
  Json row = {{"policy", find_policy(arm.policy).id}, {"budget", budget > 0 ? Json(budget) : Json()}};
  try {
    engine.options = options_at_budget(arm.policy, arm.options, budget, length, decoder);
    row["options"] = engine.options;
    add_costs(row, decoder, request, engine, length);
    EvalRequest text = eval_request(request, engine, "ppl");
    text.length = length, text.limit = request.limit;
    text.engine.options = options_to_score(arm.policy, engine.options);
    const Json quality = evaluate_language(decoder, text);
    if (text.engine.options != engine.options) row["ppl_options"] = text.engine.options;
    row["ppl"] = quality.at("value"), row["ppl_ci95"] = quality.at("ci95");
    EvalRequest needle = eval_request(request, engine, "needle");
    needle.limit = request.texts;
    needle.length = length;
    const Json retrieval = evaluate_language(decoder, needle);
    row["needle"] = retrieval.at("value"), row["needle_ci95"] = retrieval.at("ci95"), row["token_accuracy"] = retrieval.at("token_accuracy");
    row["needle_cells"] = retrieval.at("cells");
    row["seconds"] = ms_since(start) / 1e3;
  } catch (const UserError& error) {
    row["error"] = error.what();
    warn("{}", error.what());
  }
  return row;
}

}  // namespace espalier
