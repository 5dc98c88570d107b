#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "espalier/core/error.h"
#include "espalier/core/ranking.h"
#include "tests/engine/attention/oracle.h"

namespace espalier {
namespace {

struct Heads {
  int64_t heads, kv_heads, size;
};
// MHA, GQA, MQA, more heads than one kernel call takes, sizes that are no multiple of a vector.
const std::vector<Heads> kShapes = {{3, 3, 16}, {8, 2, 20}, {6, 1, 64}, {40, 1, 8}};

AttentionRequest request(const std::string& policy, std::map<std::string, std::string> options = {}, KvCodec codec = KvCodec::kF32) {
  AttentionRequest r;
  r.policy = policy, r.options = std::move(options), r.codec = codec;
  return r;
}

bool all(int64_t, int64_t, int64_t) { return true; }

TEST(AttentionSequence, DenseIsTheDefinitionHoweverTheTextIsCut) {
  for (const Heads& s : kShapes) {
    const Oracle oracle(s.heads, s.kv_heads, s.size, 101);
    const auto expected = oracle.attend(all);
    const auto whole = run_sequence(oracle, request("dense"), {101});
    EXPECT_LT(worst(whole.out, expected), 1e-5);
    for (const auto& sizes : std::vector<std::vector<int64_t>>{{33}, {90, 1}, {1}})
      EXPECT_EQ(run_sequence(oracle, request("dense"), sizes).out, whole.out) << "a row's sum has one order";
  }
}

TEST(AttentionSequence, ThreadsAgreeBitForBit) {
  const Oracle oracle(4, 2, 16, 1100);  // long enough for decode to be split into ranges of keys
  for (const char* policy : {"dense", "streaming"}) {
    const auto one = run_sequence(oracle, request(policy), {1000, 50, 1}, 1).out;
    EXPECT_EQ(run_sequence(oracle, request(policy), {1000, 50, 1}, 2).out, one);
    EXPECT_EQ(run_sequence(oracle, request(policy), {1000, 50, 1}, 3).out, one);
  }
  const auto h2o = request("h2o", {{"budget", "64"}});
  EXPECT_EQ(run_sequence(oracle, h2o, {1000, 50, 1}, 2).out, run_sequence(oracle, h2o, {1000, 50, 1}, 1).out);
}

TEST(AttentionSequence, SplitDecodeIsDense) {
  const Oracle oracle(2, 1, 16, 1100);
  EXPECT_LT(worst(run_sequence(oracle, request("dense"), {1000, 1}).out, run_sequence(oracle, request("dense"), {1100}).out), 1e-5);
}

// The last token of a long prompt is a chunk of its own, whose keys are cut into ranges although the prompt's are not.
TEST(AttentionSequence, AShortLastChunkIsSplit) {
  const Oracle oracle(2, 1, 16, 1025);
  const auto run = run_sequence(oracle, request("random-tokens", {{"budget", "1025"}, {"chunk", "32"}}), {1025}, 2);
  EXPECT_LT(worst(run.out, run_sequence(oracle, request("dense"), {1025}).out), 1e-5);
}

TEST(AttentionSequence, NoRotationAndTheModelsOwnWindow) {
  Oracle oracle(4, 2, 16, 90, 3, false);
  oracle.layer.window = 20;
  const auto expected = oracle.attend([](int64_t, int64_t i, int64_t j) { return i - j < 20; });
  for (const auto& sizes : std::vector<std::vector<int64_t>>{{90}, {7}, {1}}) {
    const auto run = run_sequence(oracle, request("dense"), sizes);
    EXPECT_LT(worst(run.out, expected), 1e-5);
    EXPECT_EQ(run.sequence->cache().token_positions(0, 0).front(), 90 - 19) << "what the window left is freed";
  }
}

TEST(AttentionSequence, CodecsStayWithinTheirBounds) {
  for (const Heads& s : kShapes) {
    const Oracle oracle(s.heads, s.kv_heads, s.size, 70);
    const auto expected = oracle.attend(all);
    const auto bf16 = run_sequence(oracle, request("dense", {}, KvCodec::kBF16), {70}).out;
    const auto int8 = run_sequence(oracle, request("dense", {}, KvCodec::kI8), {70}).out;
    EXPECT_LT(worst(bf16, expected), 0.08);
    EXPECT_LT(worst(int8, expected), 0.15);
    EXPECT_GT(worst(bf16, expected), 1e-5) << "it is stored in 16 bits";
    EXPECT_EQ(run_sequence(oracle, request("dense", {}, KvCodec::kI8), {40, 1}).out, int8);
  }
}

TEST(AttentionSequence, StreamingWithTruePositionsIsMaskedAttention) {
  for (const Heads& s : kShapes) {
    const Oracle oracle(s.heads, s.kv_heads, s.size, 101);
    const auto expected = oracle.attend([](int64_t, int64_t i, int64_t j) { return j < 3 || i - j < 10; });
    for (const auto& sizes : std::vector<std::vector<int64_t>>{{101}, {33}, {64, 1}, {1}}) {
      const auto run = run_sequence(oracle, request("streaming", {{"sink", "3"}, {"window", "10"}, {"positions", "true"}}), sizes, 2);
      EXPECT_LT(worst(run.out, expected), 1e-5);
    }
  }
}

TEST(AttentionSequence, StreamingPositionsCountInsideTheCache) {
  const Oracle oracle(8, 2, 20, 101);
  // The cache holds 3 sinks and 10 others; the query is its last token, so it stands at most at 12.
  const auto expected = oracle.attend([](int64_t, int64_t i, int64_t j) { return j < 3 || i - j < 10; },
                                      [](int64_t i, int64_t j) { return j < 3 && i - j >= 10 ? std::min<int64_t>(i, 12) : i; });
  for (const auto& sizes : std::vector<std::vector<int64_t>>{{101}, {33}, {64, 1}, {1}})
    EXPECT_LT(worst(run_sequence(oracle, request("streaming", {{"sink", "3"}, {"window", "10"}}), sizes).out, expected), 1e-5);
}

TEST(AttentionSequence, StreamingFreesItsPages) {
  const Oracle oracle(4, 2, 16, 1000);
  const auto run = run_sequence(oracle, request("streaming", {{"budget", "40"}}), {200, 1}, 1, 2);
  const PagedKvCache& cache = run.sequence->cache();
  const KvLayout& l = cache.layout(1);
  // 4 sinks and 35 others wait for the next token, in a ring of two pages.
  EXPECT_EQ(cache.head(1, 1).tokens, 39);
  EXPECT_EQ(cache.head(1, 1).pages.size(), 2u);
  EXPECT_EQ(run.sequence->cache_bytes(), 2 * 2 * 2 * l.page_bytes);
  const auto positions = cache.token_positions(1, 1);
  EXPECT_EQ(positions.front(), 0);
  EXPECT_EQ(positions[3], 3);
  EXPECT_EQ(positions[4], 1000 - 35);
}

TEST(AttentionSequence, KeepingEverythingIsDense) {
  const Oracle oracle(8, 2, 20, 120);
  const auto dense = run_sequence(oracle, request("dense"), {50, 1}).out;
  for (const auto& r : {request("streaming", {{"sink", "0"}, {"window", "120"}}), request("h2o", {{"budget", "120"}}), request("h2o", {{"share", "1"}}),
                        request("random-tokens", {{"budget", "120"}, {"chunk", "7"}})})
    EXPECT_LT(worst(run_sequence(oracle, r, {50, 1}).out, dense), 1e-5) << r.policy;
}

// Evictions by their definition: a head's set of kept tokens, chunk by chunk.
struct Evictions {
  std::vector<std::vector<std::set<int64_t>>> before;  // [chunk][kv head]: what the chunk's queries find
  std::vector<std::set<int64_t>> after;

  Evictions(const Oracle& o, int64_t chunk, int64_t budget, int64_t sink, int64_t recent) {
    const int64_t heads = o.layer.kv_heads, group = o.layer.heads / heads;
    std::vector<std::vector<double>> mass(static_cast<size_t>(heads), std::vector<double>(static_cast<size_t>(o.tokens), 0.0));
    after.resize(static_cast<size_t>(heads));
    for (int64_t begin = 0; begin < o.tokens; begin += chunk) {
      before.push_back(after);
      const int64_t end = std::min(o.tokens, begin + chunk);
      for (int64_t g = 0; g < heads; ++g) {
        const std::set<int64_t> held = after[static_cast<size_t>(g)];
        for (int64_t h = g * group; h < (g + 1) * group; ++h)
          for (int64_t i = begin; i < end; ++i) {
            const auto p = o.probabilities(h, i, [&](int64_t, int64_t, int64_t j) { return j >= begin || held.count(j) > 0; });
            for (size_t j = 0; j < p.size(); ++j) mass[static_cast<size_t>(g)][j] += p[j];
          }
        for (int64_t t = begin; t < end; ++t) after[static_cast<size_t>(g)].insert(t);
        if (end - begin == chunk) shrink(after[static_cast<size_t>(g)], mass[static_cast<size_t>(g)], budget, sink, recent);
      }
    }
  }

  static void shrink(std::set<int64_t>& held, const std::vector<double>& mass, int64_t budget, int64_t sink, int64_t recent) {
    while (static_cast<int64_t>(held.size()) > budget) {
      std::vector<int64_t> order(held.begin(), held.end());
      int64_t worst = -1;
      for (size_t i = 0; i + static_cast<size_t>(recent) < order.size(); ++i) {
        const int64_t t = order[i];
        if (t >= sink && (worst < 0 || mass[static_cast<size_t>(t)] < mass[static_cast<size_t>(worst)])) worst = t;
      }
      held.erase(worst);
    }
  }
};

TEST(AttentionSequence, HeavyHittersAreMaskedAttention) {
  for (const Heads& s : {Heads{3, 3, 16}, Heads{8, 2, 20}, Heads{6, 1, 16}}) {
    const Oracle oracle(s.heads, s.kv_heads, s.size, 75);
    const Evictions evictions(oracle, 10, 24, 2, 12);
    const auto expected = oracle.attend([&](int64_t g, int64_t i, int64_t j) {
      return j >= i / 10 * 10 || evictions.before[static_cast<size_t>(i / 10)][static_cast<size_t>(g)].count(j) > 0;
    });
    const auto r = request("h2o", {{"budget", "24"}, {"chunk", "10"}, {"sink", "2"}});
    for (const auto& sizes : std::vector<std::vector<int64_t>>{{75}, {33}, {1}}) {
      const auto run = run_sequence(oracle, r, sizes, 2);
      EXPECT_LT(worst(run.out, expected), 1e-5);
      for (int64_t g = 0; g < s.kv_heads; ++g) {
        const auto positions = run.sequence->cache().token_positions(0, g);
        const auto& kept = evictions.after[static_cast<size_t>(g)];
        EXPECT_EQ(positions, std::vector<int64_t>(kept.begin(), kept.end()));
      }
      EXPECT_EQ(run.sequence->cache().head(0, 0).pages.size(), 1u) << "24 + 5 tokens lie in one page of 32";
    }
  }
}

TEST(AttentionSequence, RandomTokensAreSeededAndKeepTheBudget) {
  const Oracle oracle(8, 2, 20, 96);
  auto r = request("random-tokens", {{"budget", "20"}, {"chunk", "8"}});
  const auto a = run_sequence(oracle, r, {96}), b = run_sequence(oracle, r, {5, 1}, 2);
  EXPECT_LT(worst(a.out, b.out), 1e-5);
  const auto kept = a.sequence->cache().token_positions(0, 0);
  EXPECT_EQ(kept.size(), 20u);
  EXPECT_EQ(kept, b.sequence->cache().token_positions(0, 0));
  EXPECT_NE(kept, a.sequence->cache().token_positions(0, 1)) << "heads draw for themselves";
  r.seed = 1;
  EXPECT_NE(kept, run_sequence(oracle, r, {96}).sequence->cache().token_positions(0, 0));
}

TEST(AttentionSequence, CountersAreHandCounts) {
  const Oracle oracle(8, 2, 16, 10);
  const auto dense = run_sequence(oracle, request("dense"), {6, 1}).sequence->counters();
  EXPECT_EQ(dense.keys_attended, 8u * 55);  // 1 + 2 + … + 10
  EXPECT_EQ(dense.values_read, dense.keys_attended);
  EXPECT_EQ(dense.multiply_adds, 8u * 55 * 2 * 16);
  EXPECT_EQ(dense.keys_scored, 0u);
  // One block of 6 rows reads 6 keys once for the group; then 7, 8, 9 and 10.
  EXPECT_EQ(dense.fast_bytes, 2u * (6 + 7 + 8 + 9 + 10) * 2 * 16 * 4);
  EXPECT_EQ(dense.slow_bytes, 0u);
  const auto int8 = run_sequence(oracle, request("dense", {}, KvCodec::kI8), {10}).sequence->counters();
  // A block has 32 rows, 8 tokens of 4 heads: the second one reads all 10 keys. Rows are 16 bytes and a scale.
  EXPECT_EQ(int8.fast_bytes, 2u * (8 + 10) * 2 * (16 + 4));
  const auto window = run_sequence(oracle, request("streaming", {{"sink", "1"}, {"window", "3"}}), {10}).sequence->counters();
  EXPECT_EQ(window.keys_attended, 8u * (1 + 2 + 3 + 7 * 4));
}

std::string message_of(const AttentionRequest& r) {
  try {
    run_sequence(Oracle(2, 1, 16, 50), r, {50});
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

TEST(AttentionSequence, RefusesOptionsThatDoNotFit) {
  const std::string unknown = message_of(request("strem"));
  EXPECT_EQ(unknown.rfind("--policy: expected one of ", 0), 0u);
  EXPECT_NE(unknown.find("dense, h2o, random-tokens, streaming"), std::string::npos);
  EXPECT_EQ(message_of(request("dense", {{"budget", "5"}})), "policy dense: there is no option 'budget'; it takes none");
  EXPECT_EQ(message_of(request("h2o", {{"budget", "0"}})), "policy h2o: budget: expected a whole number from 1 to 50, found 0");
  EXPECT_EQ(message_of(request("h2o", {{"budget", "51"}})), "policy h2o: budget: expected a whole number from 1 to 50, found 51");
  EXPECT_EQ(message_of(request("h2o")), "policy h2o: budget: expected exactly one of budget, budget_bytes and share, found none");
  EXPECT_EQ(message_of(request("h2o", {{"budget", "5"}, {"share", "0.5"}})),
            "policy h2o: budget: expected exactly one of budget, budget_bytes and share, found 2");
  EXPECT_EQ(message_of(request("h2o", {{"share", "nan"}})), "policy h2o: share: expected a number from 0 to 1, found nan");
  EXPECT_EQ(message_of(request("streaming", {{"window", "51"}})), "policy streaming: window: expected a whole number from 1 to 50, found 51");
  EXPECT_EQ(message_of(request("streaming", {{"sink", "8"}, {"budget", "8"}})),
            "policy streaming: sink: expected fewer than the budget's 8 tokens, found 8");
  EXPECT_EQ(message_of(request("streaming", {{"positions", "x"}})), "policy streaming: positions: expected cache or true, found x");
  EXPECT_NE(message_of(request("h2o", {{"budget_bytes", "10"}})).find("policy h2o: budget_bytes: expected a whole number from"), std::string::npos);
}

TEST(AttentionSequence, BudgetsInBytesAreKept) {
  const Oracle oracle(4, 2, 16, 300);
  const size_t page = make_layout(KvCodec::kF32, 32, 16, 1).page_bytes;
  const auto r = request("h2o", {{"budget_bytes", std::to_string(4 * page + 100)}, {"chunk", "32"}});  // 2 heads: two pages each
  const auto run = run_sequence(oracle, r, {288});
  EXPECT_EQ(run.sequence->cache().head(0, 0).tokens, 64 + 12);  // 300 = 9 chunks and 12 tokens
  EXPECT_EQ(run_sequence(Oracle(4, 2, 16, 288), r, {288}).sequence->cache_bytes(), 4 * page);
}

}  // namespace
}  // namespace espalier
