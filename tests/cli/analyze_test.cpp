// espalier analyze, and what its result is for.
#include "espalier/core/json.h"
#include "tests/cli/run_program.h"
#include "tests/support.h"

namespace espalier {
namespace {

using test::espalier;

TEST(Analyze, GatesOfDuoAttentionAreLearnedAndRun) {
  const test::TempDir dir;
  const std::string out = (dir / "gates").string(), file = (dir / "gates" / "duo-gates.json").string();
  const std::vector<std::string> call = {"analyze", "duo-gates", "espalier-tiny", "--set", "steps=2", "--set", "keys=2", "--set", "reordered=true", "--json", "--threads", "1", "-o", out};
  const auto end = espalier(call);
  ASSERT_EQ(end.exit_code, 0) << end.err;
  const Json result = parse_json(end.out, "analyze");
  EXPECT_EQ(result.at("study"), "duo-gates");
  EXPECT_EQ(result.at("tables").at("gates").at("rows").size(), 24u);
  EXPECT_EQ(read_json(file).at("gates").size(), 6u);
  EXPECT_TRUE(std::filesystem::exists(dir / "gates" / "duo-gates.tsv"));
  EXPECT_TRUE(std::filesystem::exists(dir / "gates" / "study.json"));
  ESP_EXPECT_MISTAKE(espalier(call), "already there; give another --out, or --force to replace it");
  // Full heads first, whatever is asked for; the result runs by the gates beside it.
  for (const Json& layer : read_json(dir / "gates" / "model" / "duo-gates.json").at("gates")) EXPECT_TRUE(std::is_sorted(layer.rbegin(), layer.rend())) << layer;
  const auto first = [&](const std::string& model, const std::string& gates) {
    const auto run = espalier({"generate", model, "-p", "Once upon", "-n", "6", "--json", "--dtype", "fp32", "--policy", "duoattention", "--set", "recent=2", "--set", "sink=1", "--set", "gates=" + gates});
    EXPECT_EQ(run.exit_code, 0) << run.err;
    return parse_json(run.out, "generate").at("text");
  };
  const std::string moved = (dir / "gates" / "model").string();
  EXPECT_EQ(first(moved, moved + "/duo-gates.json"), first("espalier-tiny", file));

  for (const std::string& gates : {file, (dir / "gates" / "duo-gates.tsv").string()}) {
    const auto run = espalier({"generate", "espalier-tiny", "-p", "Once", "-n", "4", "--json", "--policy", "duoattention", "--set", "gates=" + gates});
    EXPECT_EQ(run.exit_code, 0) << run.err;
    EXPECT_EQ(parse_json(run.out, "generate").at("tokens"), 4);
  }
}

TEST(Analyze, NeedlesAreATableAndAHeatMap) {
  const test::TempDir dir;
  const auto end = espalier({"analyze", "needle", "espalier-tiny", "--set", "policy=h2o:budget=64", "--set", "length=128", "--set", "texts=1", "--set", "depths=2", "--json", "-o", (dir / "n").string()});
  ASSERT_EQ(end.exit_code, 0) << end.err;
  const Json result = parse_json(end.out, "analyze");
  EXPECT_EQ(result.at("tables").at("needles").at("rows").size(), 2u);
  EXPECT_EQ(result.at("figures"), Json({"needle.svg"}));
  EXPECT_TRUE(std::filesystem::exists(dir / "n" / "needle.svg"));
}

TEST(Analyze, SaysWhatDoesNotFit) {
  const test::TempDir dir;
  const std::string out = (dir / "x").string();
  ESP_EXPECT_MISTAKE(espalier({"analyze", "duo-gate", "espalier-tiny", "-o", out}), "there is no study 'duo-gate' (did you mean 'duo-gates'?)");
  ESP_EXPECT_MISTAKE(espalier({"analyze", "duo-gates", "espalier-tiny", "-o", out, "--set", "step=1"}), "there is no option 'step'");
  ESP_EXPECT_MISTAKE(espalier({"analyze", "duo-gates", "espalier-tiny", "-o", out, "--set", "words=100"}), "give fewer keys or words, or longer texts");
  ESP_EXPECT_MISTAKE(espalier({"analyze", "needle", "espalier-tiny", "-o", out, "--set", "policy=h2o:budget"}), "name=value");
  ESP_EXPECT_MISTAKE(espalier({"generate", "espalier-tiny", "-p", "x", "--policy", "19"}), "policy 19-duoattention: gates: expected a file of gates");
  EXPECT_FALSE(std::filesystem::exists(out));
}

}  // namespace
}  // namespace espalier
