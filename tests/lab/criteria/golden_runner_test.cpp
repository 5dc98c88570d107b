// The golden runner itself, as the program that scripts call.
#include <cstdio>
#include <fstream>

#include "tests/support.h"

namespace espalier {
namespace {

struct Outcome {
  int status;
  std::string output;
};

Outcome run_golden(const std::string& environment) {
  const std::string command = environment + " " ESPALIER_BINARY_DIR "/bin/golden_runner 2>&1";
  std::FILE* pipe = ::popen(command.c_str(), "r");
  std::string output;
  char buffer[4096];
  for (size_t got; (got = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) output.append(buffer, got);
  return {WEXITSTATUS(::pclose(pipe)), output};
}

class GoldenRunner : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(ESPALIER_BINARY_DIR "/bin/golden_runner"))
      GTEST_SKIP() << "golden_runner is not built";
  }
  void write(const std::string& name, const std::string& text) { std::ofstream(dir_ / name) << text; }
  Outcome run(const std::string& more = "") {
    return run_golden("ESPALIER_GOLDEN_DIR='" + dir_.path().string() + "' " + more);
  }
  test::TempDir dir_;
};

std::string ties_case(const std::string& expected_mask, const std::string& name = "ties_lowest_index_first") {
  return R"({"system":"00-baselines-llm","cases":[{"name":")" + name + R"(","params":{"sparsity":0.5},
    "inputs":{"W":{"shape":[1,4],"data":[1,1,1,1]}},
    "expected":{"mask_row":{"shape":[1,4],"dtype":"bool","data":)" +
         expected_mask + R"(}},"rtol":1e-4,"atol":1e-6}]})";
}

TEST_F(GoldenRunner, PassesAndSkipsByName) {
  write("a.json", ties_case("[false,false,true,true]"));
  write(
      "b.json",
      R"({"system":"99-unknown","cases":[{"name":"x","params":{},"inputs":{},
      "expected":{"y":{"shape":[1],"data":[0]}}}]})");
  const auto [status, output] = run();
  EXPECT_EQ(status, 0) << output;
  EXPECT_NE(output.find("skip 99-unknown"), std::string::npos) << output;
  EXPECT_TRUE(output.ends_with("1 passed, 0 failed, 1 skipped\n")) << output;
}

TEST_F(GoldenRunner, AWrongMaskFails) {
  write("a.json", ties_case("[false,true,false,true]"));
  const auto [status, output] = run();
  EXPECT_EQ(status, 1);
  EXPECT_NE(output.find("mask_row: 2 of 4 elements differ"), std::string::npos) << output;
}

TEST_F(GoldenRunner, AnUnknownCaseNameFails) {
  write("a.json", ties_case("[false,false,true,true]", "never_heard_of"));
  const auto [status, output] = run();
  EXPECT_EQ(status, 1);
  EXPECT_NE(output.find("unknown case name"), std::string::npos) << output;
}

TEST_F(GoldenRunner, MalformedFilesFailWithTheirNameAndTheOthersStillRun) {
  const std::string bad[] = {"",
                             "[]",
                             "{\"system\":\"s\"}",
                             R"({"system":"s","cases":[]})",
                             R"({"system":1,"cases":[1]})",
                             ties_case("[false]"),
                             ties_case("[0,0,1,1]"),
                             ties_case("3")};
  for (size_t i = 0; i < std::size(bad); ++i) write("bad" + std::to_string(i) + ".json", bad[i]);
  write("good.json", ties_case("[false,false,true,true]"));
  const auto [status, output] = run();
  EXPECT_EQ(status, 1);
  for (size_t i = 0; i < std::size(bad); ++i) {
    EXPECT_NE(output.find("FAIL bad" + std::to_string(i) + ".json"), std::string::npos) << output;
  }
  EXPECT_TRUE(output.ends_with("1 passed, 8 failed, 0 skipped\n")) << output;
}

TEST_F(GoldenRunner, OnlyRestrictsAndMustMatch) {
  write("a.json", ties_case("[false,false,true,true]"));
  write("b.json", "broken");
  EXPECT_EQ(run("ESPALIER_GOLDEN_ONLY=a").status, 0);
  const auto [status, output] = run("ESPALIER_GOLDEN_ONLY=a,zz");
  EXPECT_EQ(status, 1);
  EXPECT_NE(output.find("FAIL zz: there is no golden file of this name"), std::string::npos) << output;
  EXPECT_EQ(run_golden("ESPALIER_GOLDEN_DIR=/nonexistent/golden").status, 1);
  write("a.json", "broken");
  EXPECT_EQ(run("ESPALIER_GOLDEN_ONLY=a").status, 1);
}

}  // namespace
}  // namespace espalier
