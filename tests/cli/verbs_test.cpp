// What the verbs say of mistakes before they do any work.
#include <algorithm>
#include <fstream>

#include "tests/cli/run_program.h"

namespace espalier {
namespace {

using test::espalier;

TEST(Verbs, MissingModelIsNamed) {
  for (const std::vector<std::string>& command : std::vector<std::vector<std::string>>{
           {"inspect", "no-such-model"},
           {"eval", "no-such-model"},
           {"generate", "no-such-model", "-p", "x"},
           {"plan", "no-such-model", "--method", "wanda"},
           {"prune", "no-such-model", "--method", "wanda", "--sparsity", "0.5", "-o", "x"}})
    ESP_EXPECT_MISTAKE(espalier(command),
                       "no-such-model: no such file or directory, and no embedded model of this name");
  ESP_EXPECT_MISTAKE(espalier({"inspect"}), "MODEL is required");
  ESP_EXPECT_MISTAKE(espalier({"plan", "--method", "wanda"}), "MODEL: missing");
}

TEST(Verbs, DirectoryWithoutConfigIsNamed) {
  test::TempDir dir;
  ESP_EXPECT_MISTAKE(espalier({"inspect", dir.path().string()}), "config.json");
}

TEST(Verbs, PruneChecksItsOptions) {
  const auto prune = [](std::vector<std::string> more) {
    std::vector<std::string> command = {"prune", "m"};
    command.insert(command.end(), more.begin(), more.end());
    return espalier(command);
  };
  ESP_EXPECT_MISTAKE(prune({"--sparsity", "0.5", "-o", "x"}), "--method: missing");
  ESP_EXPECT_MISTAKE(prune({"--method", "wanda", "--sparsity", "0.5"}), "--out: missing");
  for (const char* share : {"1", "1.5", "-0.1", "nan", "half", "0.5x", ""})
    ESP_EXPECT_MISTAKE(prune({"--method", "wanda", "--sparsity", share, "-o", "x"}),
                       "--sparsity: expected a number in [0, 1), found '");
  for (const char* pattern : {"2", "4:2", "2:2", "0:4", "2:4x", "2:999", "block:2x16", "block:1x1", "block:1x16x", "block:1x65"})
    ESP_EXPECT_MISTAKE(prune({"--method", "wanda", "--pattern", pattern, "-o", "x"}),
                       "--pattern: pattern: expected unstructured, N:M");
  ESP_EXPECT_MISTAKE(prune({"--method", "wanda", "--set", "group", "-o", "x"}),
                     "--set: expected name=value, found 'group'");
  ESP_EXPECT_MISTAKE(prune({"--method", "wanda", "--set", "a=1", "--set", "a=2", "-o", "x"}), "'a' is given twice");
  ESP_EXPECT_MISTAKE(prune({"--method", "wanda", "--of", "flop", "-o", "x"}), "did you mean 'flops'?");
}

TEST(Verbs, EvalChecksItsOptions) {
  ESP_EXPECT_MISTAKE(espalier({"eval", "m", "--metric", "kl"}), "--metric: kl is a distance and needs --against MODEL");
  ESP_EXPECT_MISTAKE(espalier({"eval", "m", "--length", "64", "--stride", "65"}),
                     "--stride: expected at most --length 64, found 65");
}

TEST(Verbs, GenerateChecksItsPrompt) {
  test::TempDir dir;
  ESP_EXPECT_MISTAKE(espalier({"generate", "m"}), "--prompt: missing");
  ESP_EXPECT_MISTAKE(espalier({"generate", "m", "-p", "\xff"}), "--prompt: not valid UTF-8");
  ESP_EXPECT_MISTAKE(espalier({"generate", "m", "--prompt-file", (dir / "none").string()}), "cannot open");
  ESP_EXPECT_MISTAKE(espalier({"generate", "m", "-p", "x", "--set", "a=1"}), "--policy");
}

TEST(Verbs, ReproduceResumesOnlyAKeptRun) {
  ESP_EXPECT_MISTAKE(espalier({"reproduce", "all", "--resume"}), "--resume: needs --out");
}

TEST(Verbs, ReproduceNamesWhatCanBe) {
  ESP_EXPECT_MISTAKE(espalier({"reproduce", "29-hippo"}), "reproduce: '29-hippo' has no reproduction (did you mean '29-hip'?)");
}

TEST(Verbs, MissingLaboratoryIsSaid) {
  ::setenv("ESPALIER_LAB", "/nowhere/lab.so", 1);
  const auto end = espalier({"methods"});
  ::unsetenv("ESPALIER_LAB");
  EXPECT_EQ(end.exit_code, 2);
  EXPECT_NE(end.err.find("needs the laboratory, which cannot be opened: /nowhere/lab.so"), std::string::npos)
      << end.err;
}

}  // namespace
}  // namespace espalier
