// Exit codes, messages and habits that hold for every verb.
#include <algorithm>

#include "espalier/core/json.h"
#include "tests/cli/run_program.h"

namespace espalier {
namespace {

using test::espalier;
using test::ProgramEnd;

const std::vector<std::string> kVerbs = {"analyze", "completion", "eval", "generate", "inspect",  "methods",
                                         "models",     "plan", "prune",    "report", "reproduce", "runs",     "train"};

TEST(Program, HelpListsTheVerbs) {
  for (const char* word : {"--help", "-h", "help"}) {
    const ProgramEnd end = espalier({word});
    EXPECT_EQ(end.exit_code, 0);
    for (const auto& verb : kVerbs) EXPECT_NE(end.out.find("\n  " + verb + " "), std::string::npos) << verb;
  }
}

TEST(Program, VersionIsOneLine) { EXPECT_EQ(espalier({"--version"}).out, "espalier " ESPALIER_VERSION "\n"); }

TEST(Program, WithoutArgumentsItExplainsItself) {
  const ProgramEnd end = espalier({});
  EXPECT_EQ(end.exit_code, 2);
  EXPECT_NE(end.out.find("Usage: espalier VERB"), std::string::npos);
}

TEST(Program, EveryVerbHasHelpWithAnExampleAndTheCommonOptions) {
  for (const auto& verb : kVerbs) {
    const ProgramEnd end = espalier({verb, "--help"});
    EXPECT_EQ(end.exit_code, 0) << verb;
    for (const char* part :
         {"Example:\n  ", "--json", "--seed", "--threads", "--device", "--dtype", "--quiet", "--verbose"})
      EXPECT_NE(end.out.find(part), std::string::npos) << verb << " " << part;
  }
}

TEST(Program, UnknownVerbSuggestsTheNearest) {
  ESP_EXPECT_MISTAKE(espalier({"prunee"}), "prunee: unknown verb (did you mean 'prune'?)");
  ESP_EXPECT_MISTAKE(espalier({"--jsn"}), "--jsn: unknown option");
  ESP_EXPECT_MISTAKE(espalier({"line\nbreak"}), "line\\x0abreak");
}

TEST(Program, UnknownOptionSuggestsTheNearest) {
  ESP_EXPECT_MISTAKE(espalier({"prune", "m", "--sparsty", "0.5"}),
                     "--sparsty: unknown option (did you mean '--sparsity'?)");
  ESP_EXPECT_MISTAKE(espalier({"models", "extra"}), "unexpected argument 'extra'");
}

TEST(Program, CommonOptionsAreChecked) {
  ESP_EXPECT_MISTAKE(espalier({"models", "--threads", "-1"}),
                     "--threads: expected an integer from 0 to 4096, found '-1'");
  ESP_EXPECT_MISTAKE(espalier({"models", "--seed", "1.5"}), "--seed: expected an integer of at least 0, found '1.5'");
  ESP_EXPECT_MISTAKE(espalier({"models", "--device", "cudaa"}),
                     "--device: expected one of cpu, cuda, found 'cudaa' (did you mean 'cuda'?)");
  ESP_EXPECT_MISTAKE(espalier({"models", "-q", "-v"}), "--quiet");
  ESP_EXPECT_MISTAKE(espalier({"models", "--seed"}), "--seed");
}

TEST(Program, JsonIsOneObjectWithVersionSeedAndThreads) {
  const ProgramEnd end = espalier({"models", "--json", "--seed", "7", "--threads", "3"});
  EXPECT_EQ(end.exit_code, 0) << end.err;
  const Json result = parse_json(end.out, "stdout");
  EXPECT_EQ(result["espalier"], ESPALIER_VERSION);
  EXPECT_EQ(result["seed"], 7);
  EXPECT_EQ(result["threads"], 3);
  EXPECT_TRUE(result["families"].is_array());
}

TEST(Program, FullDiskUnderStdoutIsSaid) {
  const ProgramEnd end = test::run_command({test::program_path(), "models"}, "/dev/full");
  EXPECT_EQ(end.exit_code, 2);
  EXPECT_NE(end.err.find("standard output: cannot write"), std::string::npos) << end.err;
}

TEST(Program, ClosedStdoutIsNoCrash) {
  const ProgramEnd piped =
      test::run_command({"bash", "-c", "set -o pipefail; \"$0\" models | true", test::program_path()});
  EXPECT_EQ(piped.exit_code, 0) << piped.err;
  const ProgramEnd closed = test::run_command({"bash", "-c", "\"$0\" models >&-", test::program_path()});
  EXPECT_EQ(closed.exit_code, 0) << closed.err;
}

TEST(Program, OutOfMemoryIsSaidInOneLine) {
  test::TempDir dir;
  const auto prompt = dir / "prompt.txt", model = dir / "model";
  std::filesystem::create_directory(model);
  write_file_atomically(prompt, "x");
  std::filesystem::resize_file(prompt, 200u << 20);
  const ProgramEnd end = test::run_command({"bash", "-c", "ulimit -v 150000; exec \"$0\" \"$@\"", test::program_path(),
                                            "generate", model.string(), "--prompt-file", prompt.string()});
  EXPECT_EQ(end.exit_code, 2);
  EXPECT_NE(end.err.find("espalier: error: not enough memory"), std::string::npos) << end.err;
}

}  // namespace
}  // namespace espalier
