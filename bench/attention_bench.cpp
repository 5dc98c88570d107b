// Decoding with a long cache: what attention reads beside what memory gives. Two layers of 32 query heads over 8 KV heads
// of 64, random keys and values; every figure in turns with a pass over memory, medians compared.
//   attention_bench --benchmark_filter='bf16/tokens:32768'
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "espalier/core/rng.h"
#include "espalier/engine/attention/policy.h"
#include "espalier/engine/machine_limits.h"
#include "espalier/engine/statistics.h"

namespace {

using namespace espalier;

constexpr int kLayers = 2, kSteps = 41;
constexpr int64_t kHeads = 32, kKvHeads = 8, kHeadSize = 64, kPiece = 256;

// Dense for single tokens; prompts see themselves alone, so that a cache is filled in no time.
class FilledCache : public AttentionPolicy {
 public:
  FilledCache() { needs_.select = true; }
  const PolicyNeeds& needs() const override { return needs_; }
  uint64_t select(const SelectQuery& query, Selection& selection) const override {
    selection.kind = query.rows == 1 ? Selection::Kind::kAll : Selection::Kind::kTokens;
    selection.window = 1;
    return 0;
  }

 private:
  PolicyNeeds needs_;
};
const RegisterPolicy registered({"filled-cache", "a filled cache", 2026, "dense decoding behind a prompt that costs nothing", {},
                                 [](const PolicyContext&) -> std::unique_ptr<AttentionPolicy> { return std::make_unique<FilledCache>(); }});

class Decoding {
 public:
  Decoding(KvCodec codec, int64_t tokens, int threads) : team_(threads) {
    AttentionLayer layer;
    layer.heads = kHeads, layer.kv_heads = kKvHeads, layer.head_size = kHeadSize, layer.scale = 0.125;
    AttentionRequest request;
    request.policy = "filled-cache", request.codec = codec;
    sequence_ = std::make_unique<AttentionSequence>(std::make_shared<const std::vector<AttentionLayer>>(kLayers, layer), request, tokens + kSteps);
    Rng rng(1, "bench");
    q_.resize(kPiece * kHeads * kHeadSize), out_.resize(q_.size()), kv_.resize(kPiece * kKvHeads * kHeadSize);
    for (auto* list : {&q_, &kv_})
      for (float& x : *list) x = static_cast<float>(rng.normal());
    for (int64_t done = 0; done < tokens; done += kPiece) forward(std::min(kPiece, tokens - done));
  }

  double step() {
    const auto start = std::chrono::steady_clock::now();
    forward(1);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  double bytes() const { return static_cast<double>(sequence_->counters().fast_bytes); }
  Team& team() { return team_; }

 private:
  void forward(int64_t tokens) {
    AttentionInput in;
    in.q = q_.data(), in.k = in.v = kv_.data(), in.out = out_.data(), in.tokens = tokens;
    in.q_stride = in.out_stride = kHeads * kHeadSize, in.k_stride = in.v_stride = kKvHeads * kHeadSize;
    sequence_->begin_forward(tokens, team_.size());
    team_.run([&](int rank) {
      for (int layer = 0; layer < kLayers; ++layer) {
        sequence_->attend(layer, in, {&team_, rank});
        team_.barrier();
      }
    });
    sequence_->end_forward();
  }

  Team team_;
  std::unique_ptr<AttentionSequence> sequence_;
  std::vector<float> q_, kv_, out_;
};

void decode(benchmark::State& state, KvCodec codec, int64_t tokens, int threads) {
  static MemoryStream stream;
  Decoding decoding(codec, tokens, threads);
  const double before = decoding.bytes();
  std::vector<double> steps, passes;
  for ([[maybe_unused]] auto unused : state) {
    steps.push_back(decoding.step());
    passes.push_back(stream.pass(decoding.team()));
    state.SetIterationTime(steps.back());
  }
  const double read = (decoding.bytes() - before) / static_cast<double>(steps.size()), bandwidth = stream.bytes() / median(passes);
  state.counters["MB"] = read / 1e6;
  state.counters["GB/s"] = read / median(steps) / 1e9;
  state.counters["stream_GB/s"] = bandwidth / 1e9;
  state.counters["times_limit"] = median(steps) / (read / bandwidth);
}

}  // namespace

int main(int argc, char** argv) {
  for (const auto& [name, codec] : std::vector<std::pair<std::string, KvCodec>>{{"fp32", KvCodec::kF32}, {"bf16", KvCodec::kBF16}, {"int8", KvCodec::kI8}})
    for (const int64_t tokens : {4096, 32768})
      for (const int threads : {1, 2}) {
        const std::string full = name + "/tokens:" + std::to_string(tokens) + "/threads:" + std::to_string(threads);
        benchmark::RegisterBenchmark(full.c_str(), [=](benchmark::State& state) { decode(state, codec, tokens, threads); })
            ->UseManualTime()->Iterations(kSteps)->Unit(benchmark::kMillisecond);
      }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
