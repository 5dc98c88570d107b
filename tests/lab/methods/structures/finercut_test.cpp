// FinerCut's search: exactness of the prefix cache, resuming, loading, the protected front, errors.
#include <gtest/gtest.h>

#include "espalier/core/file.h"
#include "espalier/lab/measure/distance.h"
#include "tests/lab/methods/structures/tiny_trial.h"

namespace espalier::test {
namespace {

using Options = std::map<std::string, std::string>;

Options small(Options more) {
  Options options = {{"sequences", "3"}, {"length", "12"}, {"remove", "3"}};
  for (const auto& [name, value] : more) options[name] = value;
  return options;
}

Json findings_on_tiny(Options options) {
  TinyTrial trial;
  trial.options = small(std::move(options));
  PruneJob job = trial.job("finercut");
  job.method().prune(job);
  return job.findings();
}

TEST(FinerCut, CacheIsExactForEveryMetric) {
  for (const char* metric : {"js", "js-code", "kl", "angular", "norm", "perplexity"}) {
    const Json with = findings_on_tiny({{"metric", metric}, {"prefix-cache", "true"}});
    const Json without = findings_on_tiny({{"metric", metric}, {"prefix-cache", "false"}});
    EXPECT_EQ(with.at("ranking"), without.at("ranking")) << metric;
    EXPECT_EQ(with.at("evaluations"), 6 + 5 + 4) << metric;
    EXPECT_EQ(without.at("evaluations"), 6 + 5 + 4) << metric;
  }
}

// One sequence is never abandoned early, so that only the cache makes a difference. A candidate costs (N + 1) / 2 blocks
// instead of N on average, and an acceptance up to N - 1.
TEST(FinerCut, CacheSavesFourTenthsOfTheBlockEvaluations) {
  int64_t blocks[2];
  for (int cached = 0; cached < 2; ++cached) {
    TinyOptions tiny;
    tiny.layers = 12;
    TinyTrial trial("llama", tiny);
    trial.options = {{"prefix-cache", cached ? "true" : "false"}, {"sequences", "1"}, {"length", "12"}, {"remove", "6"}};
    PruneJob job = trial.job("finercut");
    job.method().prune(job);
    blocks[cached] = job.findings().at("block_evaluations").get<int64_t>();
  }
  EXPECT_EQ(blocks[0], 12 * (1 + 24 + 23 + 22 + 21 + 20 + 19));
  EXPECT_LE(static_cast<double>(blocks[1]), 0.6 * static_cast<double>(blocks[0])) << blocks[1] << " of " << blocks[0];
}

// The stated distance against one measured on the cut model.
TEST(FinerCut, FinalDistanceIsThatOfTheCutModel) {
  for (const char* search : {"greedy", "one-shot", "random"}) {
    TinyTrial trial;
    trial.options = small({{"search", search}});
    PruneJob job = trial.job("finercut");
    const auto prompts = job.prompts(3, false, 12);
    job.method().prune(job);
    at::NoGradGuard no_gradients;
    const Model dense = trial.dense();
    Weights dense_weights(dense.graph), cut_weights(trial.model.graph);
    Distance sum(Metric::kJs);
    for (const auto& prompt : prompts) {
      const at::Tensor ids = token_tensor(prompt);
      sum.add(Interpreter(dense.graph, dense_weights).forward(ids)[0], Interpreter(trial.model.graph, cut_weights).forward(ids)[0]);
    }
    EXPECT_NEAR(job.findings().at("final_distance").get<double>(), sum.value(), 1e-9) << search;
  }
}

TEST(FinerCut, ResumedSearchEqualsAnUninterruptedOne) {
  const Json whole = findings_on_tiny({{"remove", "4"}});
  TempDir dir;
  const Json fingerprint = {{"run", 1}};
  {
    TinyTrial trial;
    RunDirectory run(dir / "out", fingerprint, {});
    trial.run = &run;
    trial.options = small({{"remove", "2"}});
    PruneJob job = trial.job("finercut");
    job.method().prune(job);
  }
  TinyTrial trial;
  RunDirectory run(dir / "out", fingerprint, {.resume = true});
  trial.run = &run;
  trial.options = small({{"remove", "4"}});
  PruneJob job = trial.job("finercut");
  job.method().prune(job);
  EXPECT_EQ(job.findings().at("ranking"), whole.at("ranking"));
  EXPECT_EQ(job.findings().at("map"), whole.at("map"));
  EXPECT_EQ(job.findings().at("evaluations"), whole.at("evaluations"));
  EXPECT_LT(job.findings().at("block_evaluations"), whole.at("block_evaluations"));  // the first two steps were not run again
}

TEST(FinerCut, LoadedRankingRepeatsTheSearch) {
  const Json found = findings_on_tiny({});
  TempDir dir;
  const Json forms[] = {found.at("ranking"), found, Json::array({{{"method", "26-finercut"}, {"findings", found}}})};
  for (const Json& form : forms) {
    write_file_atomically(dir / "ranking.json", form.dump());
    const Json loaded = findings_on_tiny({{"search", "load"}, {"ranking", (dir / "ranking.json").string()}});
    EXPECT_EQ(loaded.at("ranking"), found.at("ranking"));
  }
  write_file_atomically(dir / "ranking.json", R"([{"name": "attn_9"}])");
  ESP_EXPECT_USER_ERROR(findings_on_tiny({{"remove", "1"}, {"search", "load"}, {"ranking", (dir / "ranking.json").string()}}), "attn_9");
  ESP_EXPECT_USER_ERROR(findings_on_tiny({{"search", "load"}}), "option ranking");
}

TEST(FinerCut, ProtectedFrontGoesLast) {
  for (bool protect_node : {false, true}) {
    Trial trial;
    // floor(0.4 * 6) + 1 = 3 blocks, until int(0.4 * 12) + 1 = 5 sub-layers are gone
    trial.options = small({{"remove", "5"}, {"protect-front", "0.4"}});
    if (protect_node) trial.protect = {"*layers.0.mlp.down_proj"};
    PruneJob job = trial.job("finercut");
    job.method().prune(job);
    for (const auto& step : job.findings().at("ranking")) {
      const std::string name = step.at("name");
      EXPECT_GE(std::stoi(name.substr(name.find('_') + 1)), 3) << name;
    }
  }
}

TEST(FinerCut, LevelsLimitTheCandidates) {
  for (const char* level : {"attn", "ffn", "block"}) {
    TinyTrial trial;
    trial.options = small({{"remove", "2"}, {"level", level}});
    PruneJob job = trial.job("finercut");
    job.method().prune(job);
    for (const auto& step : job.findings().at("ranking")) EXPECT_TRUE(step.at("name").get<std::string>().starts_with(level));
    const bool block = std::string(level) == "block";
    EXPECT_DOUBLE_EQ(job.reached(), block ? 4.0 / 6 : 2.0 / 6);
    EXPECT_EQ(trial.model.graph.block_count, block ? 1 : 3);
  }
}

TEST(FinerCut, ProtectedBranchesAreNoCandidates) {
  TinyTrial trial;
  trial.options = small({{"remove", "2"}, {"level", "attn"}});
  trial.protect = {"*layers.1.self_attn.*"};
  PruneJob job = trial.job("finercut");
  job.method().prune(job);
  for (const auto& step : job.findings().at("ranking")) EXPECT_NE(step.at("name"), "attn_1");
}

TEST(FinerCut, SequencesOfOneTokenAreAllowed) {
  EXPECT_EQ(findings_on_tiny({{"length", "1"}}).at("ranking").size(), 3u);
  ESP_EXPECT_USER_ERROR(findings_on_tiny({{"length", "1"}, {"metric", "perplexity"}}), "empty");
}

TEST(FinerCut, StopsBeforeTheDistanceIsTooLarge) {
  const Json all = findings_on_tiny({});
  const double first = all.at("ranking")[0].at("distance");
  const Json stopped = findings_on_tiny({{"max-distance", fmt::format("{:.17g}", first)}});
  EXPECT_EQ(stopped.at("stopped_by_distance"), true);
  EXPECT_EQ(stopped.at("ranking").size(), 1u);
  EXPECT_EQ(findings_on_tiny({{"max-distance", "0"}}).at("map"), "  0 AF\n  1 AF\n  2 AF\n");
}

TEST(FinerCut, WrongOptionsAreNamed) {
  ESP_EXPECT_USER_ERROR(findings_on_tiny({{"metric", "cosine"}}), "cosine");
  ESP_EXPECT_USER_ERROR(findings_on_tiny({{"search", "beam"}}), "option search");
  ESP_EXPECT_USER_ERROR(findings_on_tiny({{"level", "heads"}}), "option level");
  ESP_EXPECT_USER_ERROR(findings_on_tiny({{"output", "mask"}}), "option output");
  ESP_EXPECT_USER_ERROR(findings_on_tiny({{"protect-front", "1"}}), "protect-front");
  ESP_EXPECT_USER_ERROR(findings_on_tiny({{"remove", "7"}}), "at most the 6 candidates");
  ESP_EXPECT_USER_ERROR(findings_on_tiny({{"sequences", "0"}}), "at least 1");
}

}  // namespace
}  // namespace espalier::test
