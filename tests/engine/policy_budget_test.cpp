#include "espalier/engine/policy_budget.h"

#include "espalier/core/file.h"
#include "espalier/engine/open.h"
#include "espalier/engine/policy_measure.h"
#include "tests/support.h"

namespace espalier::test::policy_budget_test {
namespace {

constexpr const char* kModel = "espalier-tiny";  // 6 layers of 4 KV heads, context 256

// What each rule promises, measured: the mean that the last tokens of a text attend to.
TEST(PolicyBudget, EveryPolicyKeepsToItsBudget) {
  TempDir dir;
  Json gates = Json::array();
  for (int l = 0; l < 6; ++l) gates.push_back({0.9 - 0.1 * l, 0.5, 0.3, 0.1});
  write_file_atomically(dir / "gates.json", Json{{"gates", gates}, {"sink", 4}, {"recent", 16}}.dump());
  const auto decoder = open_decoder(kModel, {}, {});
  PolicyCompareRequest request;
  request.model = kModel, request.length = 256, request.limit = 300, request.texts = 1, request.depths = 1;
  for (const char* policy : {"streaming", "h2o", "random-tokens", "29-hip", "28-longheads", "36-s2-attention", "19-duoattention", "02-spatten"})
    for (int64_t budget : {64, 128}) {
      EngineRequest arm;
      arm.policy = policy;
      if (arm.policy == "19-duoattention") arm.options["gates"] = (dir / "gates.json").string();
      const Json row = measure_policy(*decoder, request, arm, budget);
      ASSERT_FALSE(row.contains("error")) << row.dump();
      EXPECT_EQ(row.at("budget"), budget);
      EXPECT_LE(row.at("keys").get<double>(), 1.3 * static_cast<double>(budget)) << policy;  // evictions and pages come in chunks
      EXPECT_GE(row.at("keys").get<double>(), 0.6 * static_cast<double>(budget)) << policy;
      for (const char* key : {"ppl", "needle", "prefill_ms", "decode_ms", "fast_bytes", "cache_bytes", "resident_bytes"}) EXPECT_TRUE(row.at(key).is_number()) << key;
    }
}

// Its prompts are dense, so that without steps perplexity would be that of dense attention.
TEST(PolicyBudget, SpeContextIsScoredStepByStep) {
  const auto decoder = open_decoder(kModel, {}, {});
  PolicyCompareRequest request;
  request.model = kModel, request.length = 128, request.limit = 256, request.texts = 1, request.depths = 1;
  EngineRequest arm;
  arm.policy = "05-specontext", arm.options = {{"head", "layer0"}};
  const Json some = measure_policy(*decoder, request, arm, 32), all = measure_policy(*decoder, request, arm, 128);
  arm = {}, arm.policy = "dense";
  const Json dense = measure_policy(*decoder, request, arm, 0);
  EXPECT_EQ(some.at("keys"), 32);
  EXPECT_EQ(some.at("ppl_options").at("prompt"), "1");
  EXPECT_FALSE(some.at("options").contains("prompt")) << "needles and times are of dense prompts";
  EXPECT_FALSE(dense.contains("ppl_options"));
  EXPECT_GT(some.at("ppl").get<double>(), 1.05 * dense.at("ppl").get<double>());
  EXPECT_NEAR(all.at("ppl").get<double>(), dense.at("ppl").get<double>(), 1e-3 * dense.at("ppl").get<double>());
  EXPECT_EQ(options_to_score("05-specontext", {{"prompt", "9"}}).at("prompt"), "9");
}

TEST(PolicyBudget, SaysWhatABudgetCannotBe) {
  const auto decoder = open_decoder(kModel, {}, {});
  ESP_EXPECT_USER_ERROR(options_at_budget("h2o", {}, 300, 256, *decoder), "--budget");
  ESP_EXPECT_USER_ERROR(options_at_budget("29-hip", {}, 8, 256, *decoder), "16 to 256");
  ESP_EXPECT_USER_ERROR(options_at_budget("02-spatten", {}, 32, 256, *decoder), "the first sees everything");
  ESP_EXPECT_USER_ERROR(options_at_budget("22-deltallm", {}, 64, 256, *decoder), "limits no keys");
  EXPECT_EQ(options_at_budget("h2o", {{"sink", "9"}}, 64, 256, *decoder).at("sink"), "9");
  EXPECT_EQ(options_at_budget("02-spatten", {{"tokens", "1,0.1,0.1,0.1,0.1,0.1"}}, 32, 256, *decoder).size(), 1u);  // all is said
  EXPECT_TRUE(options_at_budget("dense", {}, 64, 256, *decoder).empty());
}

}  // namespace
}  // namespace espalier::test::policy_budget_test
