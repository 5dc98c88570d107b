// DeltaLLM against its recursion and attention by definition, in double precision.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "espalier/engine/attention/block_kernels.h"
#include "espalier/engine/attention/delta_rows.h"
#include "espalier/engine/attention/policy.h"
#include "tests/engine/attention/oracle.h"
#include "tests/support.h"

namespace espalier::delta_llm_test {
namespace {

std::vector<float> random_keys(int64_t tokens, int64_t channels, uint64_t seed) {
  Rng rng(seed, "keys");
  std::vector<float> keys(static_cast<size_t>(tokens * channels));
  for (float& x : keys) x = static_cast<float>(rng.normal());
  return keys;
}

DeltaRows rows_of(const std::vector<float>& keys, int64_t channels, float threshold, int64_t page = 32) {
  DeltaRows rows(channels, page);
  for (size_t at = 0; at < keys.size(); at += static_cast<size_t>(channels)) rows.append(keys.data() + at, threshold);
  return rows;
}

TEST(DeltaRows, ErrorsStayWithinTheThreshold) {
  for (const int64_t channels : {6, 64, 100}) {
    const auto keys = random_keys(200, channels, 1);
    for (const float threshold : {0.0f, 0.3f, 1.0f}) {
      const DeltaRows rows = rows_of(keys, channels, threshold);
      std::vector<float> near(static_cast<size_t>(channels)), moved(near);
      std::vector<double> sum(near.size(), 0.0);
      for (int64_t t = 0; t < 200; ++t) {
        rows.approximation(t, near.data());
        rows.difference(t, moved.data());
        for (size_t c = 0; c < near.size(); ++c) {
          sum[c] += static_cast<double>(moved[c]);
          EXPECT_NEAR(static_cast<double>(near[c]), sum[c], 1e-4);
          EXPECT_LE(std::fabs(near[c] - keys[static_cast<size_t>(t) * near.size() + c]), threshold + 1e-5f);
        }
      }
    }
  }
}

TEST(DeltaRows, HandExample) {
  // Channel 0 moves by exactly the threshold, which is not enough, and then by more than it since it was stored.
  const DeltaRows rows = rows_of({1, 2, 1.5f, 2, 1.75f, -1}, 2, 0.5f);
  float row[2];
  rows.difference(0, row);
  EXPECT_EQ(row[0], 1);
  EXPECT_EQ(row[1], 2);
  rows.difference(1, row);
  EXPECT_EQ(row[0], 0);
  EXPECT_EQ(row[1], 0);
  rows.difference(2, row);
  EXPECT_EQ(row[0], 0.75f);
  EXPECT_EQ(row[1], -3);
  EXPECT_EQ(rows.stored(), 4u);
  EXPECT_EQ(rows.reference(), (std::vector<float>{1.75f, -1}));
}

TEST(DeltaRows, MoreThresholdMoreZeros) {
  const auto keys = random_keys(500, 16, 2);
  uint64_t last = keys.size() + 1;
  for (const float threshold : {0.0f, 0.1f, 0.3f, 0.6f, 1.0f, 2.0f}) {
    const uint64_t stored = rows_of(keys, 16, threshold).stored();
    EXPECT_LT(stored, last);
    last = stored;
  }
}

TEST(DeltaRows, ScoresAreSumsOverPagesAndFreshStarts) {
  const int64_t channels = 20, tokens = 1100;
  const DeltaRows rows = rows_of(random_keys(tokens, channels, 3), channels, 0.7f);
  const auto queries = random_keys(5, channels, 4);
  std::vector<float> q(static_cast<size_t>(channels) * kBlockRows, 0.0f), running(kBlockRows), scores(kBlockRows * kScoreStride), key(static_cast<size_t>(channels));
  for (int64_t r = 0; r < 5; ++r)
    for (int64_t c = 0; c < channels; ++c) q[static_cast<size_t>(c * kBlockRows + r)] = queries[static_cast<size_t>(r * channels + c)];
  const std::vector<uint64_t> masks(5, 0b11);
  for (const int64_t first : {0, 7, 31}) {  // ranges as threads have them
    FarRows far{q.data(), running.data(), -1, 5};
    for (int64_t page = first; page < (tokens + 31) / 32; ++page) {
      const FarCounts counts = rows.scores(page, far, masks.data(), 0b11, scores.data());
      uint64_t expected = 0;
      for (int64_t t = page * 32; t < std::min(tokens, page * 32 + 32); ++t) {
        rows.approximation(t, key.data());
        for (int64_t r = 0; r < 5; ++r) {
          double score = 0;
          for (int64_t c = 0; c < channels; ++c) score += static_cast<double>(key[static_cast<size_t>(c)]) * static_cast<double>(queries[static_cast<size_t>(r * channels + c)]);
          EXPECT_NEAR(static_cast<double>(scores[static_cast<size_t>(r * kScoreStride + t - page * 32)]), score, 1e-4);
        }
        rows.difference(t, key.data());
        if (t < page * 32 + 2) expected += 5 * static_cast<uint64_t>(std::count_if(key.begin(), key.end(), [](float x) { return x != 0; }));
      }
      const bool fresh = page > 0 && (page == first || page % 16 == 0);
      EXPECT_EQ(counts.multiplies, expected + (fresh ? 5u * channels : 0u));
    }
  }
}

AttentionRequest request(std::map<std::string, std::string> options) {
  AttentionRequest r;
  r.policy = "22-deltallm", r.options = std::move(options);
  return r;
}

// The recursion and the softmax, one number at a time.
struct Definition {
  const Oracle& o;
  std::vector<std::vector<std::vector<double>>> keys, hats;  // [kv head][token]
  std::vector<std::vector<int>> stored;
  uint64_t multiplies = 0, pairs = 0;

  Definition(const Oracle& oracle, double threshold) : o(oracle) {
    for (int64_t g = 0; g < o.layer.kv_heads; ++g) {
      keys.emplace_back(), hats.emplace_back(), stored.emplace_back();
      std::vector<double> reference;
      for (int64_t t = 0; t < o.tokens; ++t) {
        const auto key = o.turned(o.k, o.layer.kv_heads, t, g, t);
        int count = 0;
        if (t == 0) reference.assign(key.size(), 1e30);
        for (size_t c = 0; c < key.size(); ++c)
          if (std::fabs(key[c] - reference[c]) > threshold) reference[c] = key[c], ++count;
        keys.back().push_back(key), hats.back().push_back(reference), stored.back().push_back(count);
      }
    }
  }

  std::vector<double> attend(const std::function<bool(int64_t i, int64_t j)>& near) {
    const int64_t group = o.layer.heads / o.layer.kv_heads, size = o.layer.head_size;
    std::vector<double> out(o.q.size(), 0.0);
    for (int64_t i = 0; i < o.tokens; ++i)
      for (int64_t h = 0; h < o.layer.heads; ++h) {
        const auto g = static_cast<size_t>(h / group);
        const auto q = o.turned(o.q, o.layer.heads, i, h, i);
        std::vector<double> p;
        double sum = 0;
        for (int64_t j = 0; j <= i; ++j) {
          const auto& key = near(i, j) ? keys[g][static_cast<size_t>(j)] : hats[g][static_cast<size_t>(j)];
          double score = 0;
          for (size_t c = 0; c < q.size(); ++c) score += q[c] * key[c];
          sum += p.emplace_back(std::exp(score * o.layer.scale));
          ++pairs, multiplies += static_cast<uint64_t>(near(i, j) ? size : stored[g][static_cast<size_t>(j)]);
        }
        for (int64_t j = 0; j <= i; ++j)
          for (int64_t c = 0; c < size; ++c)
            out[static_cast<size_t>((i * o.layer.heads + h) * size + c)] += p[static_cast<size_t>(j)] / sum * static_cast<double>(o.v[static_cast<size_t>((j * o.layer.kv_heads + static_cast<int64_t>(g)) * size + c)]);
      }
    return out;
  }
};

TEST(DeltaLlm, IsItsDefinitionInPrefillAndDecode) {
  for (const auto& [heads, kv_heads, size] : std::vector<std::array<int64_t, 3>>{{3, 3, 16}, {8, 2, 20}, {6, 1, 64}, {40, 1, 8}}) {
    const Oracle oracle(heads, kv_heads, size, 87);
    for (const std::string storage : {"a", "b"})
      for (const bool band : {false, true}) {
        Definition definition(oracle, 0.9);
        const auto expected = definition.attend([&](int64_t i, int64_t j) { return j < 2 || (i >= 70 ? i - j < 11 : band ? i - j < 7 : i / 7 == j / 7); });
        const auto r = request({{"threshold", "0.9"}, {"prompt", "70"}, {"block", "7"}, {"sink", "2"}, {"decode_window", "11"}, {"storage", storage}, {"window", band ? "band" : "block"}});
        for (const auto& sizes : std::vector<std::vector<int64_t>>{{70, 1}, {33, 37, 5, 1}, {1}})
          for (int threads : {1, 2}) EXPECT_LT(worst(run_sequence(oracle, r, sizes, threads).out, expected), 1e-4);
      }
  }
}

TEST(DeltaLlm, KeepingEverythingIsDense) {
  const Oracle oracle(8, 2, 20, 120);
  const auto dense = run_sequence(oracle, AttentionRequest{}, {100, 1}).out;
  for (const auto& options : std::vector<std::map<std::string, std::string>>{
           {{"threshold", "0"}}, {{"scale", "1"}}, {{"prefill", "false"}, {"decode", "false"}}, {{"sink", "120"}}, {{"threshold", "0"}, {"storage", "b"}}})
    EXPECT_LT(worst(run_sequence(oracle, request(options), {100, 1}).out, dense), 1e-4);
  EXPECT_GT(worst(run_sequence(oracle, request({}), {100, 1}).out, dense), 1e-3);
  const auto prompt = run_sequence(oracle, request({{"prefill", "false"}}), {100, 1}).out;
  EXPECT_LT(worst(std::vector<float>(prompt.begin(), prompt.begin() + 100 * 160), std::vector<float>(dense.begin(), dense.begin() + 100 * 160)), 1e-5);
  EXPECT_GT(worst(prompt, dense), 1e-3);
}

TEST(DeltaLlm, ThreadsAgreeBitForBitAndCutsWithinRounding) {
  const Oracle oracle(4, 2, 16, 1100);  // long enough for decoding to be split into ranges of keys
  const auto r = request({{"prompt", "1000"}});
  const auto one = run_sequence(oracle, r, {1000, 1}, 1);
  EXPECT_EQ(run_sequence(oracle, r, {1000, 1}, 2).out, one.out);
  const auto cut = run_sequence(oracle, r, {300, 1});
  EXPECT_LT(worst(cut.out, one.out), 1e-4);
  EXPECT_EQ(cut.sequence->policy().report(), one.sequence->policy().report());
}

TEST(DeltaLlm, CountsTheMultiplicationsThatAreLeft) {
  const Oracle oracle(4, 2, 32, 700);
  Definition definition(oracle, 1.8);
  definition.attend([](int64_t i, int64_t j) { return i >= 650 ? i - j < 35 : i / 35 == j / 35; });
  const auto run = run_sequence(oracle, request({{"threshold", "1.8"}, {"block", "35"}, {"prompt", "650"}}), {650, 1});
  const AttentionCounters& counters = run.sequence->counters();
  EXPECT_EQ(counters.keys_attended, definition.pairs);
  // Sums start anew from a whole key every 512 tokens.
  EXPECT_NEAR(static_cast<double>(counters.key_multiplies) / static_cast<double>(definition.multiplies), 1, 0.01);
  EXPECT_EQ(counters.multiply_adds, counters.key_multiplies + definition.pairs * 32);
  EXPECT_LT(counters.key_multiplies, definition.pairs * 32 / 2);
}

TEST(DeltaLlm, StorageBGivesKeysBack) {
  const Oracle oracle(2, 1, 64, 2048);
  const auto dense = run_sequence(oracle, AttentionRequest{}, {2047, 1});
  std::map<std::string, std::string> options = {{"threshold", "1.9"}, {"prompt", "2047"}};
  options["storage"] = "a";
  const auto a = run_sequence(oracle, request(options), {2047, 1});
  options["storage"] = "b";
  const auto b = run_sequence(oracle, request(options), {2047, 1});
  EXPECT_EQ(a.out, b.out);
  EXPECT_GT(b.sequence->policy().report().at("sparsity").get<double>(), 0.6);
  EXPECT_LT(b.sequence->cache_bytes(), dense.sequence->cache_bytes() * 8 / 10);
  EXPECT_GT(a.sequence->cache_bytes(), dense.sequence->cache_bytes());
}

TEST(DeltaLlm, OtherCodecsStayWithinTheirBounds) {
  const Oracle oracle(8, 2, 20, 120);
  const auto fp32 = run_sequence(oracle, request({{"storage", "b"}}), {100, 1}).out;
  for (const auto& [codec, bound] : std::vector<std::pair<KvCodec, double>>{{KvCodec::kBF16, 0.08}, {KvCodec::kI8, 0.15}}) {
    AttentionRequest r = request({{"storage", "b"}});
    r.codec = codec;
    EXPECT_LT(worst(run_sequence(oracle, r, {100, 1}).out, fp32), bound);
  }
}

TEST(DeltaLlm, ReportsWhatThePaperReports) {
  const auto run = run_sequence(Oracle(2, 1, 16, 90), request({{"scale", "0.05"}}), {90});
  const Json report = run.sequence->policy().report();
  EXPECT_EQ(report.at("block"), 4) << "4.5 rounds to even";
  EXPECT_DOUBLE_EQ(report.at("effective_sparsity").get<double>(), report.at("sparsity").get<double>() * (1 - 4.0 / 90));
  const auto relative = run_sequence(Oracle(2, 1, 16, 90), request({{"threshold", "0.4"}, {"relative", "true"}}), {90});
  EXPECT_NEAR(relative.sequence->policy().report().at("sparsity").get<double>(), report.at("sparsity").get<double>(), 0.05) << "keys of deviation 1.5";
}

TEST(DeltaLlm, RefusesOptionsThatDoNotFit) {
  const auto message = [](std::map<std::string, std::string> options) -> std::string {
    try {
      run_sequence(Oracle(2, 1, 16, 50), request(std::move(options)), {50});
    } catch (const UserError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message({{"threshold", "-0.1"}}).rfind("policy 22-deltallm: threshold: expected a number from 0 to ", 0), 0u);
  EXPECT_NE(message({{"threshold", "nan"}}).find("found nan"), std::string::npos);
  EXPECT_EQ(message({{"scale", "1.1"}}), "policy 22-deltallm: scale: expected a number from 0 to 1, found 1.1");
  EXPECT_EQ(message({{"sink", "-1"}}), "policy 22-deltallm: sink: expected a whole number from 0 to 50, found -1");
  EXPECT_EQ(message({{"block", "5"}, {"scale", "0.1"}}), "policy 22-deltallm: block: expected no scale beside it, found scale=0.1");
  EXPECT_EQ(message({{"window", "x"}}), "policy 22-deltallm: window: expected one of block, band, found x");
}

}  // namespace
}  // namespace espalier::delta_llm_test
