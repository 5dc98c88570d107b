#include "espalier/engine/language_bench.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "espalier/core/error.h"
#include "espalier/core/progress.h"
#include "espalier/core/resources.h"
#include "espalier/core/rng.h"
#include "espalier/core/signals.h"
#include "espalier/engine/machine_limits.h"
#include "espalier/engine/open.h"
#include "espalier/engine/simd.h"
#include "espalier/engine/statistics.h"

namespace espalier {
namespace {

using Clock = std::chrono::steady_clock;

struct Arm {
  std::string name;
  std::unique_ptr<Decoder> decoder;
  double load_seconds = 0;
  uint64_t resident_bytes = 0;
  std::vector<double> prefill, decode, step_ms;  // tokens/s of each round; ms of each decode step
  uint64_t cache_bytes = 0, attention_bytes = 0;  // of all sequences; read for one decoded token of one sequence
  AttentionCounters counters;
};

Arm open_arm(const std::string& model, const BenchRequest& request) {
  Arm arm;
  arm.name = model;
  const uint64_t before = rss_bytes();
  const auto start = Clock::now();
  arm.decoder = open_decoder(model, request.common, request.engine);
  arm.load_seconds = seconds_since(start);
  const int64_t need = request.context + request.tokens;
  if (need > arm.decoder->context_length())
    throw UserError("--context", "tokens with --tokens", fmt::format("at most the {} that {} was made for", arm.decoder->context_length(), model),
                    fmt::format("{}", need));
  arm.resident_bytes = before;  // what run_round completes
  return arm;
}

std::vector<std::vector<int32_t>> random_prompts(const BenchRequest& request, int64_t vocab) {
  Rng rng(request.common.seed, "bench/prompts");
  std::vector<std::vector<int32_t>> prompts(static_cast<size_t>(request.batch));
  for (auto& prompt : prompts)
    for (int64_t i = 0; i < request.context; ++i) prompt.push_back(static_cast<int32_t>(rng.below(static_cast<uint64_t>(vocab))));
  return prompts;
}

struct Batch {
  std::vector<std::unique_ptr<AttentionSequence>> sequences;
  std::vector<std::vector<float>> logits;
  std::vector<int32_t> next;
  std::vector<ForwardWork> work;
};

Batch start_batch(const Arm& arm, const BenchRequest& request) {
  Batch batch;
  const auto count = static_cast<size_t>(request.batch);
  for (size_t i = 0; i < count; ++i)
    batch.sequences.push_back(arm.decoder->start(attention_request(request.common, request.engine), request.context + request.tokens));
  batch.logits.assign(count, std::vector<float>(static_cast<size_t>(arm.decoder->vocab_size())));
  batch.next.resize(count);
  for (size_t i = 0; i < count; ++i) batch.work.push_back({batch.sequences[i].get(), {}, batch.logits[i].data(), false});
  return batch;
}

void take_best(Batch& batch) {
  for (size_t i = 0; i < batch.next.size(); ++i) {
    const auto& logits = batch.logits[i];
    batch.next[i] = static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
    batch.work[i].tokens = {&batch.next[i], 1};
  }
}

uint64_t attention_bytes(const Batch& batch) {
  uint64_t bytes = 0;
  for (const auto& sequence : batch.sequences) bytes += sequence->counters().fast_bytes + sequence->counters().slow_bytes;
  return bytes;
}

void run_round(Arm& arm, const BenchRequest& request, bool keep) {
  const auto prompts = random_prompts(request, arm.decoder->vocab_size());
  Batch batch = start_batch(arm, request);
  for (size_t i = 0; i < prompts.size(); ++i) batch.work[i].tokens = prompts[i];
  auto start = Clock::now();
  arm.decoder->forward(batch.work);
  const double prefill = seconds_since(start);
  const uint64_t read = attention_bytes(batch);
  std::vector<double> steps;
  for (int64_t t = 0; t < request.tokens; ++t) {
    check_interrupted();
    take_best(batch);
    start = Clock::now();
    arm.decoder->forward(batch.work);
    steps.push_back(seconds_since(start));
  }
  const uint64_t now = rss_bytes();
  if (!keep) arm.resident_bytes = now > arm.resident_bytes ? now - arm.resident_bytes : 0;
  if (!keep) return;
  arm.prefill.push_back(static_cast<double>(request.batch * request.context) / prefill);
  arm.decode.push_back(static_cast<double>(request.batch) / median(steps));
  for (double step : steps) arm.step_ms.push_back(step * 1e3);
  arm.attention_bytes = (attention_bytes(batch) - read) / static_cast<uint64_t>(request.tokens * request.batch);
  arm.cache_bytes = 0;
  for (const auto& sequence : batch.sequences) arm.cache_bytes += sequence->cache_bytes();
  arm.counters = batch.sequences[0]->counters();
}

Json forms_of(const Decoder& decoder) {
  struct Sum {
    int64_t matrices = 0;
    uint64_t bytes = 0;
    double density = 0;
  };
  std::map<std::string, Sum> sums;
  for (const auto& use : decoder.matrices()) {
    Sum& sum = sums[to_string(use.form)];
    ++sum.matrices, sum.bytes += use.bytes, sum.density += use.density;
  }
  Json forms = Json::array();
  for (const auto& [form, sum] : sums)
    forms.push_back({{"form", form}, {"matrices", sum.matrices}, {"bytes", sum.bytes}, {"density", sum.density / static_cast<double>(sum.matrices)}});
  return forms;
}

struct Limits {
  double bandwidth, flops;
};

// Of a prompt's token: two FLOPs a stored weight. Attention's are left out, as prompts are short beside the widths.
double weight_flops(const Decoder& decoder) {
  double flops = 0;
  for (const auto& use : decoder.matrices())
    if (use.every_token) flops += 2 * use.density * static_cast<double>(use.columns) * static_cast<double>(use.rows);
  return flops;
}

Json describe(const Arm& arm, const BenchRequest& request, const Limits& limits) {
  const auto batch = static_cast<uint64_t>(request.batch);
  // The weights are read once for the whole batch.
  const uint64_t per_token = arm.decoder->weight_bytes() / batch + arm.attention_bytes;
  const double decode = median(arm.decode), prefill = median(arm.prefill);
  return {{"model", arm.name},
          {"load_s", arm.load_seconds},
          {"prefill_tok_s", prefill},
          {"prefill_spread", spread(arm.prefill)},
          {"decode_tok_s", spread(arm.decode)},
          {"decode_step_ms", spread(arm.step_ms)},
          {"bytes_per_token", per_token},
          {"attention_bytes_per_token", arm.attention_bytes},
          {"weight_bytes", arm.decoder->weight_bytes()},
          {"cache_bytes", arm.cache_bytes},
          {"resident_bytes", arm.resident_bytes},
          {"forms", forms_of(*arm.decoder)},
          {"share_of_bandwidth", decode * static_cast<double>(per_token) / limits.bandwidth},
          {"share_of_peak_flops", prefill * weight_flops(*arm.decoder) / limits.flops}};
}

Json ratios(const Json& one, const Json& other) {
  const auto ratio = [](const Json& a, const Json& b) { return b.get<double>() == 0 ? 0 : a.get<double>() / b.get<double>(); };
  return {{"prefill_tok_s", ratio(one["prefill_tok_s"], other["prefill_tok_s"])},
          {"decode_tok_s", ratio(one["decode_tok_s"]["median"], other["decode_tok_s"]["median"])},
          {"bytes_per_token", ratio(one["bytes_per_token"], other["bytes_per_token"])},
          {"resident_bytes", ratio(one["resident_bytes"], other["resident_bytes"])}};
}

}  // namespace

Json bench_language(const BenchRequest& request) {
  std::vector<Arm> arms;
  const std::vector<std::string> models = request.against.empty() ? std::vector{request.model} : std::vector{request.model, request.against};
  for (const std::string& model : models) {
    arms.push_back(open_arm(model, request));
    run_round(arms.back(), request, false);  // pages the weights in
  }
  const uint64_t peak_rss = peak_rss_bytes();  // before the yardsticks take memory of their own
  Team team(std::max(1, request.common.threads));
  MemoryStream stream;
  std::vector<double> bandwidths, flops;
  Progress progress("bench", request.rounds, "rounds");
  for (int64_t round = 0; round < request.rounds; ++round) {
    for (Arm& arm : arms) run_round(arm, request, true);
    // In every round: what the machine can do changes with what its neighbours do.
    bandwidths.push_back(stream.bandwidth(team));
    flops.push_back(peak_flops(team));
    progress.advance(1);
  }
  const Limits limits{median(bandwidths), median(flops)};
  Json result = describe(arms[0], request, limits);
  result["kind"] = "text";
  result["policy"] = request.engine.policy.empty() ? "dense" : request.engine.policy;
  result["context"] = request.context;
  result["tokens"] = request.tokens;
  result["batch"] = request.batch;
  result["rounds"] = request.rounds;
  result["simd"] = name_of(simd_level());
  result["limits"] = {{"bandwidth_bytes_s", limits.bandwidth}, {"peak_flops_fp32", limits.flops}};
  result["peak_rss_bytes"] = peak_rss;
  if (arms.size() > 1) {
    result["against"] = describe(arms[1], request, limits);
    result["ratio"] = ratios(result, result["against"]);
  }
  return result;
}

}  // namespace espalier
