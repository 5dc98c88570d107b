// compare as a user runs it: rows, plot, resuming, arms that cannot be reached.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "espalier/core/file.h"
#include "espalier/core/json.h"
#include "tests/cli/run_program.h"

namespace espalier::test {
namespace {

TEST(Compare, DenseComesFirstAndEveryMethodRunsAtEverySparsity) {
  TempDir dir;
  const std::string out = (dir / "cmp").string();
  const ProgramEnd end = espalier({"compare", kModel, "--methods", "magnitude,random", "--sparsity", "0.5,0.3", "--limit", "600", "-o", out, "--json"});
  ASSERT_EQ(end.exit_code, 0) << end.err;
  const Json rows = Json::parse(end.out);
  ASSERT_EQ(rows.size(), 5u);
  EXPECT_EQ(rows[0].at("method"), "dense");
  EXPECT_EQ(rows[1].at("method"), "magnitude");
  EXPECT_EQ(rows[1].at("sparsity"), 0.3);
  EXPECT_EQ(rows[2].at("sparsity"), 0.5);
  for (const Json& row : rows) {
    EXPECT_EQ(row.at("metric"), "ppl");
    for (const char* key : {"value", "params", "flops", "seconds", "kl"}) EXPECT_TRUE(row.at(key).is_number()) << key;
    EXPECT_TRUE(row.contains("decode_tok_s"));
  }
  EXPECT_LT(rows[1].at("value").get<double>(), rows[3].at("value").get<double>());        // magnitude beats random
  EXPECT_LT(rows[1].at("kl").get<double>(), rows[3].at("kl").get<double>());
  EXPECT_LT(rows[2].at("nonzero").get<int64_t>(), rows[1].at("nonzero").get<int64_t>());  // more was removed
  EXPECT_EQ(read_json(dir / "cmp" / "rows.json"), rows);
  for (const char* file : {"pareto.svg", "report.html", "manifest.json"}) EXPECT_TRUE(std::filesystem::exists(dir / "cmp" / file)) << file;
}

TEST(Compare, AnArmThatCannotBeReachedIsARowThatSaysSo) {
  const ProgramEnd end = espalier({"compare", kModel, "--methods", "shortgpt", "--sparsity", "0.01", "--limit", "300", "--json"});
  ASSERT_EQ(end.exit_code, 0) << end.err;
  const Json rows = Json::parse(end.out);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_TRUE(rows[1].contains("error"));
}

TEST(Compare, OptionsOfAMethodStandInItsName) {
  const ProgramEnd end = espalier({"compare", kModel, "--methods", "24-global-mp:min_keep=5", "--sparsity", "0.3", "--limit", "300", "--json"});
  ASSERT_EQ(end.exit_code, 0) << end.err;
  EXPECT_EQ(Json::parse(end.out)[1].at("method"), "24-global-mp:min_keep=5");
}

TEST(Compare, MistakesAreSaidBeforeAnyWork) {
  const auto error = [](std::vector<std::string> more) {
    std::vector<std::string> arguments = {"compare", kModel};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const ProgramEnd end = espalier(arguments);
    EXPECT_EQ(end.exit_code, 2);
    return end.err;
  };
  EXPECT_NE(error({"--sparsity", "0.5"}).find("--methods"), std::string::npos);
  EXPECT_NE(error({"--methods", "wanda"}).find("--sparsity"), std::string::npos);
  EXPECT_NE(error({"--methods", "wandaa", "--sparsity", "0.5"}).find("wanda"), std::string::npos);
  EXPECT_NE(error({"--methods", "wanda", "--sparsity", "0.5,1.2"}).find("1.2"), std::string::npos);
  EXPECT_NE(error({"--methods", "wanda:nosuch=1", "--sparsity", "0.5"}).find("nosuch"), std::string::npos);
  EXPECT_NE(error({"--methods", "wanda", "--sparsity", "0.5", "--resume"}).find("--out"), std::string::npos);
}

TEST(Compare, PoliciesRunAtEqualBudgetsBesideTheControls) {
  TempDir dir;
  const std::vector<std::string> arguments = {"compare", kModel, "--policies", "29-hip,02-spatten:tokens=1,0.9,0.8,0.7,0.6,0.5", "--budget", "128,64", "--length", "128",
                                              "--limit", "300", "--texts", "1", "--depths", "2", "-o", (dir / "cmp").string(), "--json"};
  const ProgramEnd end = espalier(arguments);
  ASSERT_EQ(end.exit_code, 0) << end.err;
  const Json rows = Json::parse(end.out);
  ASSERT_EQ(rows.size(), 11u);  // dense once, five others twice
  EXPECT_EQ(rows[0].at("policy"), "dense");
  EXPECT_TRUE(rows[0].at("budget").is_null());
  EXPECT_EQ(rows[1].at("policy"), "29-hip");
  EXPECT_EQ(rows[1].at("budget"), 64);
  EXPECT_EQ(rows[3].at("options").at("tokens"), "1,0.9,0.8,0.7,0.6,0.5");
  for (const Json& row : rows) {
    ASSERT_FALSE(row.contains("error")) << row.dump();
    EXPECT_LE(row.at("keys").get<double>(), rows[0].at("keys").get<double>() + 1e-9) << row.at("policy");
    EXPECT_EQ(row.at("needle_cells").size(), 2u);
  }
  EXPECT_EQ(read_json(dir / "cmp" / "rows.json"), rows);
  for (const char* file : {"perplexity.svg", "needle.svg", "report.html", "manifest.json"}) EXPECT_TRUE(std::filesystem::exists(dir / "cmp" / file)) << file;
}

TEST(Compare, MistakesInBudgetsAndPoliciesAreOneClearLine) {
  const auto error = [](std::vector<std::string> more) {
    std::vector<std::string> arguments = {"compare", kModel};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const ProgramEnd end = espalier(arguments);
    EXPECT_EQ(end.exit_code, 2);
    EXPECT_EQ(std::count(end.err.begin(), end.err.end(), '\n'), 1) << end.err;
    return end.err;
  };
  EXPECT_NE(error({"--policies", "h2o", "--budget", "0"}).find("--budget"), std::string::npos);
  EXPECT_NE(error({"--policies", "h2o", "--budget", "64,257"}).find("256"), std::string::npos);
  EXPECT_NE(error({"--policies", "h2p", "--budget", "64"}).find("h2o"), std::string::npos);
  EXPECT_NE(error({"--policies", "h2o"}).find("--budget"), std::string::npos);
  EXPECT_NE(error({"--budget", "64"}).find("--policies"), std::string::npos);
  EXPECT_NE(error({"--policies", "h2o", "--budget", "64", "--methods", "wanda"}).find("--methods"), std::string::npos);
  EXPECT_NE(error({"--policies", "22-deltallm", "--budget", "64"}).find("limits no keys"), std::string::npos);
  EXPECT_NE(error({"--policies", "h2o:budget", "--budget", "64"}).find("name=value"), std::string::npos);
}

// Everything that does not depend on the clock.
Json without_times(Json rows) {
  for (Json& row : rows) {
    for (const char* key : {"seconds", "forward_ratio", "prefill_ms", "decode_ms"}) row.erase(key);
  }
  return rows;
}

// Killed when its third row is written, then resumed: the rows, which are those of a run that nobody disturbed.
void kill_and_resume(std::vector<std::string> arguments, Json& rows) {
  TempDir dir;
  const std::vector<std::string> straight_arguments = arguments;
  const std::string out = (dir / "cmp").string();
  arguments.insert(arguments.end(), {"-o", out});
  const pid_t pid = start_espalier(arguments);
  const auto row_file = std::filesystem::path(out + ".partial") / "state" / "row0002.json";
  for (int i = 0; i < 6000 && !std::filesystem::exists(row_file); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  ASSERT_TRUE(std::filesystem::exists(row_file));
  ::kill(pid, SIGKILL);
  int status = 0;
  ::waitpid(pid, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status)) << "it was to be killed before its end";
  const auto stored = read_json(row_file);
  arguments.push_back("--resume");
  const ProgramEnd end = espalier(arguments);
  ASSERT_EQ(end.exit_code, 0) << end.err;
  rows = Json::parse(end.out);
  EXPECT_EQ(rows.at(2), stored);  // to its very times: it was not run again
  if (std::filesystem::exists(dir / "cmp" / "rows.json")) EXPECT_EQ(read_json(dir / "cmp" / "rows.json"), rows);
  const ProgramEnd straight = espalier(straight_arguments);
  EXPECT_EQ(without_times(rows), without_times(Json::parse(straight.out)));
}

TEST(Compare, AKilledRunGoesOnAfterTheRowsThatItHas) {
  Json rows;
  kill_and_resume({"compare", kModel, "--methods", "magnitude,random", "--sparsity", "0.2,0.4,0.6", "--limit", "600", "--json"}, rows);
}

TEST(Compare, AKilledRunOfPoliciesGoesOnAfterTheRowsThatItHas) {
  Json rows;
  kill_and_resume({"compare", kModel, "--policies", "29-hip,05-specontext", "--budget", "32,64", "--length", "128", "--limit", "256", "--texts", "1", "--depths", "2",
                   "--threads", "1", "--json"}, rows);
  ASSERT_EQ(rows.size(), 11u);
  EXPECT_EQ(rows[3].at("policy"), "05-specontext");
  EXPECT_EQ(rows[3].at("ppl_options").at("prompt"), "1");
}

}  // namespace
}  // namespace espalier::test
