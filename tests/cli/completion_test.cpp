#include <algorithm>
#include <sstream>

#include "espalier/core/json.h"
#include "tests/cli/run_program.h"

namespace espalier {
namespace {

using test::espalier;

class Completion : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(dir_ / "models/oak");
    std::filesystem::create_directories(dir_ / "models/$(touch hacked)");
    ::setenv("ESPALIER_ASSETS", dir_.path().c_str(), 1);
  }
  void TearDown() override { ::unsetenv("ESPALIER_ASSETS"); }

  // What bash offers for the last of these words.
  std::vector<std::string> offers(const std::vector<std::string>& words) {
    std::vector<std::string> command = {
        "bash", "-c",
        "source <(\"$0\" completion bash 2>/dev/null); COMP_WORDS=(espalier \"$@\"); COMP_CWORD=$#; "
        "_espalier; printf '%s\\n' \"${COMPREPLY[@]}\"",
        test::program_path()};
    command.insert(command.end(), words.begin(), words.end());
    const auto end = test::run_command(command);
    EXPECT_EQ(end.exit_code, 0) << end.err;
    std::vector<std::string> list;
    std::istringstream lines(end.out);
    for (std::string entry; std::getline(lines, entry);)
      if (!entry.empty()) list.push_back(entry);
    return list;
  }

  bool offers_word(const std::vector<std::string>& words, const std::string& wanted) {
    const auto list = offers(words);
    return std::find(list.begin(), list.end(), wanted) != list.end();
  }

  test::TempDir dir_;
};

TEST_F(Completion, BashCompletesVerbsOptionsAndWords) {
  EXPECT_EQ(offers({"pru"}), std::vector<std::string>{"prune"});
  EXPECT_EQ(offers({"prune", "--spars"}), std::vector<std::string>{"--sparsity"});
  EXPECT_EQ(offers({"prune", "m", "--of", "l"}), (std::vector<std::string>{"layers", "latency"}));
  EXPECT_EQ(offers({"completion", ""}), (std::vector<std::string>{"bash", "zsh"}));
  EXPECT_TRUE(offers_word({"models", "--"}, "--json"));
  EXPECT_TRUE(offers_word({"inspect", "o"}, "oak"));
}

TEST_F(Completion, AssetNamesNeverBecomeShellCode) {
  for (const char* shell : {"bash", "zsh"})
    EXPECT_EQ(espalier({"completion", shell}).out.find("hacked"), std::string::npos);
}

TEST_F(Completion, ScriptsParse) {
  for (const std::string shell : {"bash", "zsh"}) {
    if (test::run_command({"bash", "-c", "command -v " + shell}).exit_code != 0)
      continue;  // zsh is on few build machines
    const auto script = espalier({"completion", shell});
    EXPECT_EQ(script.exit_code, 0) << script.err;
    write_file_atomically(dir_ / "script", script.out);
    const auto check = test::run_command({shell, "-n", (dir_ / "script").string()});
    EXPECT_EQ(check.exit_code, 0) << check.err;
  }
}

TEST_F(Completion, ZshKnowsEveryOption) {
  const auto script = espalier({"completion", "zsh"}).out;
  for (const char* part : {"#compdef espalier", "'*--sparsity[share to remove, in \\[0, 1)]:S: '", "--repair",
                           ":(none ls bn lora perp finetune distill)", "(oak)"})
    EXPECT_NE(script.find(part), std::string::npos) << part;
}

TEST_F(Completion, OtherShellsAreRefused) {
  ESP_EXPECT_MISTAKE(espalier({"completion", "fish"}), "SHELL: expected one of bash, zsh, found 'fish'");
  ESP_EXPECT_MISTAKE(espalier({"completion"}), "SHELL is required");
}

}  // namespace
}  // namespace espalier
