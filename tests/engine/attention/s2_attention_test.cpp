#include <gtest/gtest.h>

#include <fstream>

#include "espalier/core/error.h"
#include "espalier/engine/attention/policies/s2_pattern.h"
#include "tests/engine/attention/recorder.h"

namespace espalier {
namespace {

AttentionRequest s2(std::map<std::string, std::string> options) {
  options.emplace("dense_period", "0");
  return ask("36-s2-attention", std::move(options));
}

// The pattern by its definition.
bool visible(int64_t heads, int64_t g, int64_t i, int64_t j, int64_t local, int64_t stride, int64_t offset = 0) {
  return j <= i && (i - j < local || (j + g * std::max<int64_t>(1, stride / heads) + offset) % stride == 0);
}

TEST(S2Attention, StrideOneIsDense) {
  for (const auto& [heads, kv_heads, size] : std::vector<std::tuple<int64_t, int64_t, int64_t>>{{3, 3, 16}, {8, 2, 20}, {40, 1, 8}}) {
    const Oracle oracle(heads, kv_heads, size, 120);
    const auto dense = run_sequence(oracle, ask("dense"), {50, 1}).out;
    for (const auto& sizes : std::vector<std::vector<int64_t>>{{120}, {50, 1}})
      for (const char* block : {"1", "8", "64"})
        EXPECT_LT(worst(run_sequence(oracle, s2({{"block", block}, {"local_blocks", "1"}, {"vert_stride", "1"}}), sizes, 2).out, dense), 1e-4);
  }
}

TEST(S2Attention, IsMaskedAttentionHoweverTheTextIsCut) {
  for (const auto& [heads, kv_heads, local, stride, offset] :
       std::vector<std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t>>{{4, 4, 2, 3, 0}, {8, 2, 1, 5, 2}, {2, 2, 3, 6, 1}}) {
    const Oracle oracle(heads, kv_heads, 16, 101);
    const int64_t h = heads, l = local, s = stride, o = offset;
    const auto expected = oracle.attend([&](int64_t g, int64_t i, int64_t j) { return visible(h, g, i / 4, j / 4, l, s, o); });
    const auto r = s2({{"block", "4"}, {"local_blocks", std::to_string(local)}, {"vert_stride", std::to_string(stride)}, {"head_offset", std::to_string(offset)}});
    const auto whole = run_sequence(oracle, r, {101}).out;
    EXPECT_LT(worst(whole, expected), 1e-5);
    for (const auto& sizes : std::vector<std::vector<int64_t>>{{33}, {50, 1}, {1}}) {
      const auto run = run_sequence(oracle, r, sizes, 2);
      EXPECT_LT(worst(run.out, whole), 1e-5);
      // The last token stands in block 25. What is left is what that block sees.
      for (int64_t g = 0; g < kv_heads; ++g) {
        std::vector<int64_t> kept;
        for (int64_t t = 0; t < 101; ++t)
          if (visible(heads, g, 25, t / 4, local, stride, offset)) kept.push_back(t);
        EXPECT_EQ(run.sequence->cache().token_positions(0, g), kept);
      }
    }
  }
}

TEST(S2Attention, PagesOfAHeadStayFew) {
  const Oracle oracle(4, 4, 16, 400);
  const auto r = s2({{"block", "8"}, {"local_blocks", "3"}, {"vert_stride", "4"}});
  for (const int64_t tokens : {100, 101, 177, 400}) {
    Oracle shorter = oracle;
    shorter.tokens = tokens;
    shorter.q.resize(static_cast<size_t>(tokens * 64)), shorter.k.resize(shorter.q.size()), shorter.v.resize(shorter.q.size());
    const auto run = run_sequence(shorter, r, {90, 1}, 1, 2);
    const int64_t blocks = (tokens + 7) / 8;
    uint64_t held = 0;
    for (int layer = 0; layer < 2; ++layer)
      for (int64_t g = 0; g < 4; ++g) {
        int64_t pages = 0;
        for (const KvPage& page : run.sequence->cache().head(layer, g).pages) pages += page.memory != nullptr;
        EXPECT_LE(pages, 3 + (blocks + 3) / 4 + 1);
        held += static_cast<uint64_t>(pages);
      }
    EXPECT_EQ(run.sequence->cache_bytes(), held * run.sequence->cache().layout(0).page_bytes) << "the rest was given back";
  }
}

TEST(S2Attention, CostIsCountedExactly) {
  const int64_t tokens = 8192, block = 64, local = 4, stride = 8, blocks = tokens / block;
  const Oracle oracle(8, 8, 16, tokens);
  const auto run = run_sequence(oracle, s2({{"block", "64"}, {"local_blocks", "4"}, {"vert_stride", "8"}}), {tokens}, 2);
  uint64_t pairs = 0;
  for (int64_t g = 0; g < 8; ++g)
    for (int64_t i = 0; i < blocks; ++i)
      for (int64_t j = 0; j <= i; ++j)
        if (visible(8, g, i, j, local, stride)) pairs += static_cast<uint64_t>(i == j ? block * (block + 1) / 2 : block * block);
  EXPECT_EQ(run.sequence->counters().keys_attended, pairs);
  EXPECT_EQ(run.sequence->counters().keys_scored, 0u);
  const auto dense = static_cast<double>(8 * blocks) * static_cast<double>(run.sequence->cache().layout(0).page_bytes);
  EXPECT_LT(static_cast<double>(run.sequence->cache_bytes()) / dense, 0.20);
}

TEST(S2Attention, DenseLayersAndHeads) {
  const Oracle oracle(4, 4, 16, 60);
  const auto kinds = [&](std::map<std::string, std::string> options, int layers) {
    options.emplace("block", "4"), options.emplace("local_blocks", "1");
    Recording recording;
    run_recorded(oracle, ask("36-s2-attention", options), {60}, recording, 1, layers);
    std::string text;
    for (int l = 0; l < layers; ++l) text += recording.of(l, 0, 59).selection.kind == Selection::Kind::kAll ? 'd' : 's';
    return text;
  };
  EXPECT_EQ(kinds({}, 5), "sdsds") << "every second layer";
  EXPECT_EQ(kinds({{"dense_period", "3"}}, 5), "ssdss");
  EXPECT_EQ(kinds({{"dense_period", "0"}}, 5), "sssss");
  EXPECT_EQ(kinds({{"dense_layers", "0,4"}}, 5), "dsssd");
  const auto run = run_sequence(oracle, s2({{"block", "4"}, {"local_blocks", "1"}, {"dense_kv_heads", "1"}}), {60});
  EXPECT_EQ(run.sequence->cache().head(0, 3).tokens, 60);
  EXPECT_LT(run.sequence->cache().head(0, 2).tokens, 20);
  const auto expected = oracle.attend([](int64_t g, int64_t i, int64_t j) { return g == 3 || visible(4, g, i / 4, j / 4, 1, 8); });
  EXPECT_LT(worst(run.out, expected), 1e-5);
}

TEST(S2Attention, HomogeneousHeadsSeeTheSame) {
  const Oracle oracle(4, 4, 16, 60);
  const auto run = run_sequence(oracle, s2({{"block", "4"}, {"local_blocks", "2"}, {"vert_stride", "4"}, {"homogeneous", "1"}}), {60});
  EXPECT_LT(worst(run.out, oracle.attend([](int64_t, int64_t i, int64_t j) { return visible(4, 0, i / 4, j / 4, 2, 4); })), 1e-5);
}

std::string pattern_file(const std::string& text) {
  const std::string path = testing::TempDir() + "pattern.json";
  std::ofstream(path) << text;
  return path;
}

TEST(S2Attention, PatternsOfTheUsersOwn) {
  // Row 3 goes back to block 0, which row 2 does not see: it stays until then.
  const std::string path = pattern_file("[[[1,0,0,0],[1,1,0,0],[0,1,1,0],[1,0,0,1]]]");
  const Oracle oracle(2, 1, 16, 16);
  const bool mask[4][4] = {{true, false, false, false}, {true, true, false, false}, {false, true, true, false}, {true, false, false, true}};
  const auto expected = oracle.attend([&](int64_t, int64_t i, int64_t j) { return mask[i / 4][j / 4]; });
  const auto r = s2({{"block", "4"}, {"pattern", path}});
  const auto run = run_sequence(oracle, r, {9, 1});
  EXPECT_LT(worst(run.out, expected), 1e-5);
  EXPECT_EQ(run.sequence->cache().token_positions(0, 0), (std::vector<int64_t>{0, 1, 2, 3, 12, 13, 14, 15})) << "blocks 1 and 2 are freed";
  ASSERT_EQ(run.sequence->policy().notes().size(), 2u);
  EXPECT_NE(run.sequence->policy().notes()[0].find("go back to blocks that they left"), std::string::npos);
  EXPECT_EQ(run.sequence->policy().notes()[1], "of the 4 blocks of a full context, 2 are seen by no head of a sparse layer (the first: 1)");
}

TEST(S2Attention, CoverageIsToldWhereItIsIncomplete) {
  const auto notes = [](int64_t heads, int64_t kv_heads, const char* stride) {
    const Oracle oracle(heads, kv_heads, 16, 1);
    return make_policy(s2({{"block", "4"}, {"local_blocks", "2"}, {"vert_stride", stride}}), std::vector<AttentionLayer>{oracle.layer, oracle.layer}, 80)->notes();
  };
  EXPECT_TRUE(notes(8, 8, "8").empty()) << "every residue has a head";
  EXPECT_TRUE(notes(4, 4, "4").empty());
  // Two heads have residues 0 and 7; the last two blocks are in the band.
  EXPECT_EQ(notes(8, 2, "8"), (std::vector<std::string>{"of the 20 blocks of a full context, 13 are seen by no head of a sparse layer (the first: 1)"}));
}

TEST(S2Attention, LeavingABlockForGood) {
  const auto check = [](const auto& sees) { return cache_efficient(2, 8, sees); };
  EXPECT_TRUE(check([](int64_t g, int64_t i, int64_t j) { return visible(2, g, i, j, 2, 3); }));
  EXPECT_TRUE(check([](int64_t, int64_t i, int64_t j) { return i - j < 3; }));
  EXPECT_FALSE(check([](int64_t, int64_t i, int64_t j) { return i - j < 1 || (i - j) % 3 == 0; })) << "a stride from the query";
}

TEST(S2Attention, RefusesOptionsThatDoNotFit) {
  const auto line = [](std::map<std::string, std::string> options) { return refusal(ask("36-s2-attention", std::move(options)), 100); };
  EXPECT_EQ(line({{"block", "24"}}), "policy 36-s2-attention: block: expected a power of two, found 24");
  EXPECT_EQ(line({{"block", "128"}}), "policy 36-s2-attention: block: expected a whole number from 1 to 64, found 128");
  EXPECT_EQ(line({{"vert_stride", "0"}}), "policy 36-s2-attention: vert_stride: expected a whole number from 1 to 100, found 0");
  EXPECT_EQ(line({{"local_blocks", "0"}}), "policy 36-s2-attention: local_blocks: expected a whole number from 1 to 100, found 0");
  EXPECT_EQ(line({{"local_blocks", "101"}}), "policy 36-s2-attention: local_blocks: expected a whole number from 1 to 100, found 101");
  EXPECT_EQ(line({{"homogeneous", "1"}, {"dense_kv_heads", "1"}}), "policy 36-s2-attention: homogeneous: expected 0 beside dense_kv_heads, found 1");
  EXPECT_EQ(line({{"dense_kv_heads", "2"}}), "policy 36-s2-attention: dense_kv_heads: expected a whole number from 0 to 1, found 2");
  for (const char* list : {"1", "0,", "x", "-1", "0;0", ","})
    EXPECT_EQ(line({{"dense_layers", list}}), fmt::format("policy 36-s2-attention: dense_layers: expected layers from 0 to 0 with commas between, found {}", list));
  EXPECT_EQ(line({{"dense_layers", "0"}, {"dense_period", "2"}}), "policy 36-s2-attention: dense_period: expected no other option beside dense_layers, found 2");
  const auto given = [&](const std::string& text) { return line({{"block", "64"}, {"pattern", pattern_file(text)}}); };
  EXPECT_NE(given("[[[1,1],[1,1]]]").find("head 0, row 0: expected to see no later block, found true for block 1"), std::string::npos);
  EXPECT_NE(given("[[[1,0],[1,0]]]").find("head 0, row 1: expected to see its own block, found false"), std::string::npos);
  EXPECT_NE(given("[[[1,0],[1]]]").find("blocks: expected an array of 2"), std::string::npos);
  EXPECT_NE(given("[[[1,0],[1,2]]]").find("blocks: expected true or false, found 2"), std::string::npos);
  EXPECT_NE(given("[[[1]]]").find("pattern: expected 2 blocks of 64 for a context of 100, found 1"), std::string::npos);
  EXPECT_NE(given("[[[1]],[[1]]]").find("pattern: expected 1 heads, as the model has KV heads, found 2"), std::string::npos);
  EXPECT_NE(line({{"pattern", "/none.json"}}).find("/none.json"), std::string::npos);
  EXPECT_EQ(line({}), "");
}

}  // namespace
}  // namespace espalier
