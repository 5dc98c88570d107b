#include "espalier/requests/policy_text.h"

#include "tests/support.h"

namespace espalier::test {
namespace {

TEST(PolicyText, HoldsAnIdAndItsOptions) {
  EXPECT_EQ(policy_from_text("h2o", "x").policy, "h2o");
  EXPECT_TRUE(policy_from_text("h2o", "x").options.empty());
  const EngineRequest request = policy_from_text("02-spatten:tokens=1,0.5:recent=", "x");
  EXPECT_EQ(request.policy, "02-spatten");
  EXPECT_EQ(request.options.at("tokens"), "1,0.5");
  EXPECT_EQ(request.options.at("recent"), "");
}

TEST(PolicyText, NamesWhatIsWrong) {
  ESP_EXPECT_USER_ERROR(policy_from_text("", "--policies"), "--policies");
  ESP_EXPECT_USER_ERROR(policy_from_text("h2o:budget", "x"), "'budget'");
  ESP_EXPECT_USER_ERROR(policy_from_text("h2o:=3", "x"), "'=3'");
  ESP_EXPECT_USER_ERROR(policy_from_text("h2o:", "x"), "name=value");
  ESP_EXPECT_USER_ERROR(policy_from_text("h2o:a=1:a=2", "x"), "twice");
}

}  // namespace
}  // namespace espalier::test
