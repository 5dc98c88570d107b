#include "espalier/core/assets.h"

#include <fstream>

#include "tests/support.h"

namespace espalier {
namespace {

class Assets : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(dir_ / "models/oak");
    std::filesystem::create_directories(dir_ / "data");
    std::ofstream(dir_ / "data/prose.txt") << "text";
    std::ofstream(dir_ / "data/README.md") << "where it is from";
    ::setenv("ESPALIER_ASSETS", dir_.path().c_str(), 1);
  }
  void TearDown() override { ::unsetenv("ESPALIER_ASSETS"); }
  test::TempDir dir_;
};

TEST_F(Assets, ListsModelsAndDataWithoutTheirReadme) {
  EXPECT_EQ(embedded_models(), std::vector<std::string>{"oak"});
  EXPECT_EQ(embedded_data(), std::vector<std::string>{"prose.txt"});
}

TEST_F(Assets, NamesBecomePathsAndPathsStay) {
  EXPECT_EQ(resolve_model("oak"), dir_ / "models/oak");
  EXPECT_EQ(resolve_data("prose.txt"), dir_ / "data/prose.txt");
  EXPECT_EQ(resolve_model(dir_.path().string()), dir_.path());
}

TEST_F(Assets, UnknownNamesListTheKnownOnes) {
  ESP_EXPECT_USER_ERROR(resolve_model("oka"), "did you mean 'oak'?");
  ESP_EXPECT_USER_ERROR(resolve_data(""), "embedded: prose.txt");
  ESP_EXPECT_USER_ERROR(resolve_model("../data"), "no such file");  // a name is no way out of the folder
}

}  // namespace
}  // namespace espalier
