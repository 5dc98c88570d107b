// A step of decoding allocates nothing but, now and then, room for the tokens to come: pages, and lists that grow.
#include <gtest/gtest.h>

#include <cstdlib>
#include <new>

#include "fixed_retrieval.h"
#include "recorder.h"

namespace {
thread_local int64_t allocations = 0;
}

// Of the whole test program. Not inlined: the compiler would see malloc's memory freed by another's delete.
[[gnu::noinline]] void* operator new(size_t bytes) {
  ++allocations;
  if (void* memory = std::malloc(bytes > 0 ? bytes : 1)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace espalier {
namespace {

struct Steps {
  int64_t all = 0, allocating = 0, most = 0;
};

// After a prompt of 200 tokens and 100 steps.
Steps decode_steps(const AttentionRequest& request) {
  constexpr int64_t kPrompt = 200, kSettled = 300, kLayers = 3;
  const Oracle oracle(8, 4, 16, 620);
  fixed_specontext.text = {oracle.q, oracle.k};
  const AttentionLayer& layer = oracle.layer;
  AttentionSequence sequence(std::make_shared<const std::vector<AttentionLayer>>(std::vector<AttentionLayer>(kLayers, layer)), request, oracle.tokens);
  Team team(1);
  std::vector<float> out(oracle.q.size());
  const std::vector<int32_t> ids(kPrompt);
  Steps steps;
  for (int64_t done = 0; done < oracle.tokens;) {
    const int64_t n = done == 0 ? kPrompt : 1;
    AttentionInput in;
    in.q_stride = in.out_stride = layer.heads * layer.head_size, in.k_stride = in.v_stride = layer.kv_heads * layer.head_size;
    in.q = oracle.q.data() + done * in.q_stride, in.k = oracle.k.data() + done * in.k_stride, in.v = oracle.v.data() + done * in.v_stride;
    in.out = out.data() + done * in.out_stride, in.tokens = n;
    const int64_t before = allocations;
    sequence.begin_forward(n, 1, std::span(ids).first(static_cast<size_t>(n)));
    for (int l = 0; l < kLayers; ++l) sequence.attend(l, in, {&team, 0});
    sequence.end_forward();
    done += n;
    if (done <= kSettled) continue;
    ++steps.all, steps.allocating += allocations > before, steps.most = std::max(steps.most, allocations - before);
  }
  return steps;
}

TEST(Allocations, HardlyAStepOfDecodingHasAny) {
  fixed_specontext.options = {};
  fixed_specontext.options.budget = 40;
  const std::vector<AttentionRequest> requests = {
      ask("dense"), ask("streaming", {{"budget", "100"}}), ask("h2o", {{"budget", "100"}}), ask("random-tokens", {{"budget", "100"}}),
      ask("02-spatten", {{"tokens", "1,0.5,0.3"}, {"key_bits", "8+4"}}), ask("02-spatten", {{"tokens", "1,0.9,0.8"}, {"heads", "1,0.9,0.5"}, {"rows", "attended"}}),
      ask("test-specontext"), ask("19-duoattention", {{"sparsity", "1"}, {"recent", "50"}, {"sink", "4"}}),
      ask("22-deltallm", {{"block", "16"}}), ask("22-deltallm", {{"block", "16"}, {"storage", "b"}, {"threshold", "1.5"}}),
      ask("28-longheads", {{"attention", "128"}, {"chunk", "16"}}), ask("29-hip", {{"budget", "32"}, {"window", "32"}, {"dense_layers", "0"}}),
      ask("36-s2-attention", {{"block", "16"}, {"local_blocks", "2"}, {"vert_stride", "4"}, {"dense_period", "0"}})};
  for (const AttentionRequest& request : requests) {
    const Steps steps = decode_steps(request);
    EXPECT_EQ(steps.all, 320);
    // A page is 16 to 64 tokens.
    EXPECT_LE(steps.allocating, steps.all / 8) << request.policy << ": up to " << steps.most;
    RecordProperty(request.policy, static_cast<int>(steps.allocating));
  }
}

}  // namespace
}  // namespace espalier
