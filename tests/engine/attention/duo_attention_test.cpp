// DuoAttention against attention by its definition: which keys each head sees, written down from the paper's rules.
#include <gtest/gtest.h>

#include "espalier/core/file.h"
#include "espalier/engine/attention/policies/duo_gates.h"
#include "tests/engine/attention/oracle.h"
#include "tests/support.h"

namespace espalier::duo_attention_test {
namespace {

class DuoAttentionTest : public ::testing::Test {
 protected:
  std::string file(const std::string& name, const std::string& content) const {
    write_file_atomically(folder_ / name, content);
    return (folder_ / name).string();
  }
  AttentionRequest request(std::map<std::string, std::string> options) const {
    AttentionRequest r;
    r.policy = "19-duoattention", r.options = std::move(options);
    return r;
  }
  // Gates of one layer: heads with a 1 keep everything.
  AttentionRequest request(const std::string& gates, int64_t chunk) const {
    return request({{"gates", file("gates.json", "{\"gates\": [" + gates + "]}")}, {"threshold", "0.5"}, {"sink", "3"}, {"recent", "10"}, {"chunk", std::to_string(chunk)}});
  }
  std::string message_of(std::map<std::string, std::string> options, const std::filesystem::path& model = "") const {
    AttentionRequest r = request(std::move(options));
    r.model = model;
    try {
      run_sequence(Oracle(4, 2, 16, 50), r, {50});
    } catch (const UserError& error) {
      return error.what();
    }
    return "";
  }
  test::TempDir folder_;
};

// A prompt in chunks of `chunk`, then steps of one token.
Oracle::Sees sees(std::vector<int> full, int64_t prompt, int64_t chunk) {
  return [=](int64_t g, int64_t i, int64_t j) {
    const int64_t begin = i < prompt ? i / chunk * chunk : i;
    return full[static_cast<size_t>(g)] != 0 || j >= begin || j < 3 || j >= begin - 10;
  };
}

TEST_F(DuoAttentionTest, IsItsDefinitionInPrefillAndDecode) {
  for (const auto& [heads, size] : std::vector<std::pair<int64_t, int64_t>>{{3, 16}, {6, 20}, {24, 16}}) {
    const Oracle oracle(heads, 3, size, 87);
    const auto r = request("[0.9, 0.1, 0.0]", 20);
    const auto expected = oracle.attend(sees({1, 0, 0}, 50, 20));
    for (const auto& sizes : std::vector<std::vector<int64_t>>{{50, 1}, {20, 20, 10, 1}, {7, 43, 1}})
      for (int threads : {1, 2}) EXPECT_LT(worst(run_sequence(oracle, r, sizes, threads).out, expected), 1e-5);
  }
}

TEST_F(DuoAttentionTest, NoneOrAllOfTheHeadsStreaming) {
  const Oracle oracle(4, 2, 16, 75);
  const auto dense = run_sequence(oracle, AttentionRequest{}, {40, 1}).out;
  EXPECT_LT(worst(run_sequence(oracle, request({{"sparsity", "0"}}), {40, 1}).out, dense), 1e-5);  // whose pages are larger
  EXPECT_LT(worst(run_sequence(oracle, request({{"sparsity", "1"}}), {75}).out, run_sequence(oracle, AttentionRequest{}, {75}).out), 1e-5) << "a first chunk is dense";
  const auto none = request({{"sparsity", "1"}, {"sink", "3"}, {"recent", "10"}, {"chunk", "8"}});
  EXPECT_LT(worst(run_sequence(oracle, none, {40, 1}).out, oracle.attend(sees({0, 0}, 40, 8))), 1e-5);
  const auto windowed = request({{"sparsity", "1"}, {"sink", "2"}, {"recent", "73"}, {"chunk", "8"}});
  EXPECT_LT(worst(run_sequence(oracle, windowed, {40, 1}).out, dense), 1e-5) << "what keeps everything is dense";
}

TEST_F(DuoAttentionTest, StreamingHeadsStayTheSameSize) {
  const auto r = request("[1, 0]", 32);
  uint64_t bytes[2], streaming[2];
  for (int i : {0, 1}) {
    const int64_t tokens = i == 0 ? 512 : 1024;
    const auto run = run_sequence(Oracle(4, 2, 16, tokens), r, {tokens - 2, 1});
    const PagedKvCache& cache = run.sequence->cache();
    EXPECT_EQ(cache.head(0, 0).tokens, tokens);
    const auto positions = cache.token_positions(0, 1);
    ASSERT_EQ(positions.size(), 13u);
    EXPECT_EQ(positions[2], 2);
    EXPECT_EQ(positions[3], tokens - 10);
    bytes[i] = run.sequence->cache_bytes();
    streaming[i] = bytes[i] - static_cast<uint64_t>(tokens / 32) * cache.layout(0).page_bytes;
  }
  EXPECT_EQ(streaming[0], streaming[1]);
  EXPECT_LE(streaming[1], 3 * make_layout(KvCodec::kF32, 32, 16, 0).page_bytes) << "freed pages are given back";
}

TEST_F(DuoAttentionTest, AQuarterOfTheHeadsFullTakesLittleMoreThanAQuarter) {
  const Oracle oracle(4, 4, 16, 8192);
  const auto dense = run_sequence(oracle, AttentionRequest{}, {8191, 1}, 2), run = run_sequence(
      oracle, request({{"gates", file("gates.json", R"({"gates": [[0.9, 0.2, 0.1, 0]]})")}, {"sparsity", "0.75"}, {"chunk", "1024"}}), {8191, 1}, 2);
  EXPECT_LT(run.sequence->cache_bytes(), dense.sequence->cache_bytes() * 30 / 100);
}

TEST_F(DuoAttentionTest, CountsWhatItReads) {
  const auto run = run_sequence(Oracle(4, 2, 16, 60), request("[1, 0]", 60), {59, 1});
  // Two query heads a group: a dense first chunk of 59, then all 60 and 13 kept ones with the token itself.
  EXPECT_EQ(run.sequence->counters().keys_attended, 4u * (59 * 60 / 2) + 2 * 60 + 2 * 14);
}

TEST_F(DuoAttentionTest, ChoosesHeadsAsItsQuantileDoes) {
  const HeadGates gates = {{0.5f, 0.5f, 0.1f}, {0.9f}};
  EXPECT_EQ(full_heads_by_sparsity(gates, 0), (HeadChoice{{1, 1, 1}, {1}}));
  EXPECT_EQ(full_heads_by_sparsity(gates, 0.5), (HeadChoice{{1, 0, 0}, {1}})) << "4 - ceil(1.5) heads, the first of equal ones";
  EXPECT_EQ(full_heads_by_sparsity(gates, 0.75), (HeadChoice{{0, 0, 0}, {1}}));
  EXPECT_EQ(full_heads_by_sparsity(gates, 1), (HeadChoice{{0, 0, 0}, {0}}));
  EXPECT_EQ(full_heads_by_threshold(gates, 0.5), (HeadChoice{{0, 0, 0}, {1}})) << "at the threshold a head streams";
}

TEST_F(DuoAttentionTest, ReadsGatesAndRefusesOthers) {
  const std::vector<AttentionLayer> layers(2, Oracle(4, 2, 16, 1).layer);
  const DuoGates gates = read_duo_gates(file("a.json", R"({"gates": [[1.001, -0.0014], [0.25, 0.5]], "sink": 4, "recent": 16})"), layers);
  EXPECT_EQ(gates.alpha, (HeadGates{{1, 0}, {0.25f, 0.5f}}));
  EXPECT_EQ(*gates.sink, 4);
  EXPECT_EQ(read_duo_gates(file("a.tsv", "1.001\t-0.0014\n2.5e-1\t0.5\n"), layers).alpha, gates.alpha);
  ESP_EXPECT_USER_ERROR(read_duo_gates(file("b.json", R"({"gates": [[1, 0, 1], [1, 1, 1]]})"), layers),
                        "gates: expected as the model has them, 2 layers of 2, 2 KV heads, found 2 layers of 3, 3 KV heads");
  ESP_EXPECT_USER_ERROR(read_duo_gates(file("b.json", R"({"gates": [[1, null], [1, 1]]})"), layers), "gate 1 of layer 0: expected a number, found null");
  ESP_EXPECT_USER_ERROR(read_duo_gates(file("b.tsv", "1\t1\n1\tnan\n"), layers), "gate 1 of layer 1: expected a finite number, found nan");
  ESP_EXPECT_USER_ERROR(read_duo_gates(file("b.tsv", "1\tx\n"), layers), "gate 1 of layer 0: expected a number, found x");
  ESP_EXPECT_USER_ERROR(read_duo_gates(file("b.json", "{}"), layers), "expected an object with gates");
}

TEST_F(DuoAttentionTest, RefusesOptionsThatDoNotFit) {
  EXPECT_EQ(message_of({}).rfind("policy 19-duoattention: gates: expected a file of gates, as `espalier analyze duo-gates MODEL` makes it", 0), 0u);
  EXPECT_EQ(message_of({{"sparsity", "1.5"}}), "policy 19-duoattention: sparsity: expected a number from 0 to 1, found 1.5");
  EXPECT_EQ(message_of({{"sparsity", "1"}, {"threshold", "0.5"}}), "policy 19-duoattention: threshold: expected no sparsity beside it, found sparsity=1");
  EXPECT_EQ(message_of({{"sparsity", "1"}, {"sink", "-1"}}), "policy 19-duoattention: sink: expected a whole number from 0 to 50, found -1");
  EXPECT_EQ(message_of({{"sparsity", "1"}, {"recent", "0"}}), "policy 19-duoattention: recent: expected a whole number from 1 to 50, found 0");
  EXPECT_EQ(message_of({{"sparsity", "1"}, {"sink", "30"}, {"recent", "30"}}),
            "policy 19-duoattention: recent: expected sink and recent together within the sequence's 50 tokens, found 60");
  EXPECT_EQ(message_of({{"sparsity", "1"}}), "") << "defaults shrink to short texts";
  file(kDuoGatesFile, R"({"gates": [[1, 0]], "sink": 2, "recent": 4})");
  EXPECT_EQ(message_of({}, folder_.path()), "") << "gates beside the model";
}

}  // namespace
}  // namespace espalier::duo_attention_test
