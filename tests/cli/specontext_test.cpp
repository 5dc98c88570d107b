// SpeContext at the command line: its retrieval head, its policy, the plan of a context.
#include "espalier/core/json.h"
#include "tests/cli/run_program.h"
#include "tests/support.h"

namespace espalier {
namespace {

using test::espalier;

TEST(SpeContextProgram, DistilsAHeadAndRunsByIt) {
  const test::TempDir dir;
  const std::string out = (dir / "head").string(), file = (dir / "head" / "retrieval-head.safetensors").string();
  const auto end = espalier({"analyze", "retrieval-head", "espalier-tiny", "--set", "steps=1", "--set", "batch=1", "--set", "length=64", "--json",
                             "--threads", "1", "-o", out});
  ASSERT_EQ(end.exit_code, 0) << end.err;
  const Json result = parse_json(end.out, "analyze");
  EXPECT_EQ(result.at("tables").at("captured").at("rows").size(), 4u);
  for (const Json& row : result.at("tables").at("captured").at("rows")) EXPECT_GT(row[1].get<double>(), 0.05) << row[0];
  const auto run = espalier({"generate", "espalier-tiny", "-p", "Once upon a time", "-n", "12", "--json", "--policy", "specontext", "--set", "budget=4",
                             "--set", "slow_layers=3", "--set", "head=" + file});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  const Json in_memory = parse_json(run.out, "generate");
  EXPECT_EQ(in_memory.at("tokens"), 12);
  const std::vector<std::string> call = {"generate", "espalier-tiny", "-p", "Once upon a time", "-n", "12", "--json", "--policy", "specontext", "--set", "budget=4",
                                         "--set", "slow_layers=3", "--set", "head=" + file, "--set"};
  const auto with = [&](const std::string& directory) {
    auto arguments = call;
    arguments.push_back("slow_dir=" + directory);
    return espalier(arguments);
  };
  std::filesystem::create_directory(dir / "slow");
  const auto in_file = with((dir / "slow").string());
  EXPECT_EQ(parse_json(in_file.out, "generate").at("text"), in_memory.at("text"));
  EXPECT_TRUE(std::filesystem::is_empty(dir / "slow"));
  ESP_EXPECT_MISTAKE(with("/no/such/folder"), "/no/such/folder: slow memory: expected a directory in which a file can be made");
}

TEST(SpeContextProgram, AllTokensGiveTheDenseText) {
  const auto text = [](std::vector<std::string> more) {
    std::vector<std::string> call = {"generate", "espalier-tiny", "-p", "The sea was calm and", "-n", "40", "--json", "--dtype", "fp32"};
    call.insert(call.end(), more.begin(), more.end());
    const auto run = espalier(call);
    EXPECT_EQ(run.exit_code, 0) << run.err;
    return parse_json(run.out, "generate").at("text").get<std::string>();
  };
  EXPECT_EQ(text({"--policy", "05"}), text({}));
}

TEST(SpeContextProgram, PlansAContext) {
  const auto plan = espalier({"plan", "espalier-tiny", "--context", "200", "--memory", "4MB", "--memory", "1GiB", "--requests", "2", "--json"});
  ASSERT_EQ(plan.exit_code, 0) << plan.err;
  const Json result = parse_json(plan.out, "plan");
  // 6 layers of 4 KV heads, keys and values of 16 floats each.
  EXPECT_EQ(result.at("bytes").at("cache_token"), 6 * 4 * 2 * 16 * 4);
  EXPECT_EQ(result.at("bytes").at("cache"), 2 * 200 * 6 * 4 * 2 * 16 * 4);
  const Json &small = result.at("plans")[0], &large = result.at("plans")[1];
  EXPECT_EQ(small.at("memory_bytes"), 4000000);
  EXPECT_GT(small.at("slow_layers"), 0);
  EXPECT_EQ(small.at("thresholds").size(), 7u);
  EXPECT_EQ(large.at("memory_bytes"), 1u << 30);
  EXPECT_EQ(large.at("slow_layers"), 0);
  EXPECT_EQ(large.at("fits"), true);
  ESP_EXPECT_MISTAKE(espalier({"plan", "espalier-tiny", "--context", "200", "--memory", "1MB"}), "the model does not fit: expected more than 1.3 × ");
  ESP_EXPECT_MISTAKE(espalier({"plan", "espalier-tiny", "--context", "200", "--memory", "much"}), "--memory: bytes: expected a number with or without KB");
  ESP_EXPECT_MISTAKE(espalier({"plan", "espalier-tiny", "--context", "200", "--method", "wanda"}), "leave out --method");
  ESP_EXPECT_MISTAKE(espalier({"plan", "espalier-tiny", "--method", "wanda", "--budget", "3"}), "--budget: belongs to --context");
  ESP_EXPECT_MISTAKE(espalier({"plan", "espalier-fashion-cnn", "--context", "10"}), "expected a language model, found a model of images");
}

}  // namespace
}  // namespace espalier
