// generate, bench and eval on the engine, as a user runs them.
#include <gtest/gtest.h>

#include "espalier/core/json.h"
#include "espalier/engine/simd.h"
#include "tests/cli/run_program.h"

namespace espalier::test {
namespace {

// A variable of the environment for as long as this lives.
struct Environment {
  Environment(const char* name, const std::string& value) : name_(name) { ::setenv(name, value.c_str(), 1); }
  ~Environment() { ::unsetenv(name_); }
  const char* name_;
};

Json generated(std::vector<std::string> options, const std::string& model = kModel) {
  std::vector<std::string> arguments = {"generate", model, "-p", "It was a", "-n", "24", "--json"};
  arguments.insert(arguments.end(), options.begin(), options.end());
  return json_of(espalier(std::move(arguments)));
}

TEST(Engine, GenerateNeedsNoLaboratory) {
  const Environment no_lab("ESPALIER_LAB", "/nonexistent/lab.so");
  const Json result = generated({});
  EXPECT_EQ(result.at("tokens"), 24);
  EXPECT_GT(result.at("text").get<std::string>().size(), 24u);
  EXPECT_EQ(json_of(espalier({"bench", kModel, "--context", "16", "--tokens", "4", "--rounds", "1", "--json"})).at("policy"), "dense");
  EXPECT_EQ(json_of(espalier({"bench", kModel, "--tokens", "16", "--rounds", "1", "--json"})).at("context"), 240);  // made for 256
}

TEST(Engine, EverySimdLevelAndThreadCountWritesTheSameText) {
  const std::string text = generated({"--dtype", "fp32"}).at("text");
  for (SimdLevel level : machine_simd_levels()) {
    const Environment forced("ESPALIER_SIMD", name_of(level));
    for (const char* threads : {"1", "2"}) EXPECT_EQ(generated({"--dtype", "fp32", "--threads", threads}).at("text"), text) << name_of(level) << threads;
  }
  const Environment unknown("ESPALIER_SIMD", "mmx");
  ESP_EXPECT_MISTAKE(espalier({"generate", kModel, "-p", "x"}), "ESPALIER_SIMD");
}

TEST(Engine, SamplingFollowsItsSeedAndStopsWhereItIsTold) {
  const auto text = [](const char* seed) { return generated({"--temperature", "1", "--top-k", "50", "--top-p", "0.95", "--min-p", "0.01", "--seed", seed}).at("text"); };
  EXPECT_EQ(text("3"), text("3"));
  EXPECT_NE(text("3"), text("4"));
  const std::string whole = generated({}).at("text");
  const std::string stop = whole.substr(8, 3);
  const Json stopped = generated({"--stop", stop});
  EXPECT_EQ(stopped.at("text"), whole.substr(0, whole.find(stop)));
  EXPECT_EQ(stopped.at("finish"), "stop");
}

TEST(Engine, ThePromptMayComeFromAFile) {
  TempDir dir;
  write_file_atomically(dir / "prompt.txt", "It was a");
  const Json file = json_of(espalier({"generate", kModel, "--prompt-file", (dir / "prompt.txt").string(), "-n", "24", "--json"}));
  EXPECT_EQ(file.at("text"), generated({}).at("text"));
  const auto piped = run_command({"sh", "-c", "printf 'It was a' | " + program_path() + " generate espalier-tiny --prompt-file - -n 24 --json"});
  EXPECT_EQ(json_of(piped).at("text"), generated({}).at("text"));
  ESP_EXPECT_MISTAKE(espalier({"generate", kModel, "-p", "x", "--system", "y"}), "--chat");
  ESP_EXPECT_MISTAKE(espalier({"generate", kModel, "-p", "x", "--chat"}), "no chat template");
  ESP_EXPECT_MISTAKE(espalier({"generate", kModel, "-p", "x", "--int8-group", "48", "--dtype", "int8"}), "--int8-group: expected 0, 32, 64 or 128, found 48");
}

// What every method leaves behind runs as it is, and what it removed is not read.
TEST(Engine, WhatPruneWritesGenerateRuns) {
  TempDir dir;
  struct Case {
    std::string name;
    std::vector<std::string> options;
    std::string form;  // of most weights; empty: dense
  };
  const std::vector<Case> cases = {
      {"finercut", {"--method", "finercut", "--sparsity", "0.25"}, ""},
      {"amp", {"--method", "amp", "--sparsity", "0.2", "--set", "prompts=8"}, ""},
      {"wanda24", {"--method", "wanda", "--sparsity", "0.5", "--pattern", "2:4"}, "2:4"},
      {"blocks", {"--method", "magnitude", "--sparsity", "0.7", "--pattern", "block:1x16"}, "block:1x16"},
      {"bitmap", {"--method", "magnitude", "--sparsity", "0.7", "--pack", "bitmap"}, "bitmap"},
  };
  const auto bytes = json_of(espalier({"bench", kModel, "--context", "8", "--tokens", "2", "--rounds", "1", "--json"})).at("weight_bytes").get<uint64_t>();
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const std::string out = (dir / c.name).string();
    std::vector<std::string> arguments = {"prune", kModel, "-o", out, "--samples", "8"};
    arguments.insert(arguments.end(), c.options.begin(), c.options.end());
    const ProgramEnd pruned = espalier(arguments);
    ASSERT_EQ(pruned.exit_code, 0) << pruned.err;
    EXPECT_EQ(generated({}, out).at("tokens"), 24);
    const Json bench = json_of(espalier({"bench", out, "--against", kModel, "--context", "8", "--tokens", "2", "--rounds", "1", "--json"}));
    EXPECT_LT(bench.at("weight_bytes").get<uint64_t>(), bytes);
    EXPECT_LT(bench.at("ratio").at("bytes_per_token").get<double>(), 1);
    if (c.form.empty()) continue;
    std::string forms;
    for (const Json& form : bench.at("forms")) forms += form.at("form").get<std::string>() + " ";
    EXPECT_NE(forms.find(c.form), std::string::npos) << forms;
  }
}

TEST(Engine, EvalUnderDenseAttentionIsTheLaboratorysPerplexity) {
  const Json engine = json_of(espalier({"eval", kModel, "--limit", "1500", "--policy", "dense", "--json"}));
  const Json laboratory = json_of(espalier({"eval", kModel, "--limit", "1500", "--json"}));
  EXPECT_EQ(engine.at("tokens"), laboratory.at("tokens"));
  EXPECT_NEAR(engine.at("value").get<double>(), laboratory.at("value").get<double>(), 1e-3 * laboratory.at("value").get<double>());
  EXPECT_NEAR(engine.at("ci95")[0].get<double>(), laboratory.at("ci95")[0].get<double>(), 1e-2 * laboratory.at("value").get<double>());
}

TEST(Engine, PoliciesReadFewerKeys) {
  const auto under = [](std::vector<std::string> options) {
    std::vector<std::string> arguments = {"eval", kModel, "--limit", "1500", "--json"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    return json_of(espalier(arguments));
  };
  const Json dense = under({"--policy", "dense"}), streaming = under({"--policy", "streaming", "--set", "sink=4", "--set", "window=32"});
  EXPECT_LT(streaming.at("counters").at("keys_attended").get<uint64_t>(), dense.at("counters").at("keys_attended").get<uint64_t>());
  EXPECT_GT(streaming.at("value").get<double>(), dense.at("value").get<double>());
  // A system answers to its id, its number and its word, and its options fit all windows, a shorter last one too.
  const Json hip = under({"--policy", "hip", "--set", "budget=32", "--set", "window=32", "--set", "dense_layers=0"});
  EXPECT_GT(hip.at("counters").at("keys_scored"), 0);
  EXPECT_LT(hip.at("counters").at("keys_attended"), dense.at("counters").at("keys_attended"));
  const Json shards = under({"--policy", "36", "--set", "block=16", "--set", "local_blocks=2", "--set", "vert_stride=8"});
  EXPECT_LT(shards.at("cache_bytes"), dense.at("cache_bytes"));
  EXPECT_EQ(shards.at("notes").size(), 1u) << "4 KV heads cover 4 of 8 columns";
  const Json chunks = under({"--policy", "28-longheads", "--length", "600"});
  EXPECT_LT(chunks.at("value"), 1.2 * dense.at("value").get<double>()) << "beyond the model's context";
  ESP_EXPECT_MISTAKE(espalier({"eval", kModel, "--policy", "h2o", "--set", "budget=64", "--length", "600"}), "--length");
  ESP_EXPECT_MISTAKE(espalier({"eval", kModel, "--policy", "29-hip", "--set", "budget=0"}), "budget");
  ESP_EXPECT_MISTAKE(espalier({"generate", kModel, "-p", "x", "--policy", "nonsense"}), "nonsense");
  ESP_EXPECT_MISTAKE(espalier({"eval", kModel, "--policy", "streaming", "--set", "window=-1"}), "window");
}

TEST(Engine, TheNeedleTestCountsItsCells) {
  const Json result = json_of(espalier({"eval", kModel, "--metric", "needle", "--length", "96", "--limit", "2", "--json"}));
  EXPECT_EQ(result.at("trials"), 10);  // five depths, twice
  EXPECT_EQ(result.at("cells").size(), 5u);
  EXPECT_GE(result.at("value").get<double>(), 0);
  EXPECT_LE(result.at("value").get<double>(), 1);
  const ProgramEnd table = espalier({"eval", kModel, "--metric", "needle", "--length", "128", "--limit", "1", "--depths", "3", "--needles", "2"});
  ASSERT_EQ(table.exit_code, 0) << table.err;
  EXPECT_NE(table.out.find("128 tokens"), std::string::npos) << table.out;
  EXPECT_NE(table.out.find("every needle found"), std::string::npos) << table.out;
  ESP_EXPECT_MISTAKE(espalier({"eval", kModel, "--metric", "needle", "--length", "32"}), "--length");
  ESP_EXPECT_MISTAKE(espalier({"eval", kModel, "--needles", "2"}), "--metric needle");
  ESP_EXPECT_MISTAKE(espalier({"eval", kModel, "--metric", "needle", "--needles", "0"}), "--needles");
}

TEST(Engine, ResidentMemoryIsWeightsCacheAndALittle) {
  TempDir dir;
  const Json result = json_of(run_command({"sh", "-c", "exec " + program_path() + " bench espalier-tiny --context 64 --tokens 8 --rounds 1 --json"}));
  EXPECT_LT(result.at("resident_bytes").get<uint64_t>(), result.at("weight_bytes").get<uint64_t>() + result.at("cache_bytes").get<uint64_t>() + (60u << 20));
}

}  // namespace
}  // namespace espalier::test
