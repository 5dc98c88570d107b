// Weight methods on tiny random models of other families: transposed storage, tied heads, layers outside the blocks.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "espalier/core/file.h"
#include "espalier/core/ranking.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/methods/job.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/bpe_trainer.h"
#include "tests/families/tiny_models.h"
#include "tests/support.h"

namespace espalier::test::weight_layouts_test {
namespace {

// A model of the family, a tokenizer of as many tokens, and a text.
struct TinyTrial {
  TempDir dir;
  Model model;
  JobSettings settings;
  std::filesystem::path text = dir / "text.txt";
  std::shared_ptr<const Tokenizer> tokenizer;

  explicit TinyTrial(const std::string& family, TinyOptions options = {}) {
    options.vocab = 300;
    model = load_tiny(dir / "model", family, options);
    std::string words;
    for (int i = 0; i < 400; ++i) words += fmt::format("the {} of {} goes on\n", i * 7919 % 1000, i * 104729 % 977);
    write_file_atomically(text, words);
    write_tokenizer(train_bpe(words, 300), dir / "model");
    tokenizer = Tokenizer::load(dir / "model");
    settings.sparsity = 0.5;
  }
  PruneJob job(const std::string& id) {
    settings.of = "params";
    return PruneJob(find_method(id), model, {text, tokenizer, 4, 32}, settings, nullptr, 0);
  }
};

const Node& node_of(const Graph& graph, const std::string& parameter) {
  for (const auto& node : graph.nodes)
    if (auto found = node.params.find("weight"); found != node.params.end() && found->second == parameter) return node;
  throw std::runtime_error("no node reads " + parameter);
}

// Kept flags [out, in] of a Linear, whatever its layout.
std::vector<std::vector<bool>> kept(const PruneJob& job, const std::string& parameter) {
  const WeightMask& mask = job.masks().at(parameter);
  const bool transposed = node_of(job.graph(), parameter).flag_or("transposed", false);
  const int64_t out = mask.shape[transposed ? 1 : 0], in = mask.shape[transposed ? 0 : 1];
  std::vector<std::vector<bool>> rows(static_cast<size_t>(out), std::vector<bool>(static_cast<size_t>(in)));
  for (int64_t o = 0; o < out; ++o)
    for (int64_t i = 0; i < in; ++i)
      rows[static_cast<size_t>(o)][static_cast<size_t>(i)] = mask.keeps(transposed ? i * out + o : o * in + i);
  return rows;
}

TEST(WeightLayouts, Gpt2RowsAreOutputsAlthoughStoredAsColumns) {
  for (const char* id : {"wanda", "magnitude", "random"}) {
    TinyTrial trial("gpt2");
    trial.settings.options["scope"] = "row";
    trial.settings.sparsity = 0.3;
    PruneJob job = trial.job(id);
    job.method().prune(job);
    ASSERT_EQ(job.masks().size(), 12u);
    for (const auto& [name, mask] : job.masks())
      for (const auto& row : kept(job, name))
        ASSERT_EQ(std::count(row.begin(), row.end(), false), removal_count(0.3, static_cast<int64_t>(row.size())))
            << id << " " << name;
  }
}

TEST(WeightLayouts, Gpt2GroupsOfFourLieAlongTheInputs) {
  for (const char* id : {"wanda", "sparsegpt", "magnitude", "random"}) {
    TinyTrial trial("gpt2");
    trial.settings.pattern = NOfM{2, 4};
    PruneJob job = trial.job(id);
    job.method().prune(job);
    EXPECT_DOUBLE_EQ(job.reached(), 0.5);
    for (const auto& [name, mask] : job.masks())
      for (const auto& row : kept(job, name))
        for (size_t i = 0; i < row.size(); i += 4)
          ASSERT_EQ(row[i] + row[i + 1] + row[i + 2] + row[i + 3], 2) << id << " " << name;
  }
}

TEST(WeightLayouts, APatternThatDoesNotDivideTheInputsIsRefused) {
  TinyTrial trial("llama", {.ffn = 50});
  trial.settings.pattern = NOfM{2, 4};
  PruneJob job = trial.job("magnitude");
  ESP_EXPECT_USER_ERROR(job.method().prune(job), "down_proj");
}

// The interpreter's own activations of block 1 with block 0 pruned decide what Wanda removes there.
TEST(WeightLayouts, WandaFollowsThePrunedBlocksActivations) {
  TinyTrial trial("llama");
  PruneJob job = trial.job("wanda");
  const auto windows = job.windows();
  const Model dense = load_model(trial.dir / "model");
  job.method().prune(job);

  Model half = load_model(trial.dir / "model");  // block 0 pruned, the rest dense
  for (const auto& [name, mask] : job.masks())
    if (name.starts_with("model.layers.0."))
      half.graph.parameter(name).assign(trial.model.graph.parameter(name).load());
  const std::string down = "model.layers.1.mlp.down_proj.weight";
  std::vector<double> squares(48, 0.0);
  Observer observer;
  observer.before = [&](NodeId, const Node& node, std::vector<at::Tensor>& inputs) {
    const auto found = node.params.find("weight");
    if (found == node.params.end() || found->second != down) return;
    const at::Tensor x = inputs[0].reshape({-1, 48}).contiguous();
    for (int64_t t = 0; t < x.size(0); ++t)
      for (int64_t j = 0; j < 48; ++j)
        squares[static_cast<size_t>(j)] += std::pow(static_cast<double>(x.data_ptr<float>()[t * 48 + j]), 2);
  };
  at::NoGradGuard no_gradients;
  BlockStream stream(half.graph, windows);
  while (!stream.done()) stream.advance(&observer);

  const auto values = dense.graph.parameter(down).load().to_floats();
  const auto rows = kept(job, down);
  for (size_t o = 0; o < rows.size(); ++o) {
    std::vector<size_t> order(48);
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      return std::fabs(values[o * 48 + a]) * std::sqrt(squares[a]) <
             std::fabs(values[o * 48 + b]) * std::sqrt(squares[b]);
    });
    for (size_t rank = 0; rank < 48; ++rank)
      ASSERT_EQ(rows[o][order[rank]], rank >= 24) << "row " << o << " rank " << rank;
  }
}

// Every removed magnitude is at most every kept one, over all prunable tensors, and the counts are exact.
void expect_global_ranking(const PruneJob& job, const Model& dense, double sparsity) {
  float largest_removed = 0, smallest_kept = 1e30f;
  int64_t removed = 0, total = 0;
  for (const auto& [name, mask] : job.masks()) {
    const auto values = dense.graph.parameter(name).load().to_floats();
    const auto pruned = job.graph().parameter(name).load().to_floats();
    for (int64_t i = 0; i < mask.count(); ++i) {
      const auto at = static_cast<size_t>(i);
      if (mask.keeps(i)) smallest_kept = std::min(smallest_kept, std::fabs(values[at]));
      if (!mask.keeps(i)) largest_removed = std::max(largest_removed, std::fabs(values[at]));
      ASSERT_EQ(pruned[at], mask.keeps(i) ? values[at] : 0.0f) << name;
    }
    removed += mask.removed();
    total += mask.count();
  }
  EXPECT_LE(largest_removed, smallest_kept);
  EXPECT_EQ(removed, removal_count(sparsity, total));
}

TEST(GlobalMp, RanksLayersBeforeAndBehindTheBlocks) {
  TinyTrial trial("opt", {.embed = 16});  // project_in, project_out; the head is tied
  trial.settings.sparsity = 0.6;
  const Model dense = load_model(trial.dir / "model");
  PruneJob job = trial.job("24-global-mp");
  job.method().prune(job);
  EXPECT_TRUE(job.masks().count("model.decoder.project_in.weight"));
  EXPECT_TRUE(job.masks().count("model.decoder.project_out.weight"));
  EXPECT_FALSE(job.masks().count("model.decoder.embed_tokens.weight"));
  ASSERT_EQ(job.masks().size(), job.findings().at("layers").size());
  expect_global_ranking(job, dense, 0.6);
}

TEST(GlobalMp, TheHeadIsPrunedUnlessItIsTheEmbedding) {
  for (bool tied : {false, true}) {
    TinyTrial trial("llama", {.tied = tied});
    const Model dense = load_model(trial.dir / "model");
    PruneJob job = trial.job("24-global-mp");
    job.method().prune(job);
    EXPECT_EQ(job.masks().count("lm_head.weight"), tied ? 0u : 1u);
    EXPECT_EQ(job.masks().count("model.embed_tokens.weight"), 0u);
    expect_global_ranking(job, dense, 0.5);
  }
}

TEST(GlobalMp, MagnitudeWithGlobalScopeRanksTheBlocksOnly) {
  TinyTrial trial("gpt2");
  trial.settings.options["scope"] = "global";
  const Model dense = load_model(trial.dir / "model");
  PruneJob job = trial.job("magnitude");
  job.method().prune(job);
  EXPECT_EQ(job.masks().size(), 12u);
  expect_global_ranking(job, dense, 0.5);
}

// One layer a thousand times smaller is emptied; either rule for the minimum keeps something in it.
TEST(GlobalMp, AMinimumKeepsALayerAlive) {
  const std::string small = "model.layers.1.self_attn.o_proj.weight";
  for (const char* rule : {"", "exact", "rescale"}) {
    TinyTrial trial("llama");
    auto& parameter = trial.model.graph.parameter(small);
    auto values = parameter.load().to_floats();
    for (auto& value : values) value *= 1e-3f;
    parameter.assign(Tensor::from_floats(parameter.shape(), values));
    trial.settings.sparsity = 0.8;
    if (*rule) trial.settings.options = {{"min_keep", "40"}, {"mt_rule", rule}};
    PruneJob job = trial.job("24-global-mp");
    job.method().prune(job);
    const auto& mask = job.masks().at(small);
    EXPECT_EQ(mask.count() - mask.removed(), *rule ? 40 : 0) << rule;
    EXPECT_NEAR(job.reached(), 0.8, 0.001) << rule;
  }
}

TEST(GlobalMp, IncludeAndExcludeChooseLayers) {
  TinyTrial trial("llama");
  trial.settings.options = {{"include", "*mlp*"}, {"exclude", "*layers.2.*"}};
  PruneJob job = trial.job("24-global-mp");
  job.method().prune(job);
  EXPECT_EQ(job.masks().size(), 6u);
  trial.settings.options = {{"include", "*nothing*"}};
  PruneJob none = trial.job("24-global-mp");
  ESP_EXPECT_USER_ERROR(none.method().prune(none), "no tensor can be pruned");
}

TEST(GlobalMp, WrongRequestsAreNamed) {
  const std::vector<std::pair<std::map<std::string, std::string>, const char*>> cases = {
      {{{"schedule", "cubic"}}, "option schedule: expected oneshot"},
      {{{"mt_rule", "loose"}}, "option mt_rule: expected exact or rescale"},
      {{{"min_keep", "-1"}}, "option min_keep: expected at least 0"},
      {{{"min_keep", "100000"}}, "min_keep"},
      {{{"min_keep_percent", "-0.1"}}, "min_keep_percent"},
      {{{"min_keep", "3"}, {"min_keep_percent", "0.1"}}, "not both"},
      {{{"min_kept", "3"}}, "unknown option 'min_kept'"}};
  for (const auto& [options, fragment] : cases) {
    TinyTrial trial("llama");
    trial.settings.options = options;
    const auto attempt = [&] {
      PruneJob job = trial.job("24-global-mp");
      job.method().prune(job);
    };
    ESP_EXPECT_USER_ERROR(attempt(), fragment);
  }
  TinyTrial trial("llama");
  trial.settings.options["scope"] = "matrix";
  PruneJob job = trial.job("magnitude");
  ESP_EXPECT_USER_ERROR(job.method().prune(job), "expected one of layer, row, global");
}

}  // namespace
}  // namespace espalier::test::weight_layouts_test
