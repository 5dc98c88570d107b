// Hooks and selections of policies, by policies of the test's own.
#include "espalier/engine/attention/policy.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "espalier/core/error.h"
#include "tests/engine/attention/oracle.h"

namespace espalier {
namespace {

std::vector<std::string> calls;

// Asks for everything and writes down what comes.
class Diary : public AttentionPolicy {
 public:
  Diary() {
    needs_.before_layer = needs_.on_append = needs_.column_sums = needs_.row_statistics = needs_.end_chunk = true;
    needs_.chunk = 4;
  }
  const PolicyNeeds& needs() const override { return needs_; }
  void begin_sequence(PagedKvCache& cache) override { calls.push_back(fmt::format("sequence of {} layers", cache.layers())); }
  void before_forward(PagedKvCache&, int64_t position, int64_t tokens) override { calls.push_back(fmt::format("forward {}+{}", position, tokens)); }
  void before_layer(PagedKvCache&, int layer) override { calls.push_back(fmt::format("layer {}", layer)); }
  void on_append(PagedKvCache& cache, const AppendedTokens& a) override {
    calls.push_back(fmt::format("append {}+{} to {} k {}", a.position, a.tokens, cache.head(a.layer, 0).tokens, a.input->k[0]));
  }
  void after_attention(PagedKvCache&, const AttentionStatistics& s) override {
    double sum = 0;
    for (int64_t i = 0; i < s.column_stride; ++i) sum += static_cast<double>(s.column_sums[i]);
    bool ordered = true;  // the largest score is never above the logarithm of the sum
    for (int64_t i = 0; i < s.tokens * 2; ++i) ordered &= s.row_maximum[i] <= s.log_sum_exp[i] + 1e-5f;
    calls.push_back(fmt::format("attended {}+{} mass {:.3f} {}", s.position, s.tokens, sum, ordered));
  }
  void end_chunk(PagedKvCache&, int layer, int64_t length) override { calls.push_back(fmt::format("end {} at {}", layer, length)); }

 private:
  PolicyNeeds needs_;
};

const RegisterPolicy diary({"test-diary", "", 0, "", {}, [](const PolicyContext&) -> std::unique_ptr<AttentionPolicy> { return std::make_unique<Diary>(); }});

TEST(AttentionPolicy, HooksComeInOrder) {
  calls.clear();
  const Oracle oracle(2, 1, 16, 6);
  AttentionRequest request;
  request.policy = "test-diary";
  run_sequence(oracle, request, {5, 1}, 2);
  const auto k = [&](int64_t t) { return fmt::format("{}", oracle.k[static_cast<size_t>(t * 16)]); };
  EXPECT_EQ(calls, (std::vector<std::string>{"sequence of 1 layers", "forward 0+5", "layer 0", "append 0+4 to 0 k " + k(0), "attended 0+4 mass 8.000 true",
                                             "end 0 at 4", "layer 0", "append 4+1 to 4 k " + k(4), "attended 4+1 mass 2.000 true", "forward 5+1",
                                             "layer 0", "append 5+1 to 5 k " + k(5), "attended 5+1 mass 2.000 true"}));
}

// Each query block of 4 tokens of each query head sees its own block and blocks whose number plus the head's is even.
class Stripes : public AttentionPolicy {
 public:
  explicit Stripes(bool per_head) {
    needs_.select = true, needs_.per_head = per_head, needs_.query_block = 4;
    needs_.cache.page = 16;
  }
  const PolicyNeeds& needs() const override { return needs_; }
  uint64_t select(const SelectQuery& query, Selection& selection) const override {
    selection.kind = Selection::Kind::kBlocks, selection.block = 4;
    const int64_t head = needs_.per_head ? query.head : query.kv_head;
    for (int64_t b = 0; b <= query.position / 4; ++b)
      if ((b + head) % 2 == 0 || b == query.position / 4) selection.ids.push_back(static_cast<int32_t>(b));
    return 3;
  }

 private:
  PolicyNeeds needs_;
};

const RegisterPolicy stripes({"test-stripes", "", 0, "", {{"per_head", "int", "1", "", ""}},
                              [](const PolicyContext& c) -> std::unique_ptr<AttentionPolicy> { return std::make_unique<Stripes>(c.integer("per_head", 0, 1) == 1); }});

TEST(AttentionPolicy, SelectionsHoldForHeadsOrGroups) {
  const Oracle oracle(4, 2, 16, 70);
  for (const bool per_head : {true, false}) {
    AttentionRequest request;
    request.policy = "test-stripes", request.options["per_head"] = per_head ? "1" : "0";
    for (const auto& sizes : std::vector<std::vector<int64_t>>{{70}, {13}, {1}}) {
      const auto run = run_sequence(oracle, request, sizes, 2);
      double largest = 0;
      for (int64_t i = 0; i < 70; ++i)
        for (int64_t h = 0; h < 4; ++h) {
          const int64_t by = per_head ? h : h / 2;
          const auto p = oracle.probabilities(h, i, [&](int64_t, int64_t q, int64_t j) { return (j / 4 + by) % 2 == 0 || j / 4 == q / 4; });
          for (int64_t c = 0; c < 16; ++c) {
            double expected = 0;
            for (int64_t j = 0; j <= i; ++j) expected += p[static_cast<size_t>(j)] * static_cast<double>(oracle.v[static_cast<size_t>((j * 2 + h / 2) * 16 + c)]);
            largest = std::max(largest, std::fabs(expected - static_cast<double>(run.out[static_cast<size_t>((i * 4 + h) * 16 + c)])));
          }
        }
      EXPECT_LT(largest, 1e-5);
      // 18 query blocks, cut further by forwards of 13 and of 1.
      const uint64_t blocks = sizes[0] == 70 ? 18 : sizes[0] == 13 ? 22 : 70;
      EXPECT_EQ(run.sequence->counters().keys_scored, 3 * blocks * (per_head ? 4 : 2));
    }
  }
}

TEST(AttentionPolicy, RegistryHoldsThePolicies) {
  std::vector<std::string> ids;
  for (const PolicyInfo* info : registered_policies())
    if (info->id.rfind("test-", 0) != 0) ids.push_back(info->id);
  EXPECT_TRUE(std::is_sorted(ids.begin(), ids.end()));
  const std::vector<std::string> baselines = {"dense", "h2o", "random-tokens", "streaming"};
  EXPECT_TRUE(std::includes(ids.begin(), ids.end(), baselines.begin(), baselines.end()));
  EXPECT_EQ(find_policy("test-diary").id, "test-diary");
}

}  // namespace
}  // namespace espalier
