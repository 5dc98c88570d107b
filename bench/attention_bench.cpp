// Decoding with a long cache: what attention reads beside what memory gives, and attention policies beside dense attention.
// Two layers of 32 query heads over 8 KV heads of 64, random keys and values; figures are taken in turns, medians compared.
//   attention_bench --benchmark_filter='bf16/tokens:32768'
//   attention_bench --benchmark_filter='prefill/29-hip'
//   attention_bench --benchmark_filter='policy/fp32'
#include <benchmark/benchmark.h>

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "espalier/core/rng.h"
#include "espalier/engine/attention/policies/specontext.h"
#include "espalier/engine/attention/policy.h"
#include "espalier/engine/machine_limits.h"
#include "espalier/engine/statistics.h"

namespace {

using namespace espalier;

constexpr int kLayers = 2, kSteps = 41;
constexpr int64_t kHeads = 32, kKvHeads = 8, kHeadSize = 64, kPiece = 256;

// A policy for single tokens; prompts see next to nothing, so that a cache is filled in no time. Times what selects.
class FilledCache : public AttentionPolicy {
 public:
  explicit FilledCache(const PolicyContext& c) : inner_(make_policy(asked, c.layers, c.capacity)), needs_(inner_->needs()) {
    selects_ = needs_.select;
    needs_.select = true, needs_.steps_alone = false;
  }
  const PolicyNeeds& needs() const override { return needs_; }
  void begin_sequence(PagedKvCache& cache) override { inner_->begin_sequence(cache); }
  void read_tokens(std::span<const int32_t> ids) override { inner_->read_tokens(ids); }
  void before_forward(PagedKvCache& cache, int64_t position, int64_t tokens) override {
    step_ = tokens == 1;
    inner_->before_forward(cache, position, tokens);
  }
  void before_layers(const TeamRank& team) override {
    const Clock clock{nanoseconds_};
    inner_->before_layers(team);
  }
  void before_layer(PagedKvCache& cache, int layer) override { inner_->before_layer(cache, layer); }
  void on_append(PagedKvCache& cache, const AppendedTokens& tokens) override { inner_->on_append(cache, tokens); }
  uint64_t select(const SelectQuery& query, Selection& selection) const override {
    if (step_ && !selects_) return 0;  // everything that is kept
    if (step_) {
      const Clock clock{nanoseconds_};
      return inner_->select(query, selection);
    }
    selection.kind = Selection::Kind::kTokens;
    selection.window = needs_.selection.positions == Selection::Positions::kPacked ? 0 : 1;
    return 0;
  }
  RowCopies row_copies(int layer, int64_t kv_head) const override { return inner_->row_copies(layer, kv_head); }
  void after_attention(PagedKvCache& cache, const AttentionStatistics& s) override { inner_->after_attention(cache, s); }
  void end_chunk(PagedKvCache& cache, int layer, int64_t length) override { inner_->end_chunk(cache, layer, length); }

  Json report() const override { return inner_->report(); }

  double selecting() const { return static_cast<double>(nanoseconds_.load()) * 1e-9; }  // of all threads together
  static AttentionRequest asked;

 private:
  // Adds the time of its life.
  struct Clock {
    std::atomic<int64_t>& sum;
    std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
    ~Clock() { sum += (std::chrono::steady_clock::now() - start).count(); }
  };

  std::unique_ptr<AttentionPolicy> inner_;
  PolicyNeeds needs_;
  bool selects_ = false, step_ = false;
  mutable std::atomic<int64_t> nanoseconds_{0};
};
AttentionRequest FilledCache::asked;
const RegisterPolicy registered({"filled-cache", "a filled cache", 2026, "decoding behind a prompt that costs nothing", {},
                                 [](const PolicyContext& c) -> std::unique_ptr<AttentionPolicy> { return std::make_unique<FilledCache>(c); }});

// A retrieval head for SpeContext, whose queries turn so slowly that four fifths of a step's tokens are those of the step
// before, as published. Selecting costs what it always does but for the projections.
class SlowQueries : public RetrievalRows {
 public:
  SlowQueries() : rng_(2, "retrieval"), q_(kHeads * kHeadSize), keys_(kPiece * kKvHeads * kHeadSize) {
    for (float& x : q_) x = static_cast<float>(rng_.normal());
  }
  uint64_t bytes() const override { return 0; }
  void begin(std::span<const int32_t> ids, int64_t) override { tokens_ = ids.size(); }
  void project(const TeamRank& team, int64_t) override {
    if (team.rank != 0) return;
    const double turn = 0.16;
    for (float& x : q_) x = static_cast<float>(std::sqrt(1 - turn * turn) * static_cast<double>(x) + turn * rng_.normal());
    for (size_t i = 0; i < tokens_ * kKvHeads * kHeadSize; ++i) keys_[i] = static_cast<float>(rng_.normal());
  }
  const float* queries(int64_t) const override { return q_.data(); }
  const float* keys(int64_t t) const override { return keys_.data() + t * kKvHeads * kHeadSize; }

 private:
  Rng rng_;
  size_t tokens_ = 0;
  std::vector<float> q_, keys_;
};
const RegisterPolicy specontext({"05-specontext-slow-queries", "SpeContext", 2025, "with a retrieval head of the benchmark's", {},
                                 [](const PolicyContext& c) -> std::unique_ptr<AttentionPolicy> {
                                   SpeContextOptions options;
                                   options.budget = 2048;
                                   return std::make_unique<SpeContext>(c.layers, c.codec, c.capacity, std::make_unique<SlowQueries>(), options);
                                 }});

class Decoding {
 public:
  Decoding(const AttentionRequest& asked, int64_t tokens, Team& team) : team_(team), ids_(kPiece, 1) {
    AttentionLayer layer;
    layer.heads = kHeads, layer.kv_heads = kKvHeads, layer.head_size = kHeadSize, layer.scale = 0.125;
    for (int64_t i = 0; i < kHeadSize / 2; ++i)
      layer.inverse_frequency.push_back(std::pow(500000.0, -2.0 * static_cast<double>(i) / static_cast<double>(kHeadSize)));
    AttentionRequest request;
    request.policy = "filled-cache", request.codec = asked.codec;
    FilledCache::asked = asked;
    sequence_ = std::make_unique<AttentionSequence>(std::make_shared<const std::vector<AttentionLayer>>(kLayers, layer), request, tokens + kSteps);
    Rng rng(1, "bench");
    q_.resize(kPiece * kHeads * kHeadSize), out_.resize(q_.size()), kv_.resize(kPiece * kKvHeads * kHeadSize);
    for (auto* list : {&q_, &kv_})
      for (float& x : *list) x = static_cast<float>(rng.normal());
    for (int64_t done = 0; done < tokens; done += kPiece) {
      for (int32_t& id : ids_) id = static_cast<int32_t>(rng.below(1000));
      forward(std::min(kPiece, tokens - done));
    }
  }

  struct Step {
    double seconds, selecting;
  };
  Step step() {
    const double before = policy().selecting();
    const auto start = std::chrono::steady_clock::now();
    forward(1);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return {seconds, (policy().selecting() - before) / team_.size()};
  }
  Json report() const { return policy().report(); }
  double bytes() const { return static_cast<double>(sequence_->counters().fast_bytes + sequence_->counters().slow_bytes); }

 private:
  const FilledCache& policy() const { return dynamic_cast<const FilledCache&>(sequence_->policy()); }
  void forward(int64_t tokens) {
    AttentionInput in;
    in.q = q_.data(), in.k = in.v = kv_.data(), in.out = out_.data(), in.tokens = tokens;
    in.q_stride = in.out_stride = kHeads * kHeadSize, in.k_stride = in.v_stride = kKvHeads * kHeadSize;
    sequence_->begin_forward(tokens, team_.size(), std::span(ids_).first(static_cast<size_t>(tokens)));
    team_.run([&](int rank) {
      for (int layer = 0; layer < kLayers; ++layer) {
        sequence_->attend(layer, in, {&team_, rank});
        team_.barrier();
      }
    });
    sequence_->end_forward();
  }

  Team& team_;
  std::vector<int32_t> ids_;
  std::unique_ptr<AttentionSequence> sequence_;
  std::vector<float> q_, kv_, out_;
};

AttentionRequest dense_request(KvCodec codec) {
  AttentionRequest request;
  request.codec = codec;
  return request;
}

void decode(benchmark::State& state, KvCodec codec, int64_t tokens, int threads) {
  static MemoryStream stream;
  Team team(threads);
  Decoding decoding(dense_request(codec), tokens, team);
  const double before = decoding.bytes();
  std::vector<double> steps, passes;
  for ([[maybe_unused]] auto unused : state) {
    steps.push_back(decoding.step().seconds);
    passes.push_back(stream.pass(team));
    state.SetIterationTime(steps.back());
  }
  const double read = (decoding.bytes() - before) / static_cast<double>(steps.size()), bandwidth = stream.bytes() / median(passes);
  state.counters["MB"] = read / 1e6;
  state.counters["GB/s"] = read / median(steps) / 1e9;
  state.counters["stream_GB/s"] = bandwidth / 1e9;
  state.counters["times_limit"] = median(steps) / (read / bandwidth);
}

// A policy and dense attention step by step in turns. bytes: counted, dense / policy; time: likewise, without selecting;
// follows: time / bytes.
void compare(benchmark::State& state, const AttentionRequest& request, int64_t tokens, int threads) {
  Team team(threads);  // one for both: two would spin beside one another
  Decoding dense(dense_request(request.codec), tokens, team), policy(request, tokens, team);
  const double dense_before = dense.bytes(), before = policy.bytes();
  std::vector<double> dense_steps, attending, selecting;
  for ([[maybe_unused]] auto unused : state) {
    dense_steps.push_back(dense.step().seconds);
    const Decoding::Step step = policy.step();
    attending.push_back(step.seconds - step.selecting), selecting.push_back(step.selecting);
    state.SetIterationTime(step.seconds);
  }
  const double bytes = (dense.bytes() - dense_before) / (policy.bytes() - before), time = median(dense_steps) / median(attending);
  state.counters["dense_ms"] = median(dense_steps) * 1e3;
  state.counters["attention_ms"] = median(attending) * 1e3;
  state.counters["selection_ms"] = median(selecting) * 1e3;
  if (const Json report = policy.report(); report.contains("overlap")) state.counters["overlap"] = report.at("overlap").get<double>();
  state.counters["bytes"] = bytes;
  state.counters["time"] = time;
  state.counters["follows"] = time / bytes;
}

// A prompt in pieces through one layer of 8 query heads over 2 KV heads, on one thread.
void prefill(benchmark::State& state, const AttentionRequest& request, int64_t tokens) {
  constexpr int64_t kQuery = 8 * kHeadSize, kKey = 2 * kHeadSize;
  AttentionLayer layer;
  layer.heads = 8, layer.kv_heads = 2, layer.head_size = kHeadSize, layer.scale = 0.125;
  Rng rng(1, "prompt");
  std::vector<float> q(static_cast<size_t>(tokens * kQuery)), kv(static_cast<size_t>(tokens * kKey)), out(q.size());
  for (auto* list : {&q, &kv})
    for (float& x : *list) x = static_cast<float>(rng.normal());
  Team team(1);
  std::vector<double> seconds;
  for ([[maybe_unused]] auto unused : state) {
    AttentionSequence sequence(std::make_shared<const std::vector<AttentionLayer>>(1, layer), request, tokens);
    const auto start = std::chrono::steady_clock::now();
    for (int64_t done = 0; done < tokens; done += kPiece) {
      AttentionInput in;
      in.q = q.data() + done * kQuery, in.k = in.v = kv.data() + done * kKey, in.out = out.data() + done * kQuery, in.tokens = kPiece;
      in.q_stride = in.out_stride = kQuery, in.k_stride = in.v_stride = kKey;
      sequence.begin_forward(kPiece, 1);
      team.run([&](int rank) { sequence.attend(0, in, {&team, rank}); });
      sequence.end_forward();
    }
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    state.SetIterationTime(seconds.back());
  }
  state.counters["median_ms"] = median(seconds) * 1e3;
}

// 2,048 of 32,768 tokens each.
std::vector<AttentionRequest> policies() {
  std::vector<AttentionRequest> list;
  const auto add = [&](const std::string& id, std::map<std::string, std::string> options) {
    AttentionRequest request;
    request.policy = id, request.options = std::move(options), request.trained = 131072;
    list.push_back(request);
  };
  add("05-specontext-slow-queries", {});
  add("19-duoattention", {{"sparsity", "1"}, {"sink", "64"}, {"recent", "1984"}});
  add("28-longheads", {{"attention", "2048"}, {"chunk", "256"}, {"per", "group"}});
  for (const char* per : {"group", "head"})
    for (const char* block : {"2", "8", "32"})
      add("29-hip", {{"budget", "1776"}, {"window", "256"}, {"sink", "16"}, {"dense_layers", "0"}, {"per", per}, {"block_k", block}});
  add("36-s2-attention", {{"local_blocks", "16"}, {"vert_stride", "32"}, {"dense_period", "0"}});
  return list;
}

constexpr std::pair<const char*, KvCodec> kCodecs[] = {{"fp32", KvCodec::kF32}, {"bf16", KvCodec::kBF16}, {"int8", KvCodec::kI8}};

void add_benchmark(const std::string& name, const std::function<void(benchmark::State&)>& run) {
  benchmark::RegisterBenchmark(name.c_str(), run)->UseManualTime()->Iterations(kSteps)->Unit(benchmark::kMillisecond);
}

}  // namespace

int main(int argc, char** argv) {
  for (const auto& [name, codec] : kCodecs)
    for (const int threads : {1, 2}) {
      for (const int64_t tokens : {4096, 32768})
        add_benchmark(fmt::format("{}/tokens:{}/threads:{}", name, tokens, threads),
                      [codec = codec, tokens, threads](benchmark::State& state) { decode(state, codec, tokens, threads); });
      for (AttentionRequest request : policies()) {
        request.codec = codec;
        std::string variant;
        for (const char* option : {"per", "block_k"})
          if (request.options.contains(option)) variant += "-" + request.options.at(option);
        add_benchmark(fmt::format("policy/{}/{}{}/threads:{}", name, request.policy, variant, threads),
                      [=](benchmark::State& state) { compare(state, request, 32768, threads); });
      }
    }
  // HiP with its 512 keys and with 128.
  for (const char* budget : {"", "512", "128"})
    for (int64_t tokens = 1024; tokens <= 32768; tokens *= 2) {
      AttentionRequest request;
      std::string name = "dense";
      if (*budget != 0) {
        name = fmt::format("29-hip-{}", budget), request.policy = "29-hip";
        request.options = {{"dense_layers", "0"}, {"budget", budget}, {"window", std::string(budget) == "512" ? "256" : "64"}};
      }
      benchmark::RegisterBenchmark(fmt::format("prefill/{}/tokens:{}", name, tokens).c_str(),
                                   [=](benchmark::State& state) { prefill(state, request, tokens); })
          ->UseManualTime()->Iterations(tokens > 8192 ? 1 : 3)->Unit(benchmark::kMillisecond);
    }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
