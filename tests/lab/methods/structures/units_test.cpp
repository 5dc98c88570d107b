// Heads and neurons: which units go, how many, and what is reported.
#include <gtest/gtest.h>

#include "espalier/structure/mask.h"
#include "espalier/lab/tensor_bridge.h"
#include "tests/lab/methods/structures/tiny_trial.h"

namespace espalier::test {
namespace {

const Json& entry_of(const Json& removed, const std::string& node) {
  for (const auto& entry : removed)
    if (entry.at("node") == node) return entry;
  throw std::runtime_error("nothing was removed from " + node);
}

TEST(Units, WithOneKvHeadQueryHeadsGoAndKeysAndValuesStay) {
  for (const char* id : {"03-amp", "wanda-sp", "llm-pruner"}) {
    TinyOptions tiny;
    tiny.kv_heads = 1;
    TinyTrial trial("llama", tiny);
    trial.sparsity = 0.3;
    if (std::string(id) == "03-amp") trial.options = {{"layers-worth", "1"}};
    PruneJob job = trial.job(id);
    job.method().prune(job);
    for (const auto& width : block_widths(trial.model.graph)) {
      EXPECT_EQ(width.heads, 3) << id;
      EXPECT_EQ(width.kv_heads, 1) << id;
      EXPECT_LT(width.ffn_width, 48) << id;
    }
    EXPECT_EQ(entry_of(job.removed(), "blocks.1.heads").at("unit"), "head") << id;

    const Model dense = trial.dense();
    CouplingOptions options;
    options.head_unit = HeadUnit::kQueryHead;
    const Coupling coupling = find_coupling(dense.graph, options);
    Mask mask = Mask::for_model(dense.graph, HeadUnit::kQueryHead);
    for (const auto& entry : job.removed()) {
      const CouplingGroup* group = coupling.find(entry.at("node").get<std::string>());
      std::vector<uint8_t> keep(static_cast<size_t>(group->set_count), 1);
      for (const auto& index : entry.at("indices")) keep[index.get<size_t>()] = 0;
      mask.remove_units(*group, keep);
    }
    EXPECT_LT((logits_of(apply_mask(dense.graph, mask)) - logits_of(trial.model.graph)).abs().max().item<double>(), 1e-5) << id;
  }
}

TEST(Units, ReachedIsAShareOfUnitsAndFindingsTellTheParameters) {
  for (const char* id : {"wanda-sp", "llm-pruner"}) {
    Trial trial;
    trial.sparsity = 0.25;
    const int64_t before = trial.model.graph.parameter_count();
    PruneJob job = trial.job(id);
    job.method().prune(job);
    EXPECT_DOUBLE_EQ(job.reached(), 0.25) << id;  // 1 of 4 KV groups, 96 of 384 neurons
    const double share = 1 - static_cast<double>(trial.model.graph.parameter_count()) / static_cast<double>(before);
    EXPECT_DOUBLE_EQ(job.findings().at("params_share").get<double>(), share) << id;
  }
}

TEST(Units, LlmPrunerLeavesTheEndsAlone) {
  Trial trial;
  trial.sparsity = 0.5;
  trial.options = {{"skip-first", "0.34"}, {"skip-last", "0.16"}};
  PruneJob job = trial.job("llm-pruner");
  job.method().prune(job);
  const auto widths = block_widths(trial.model.graph);
  for (size_t block : {0u, 1u, 5u}) EXPECT_EQ(widths[block].ffn_width, 384) << block;
  for (size_t block : {2u, 3u, 4u}) EXPECT_EQ(widths[block].ffn_width, 192) << block;
}

TEST(Units, LlmPrunerRefusesToSkipEverything) {
  Trial trial;
  trial.options = {{"skip-first", "0.5"}, {"skip-last", "0.5"}};
  PruneJob job = trial.job("llm-pruner");
  ESP_EXPECT_USER_ERROR(job.method().prune(job), "skip-first");
}

// Mean loss over the samples with the incoming weights of one neuron multiplied by `scale`, in fp64.
double scaled_loss(const Model& model, const TokenSequences& samples, const std::string& weight, int64_t axis, int64_t neuron, double scale) {
  at::NoGradGuard no_gradients;
  Weights weights(model.graph);
  for (const auto& parameter : model.graph.parameters()) weights.set(parameter->name(), weights.get(parameter->name()).to(at::kDouble).clone());
  weights.get(weight).select(axis, neuron).mul_(scale);
  const Interpreter interpreter(model.graph, weights);
  double sum = 0;
  for (const auto& sample : samples) {
    const at::Tensor ids = token_tensor(sample);
    const int64_t scored = ids.size(1) - 1;
    sum += at::cross_entropy_loss(interpreter.forward(ids.narrow(1, 0, scored)).flatten(0, 1), ids.narrow(1, 1, scored).flatten()).item<double>();
  }
  return sum / static_cast<double>(samples.size());
}

// |sum over a neuron's incoming weights of G W| is the derivative of the loss by a factor on those weights. GPT-2
// stores its weights transposed.
TEST(Units, LlmPrunerVectorIsTheDerivativeByAFactorOnTheRow) {
  for (const char* type : {"gpt2", "opt"}) {
    TinyTrial trial(type);
    const bool gpt2 = std::string(type) == "gpt2";
    trial.sparsity = 0.25;
    trial.options = {{"importance", "vector"}, {"samples", "2"}, {"length", "16"}};
    PruneJob job = trial.job("llm-pruner");
    const auto samples = job.windows(2, 16);
    job.method().prune(job);
    const Model dense = trial.dense();
    const auto scores = job.findings().at("scores").at("blocks.1.neurons").get<std::vector<double>>();
    std::string weight;
    for (const auto& parameter : dense.graph.parameters())
      if (parameter->name().ends_with(gpt2 ? "h.1.mlp.c_fc.weight" : "layers.1.fc1.weight")) weight = parameter->name();
    for (int64_t neuron : {0, 7, 31}) {
      const auto loss = [&](double scale) { return scaled_loss(dense, samples, weight, gpt2 ? 1 : 0, neuron, scale); };
      const double derivative = std::abs(loss(1 + 1e-4) - loss(1 - 1e-4)) / 2e-4;
      EXPECT_NEAR(scores[static_cast<size_t>(neuron)], derivative, 1e-6 + 1e-3 * derivative) << type << " " << neuron;
    }
  }
}

TEST(Amp, CriteriaTakeOppositeEnds) {
  for (const char* criterion : {"standard", "reversed"}) {
    TinyTrial trial;
    trial.options = {{"criterion", criterion}, {"layers-worth", "1"}, {"prompts", "4"}};
    PruneJob job = trial.job("amp");
    job.method().prune(job);
    auto scores = job.findings().at("scores").at("2.neurons").get<std::vector<double>>();
    ASSERT_EQ(scores.size(), 48u);
    double least = 1e300, most = 0;
    for (const auto& index : entry_of(job.removed(), "blocks.2.neurons").at("indices")) {
      double& score = scores[index.get<size_t>()];
      least = std::min(least, score);
      most = std::max(most, score);
      score = -1;
    }
    for (double kept : scores) {
      if (kept < 0) continue;
      EXPECT_TRUE(std::string(criterion) == "standard" ? kept >= most : kept <= least) << criterion << " " << kept;
    }
  }
}

TEST(Amp, ScopeLimitsWhatIsCut) {
  for (const char* scope : {"heads", "mlp"}) {
    TinyTrial trial;
    trial.options = {{"scope", scope}, {"layers-worth", "2"}, {"prompts", "2"}};
    PruneJob job = trial.job("amp");
    job.method().prune(job);
    const bool heads = std::string(scope) == "heads";
    for (const auto& width : block_widths(trial.model.graph)) {
      EXPECT_EQ(width.heads, heads ? 2 : 4);
      EXPECT_EQ(width.ffn_width == 48, heads);
    }
  }
}

TEST(Amp, RandomDependsOnTheSeedOnly) {
  Json removed[3];
  for (int i = 0; i < 3; ++i) {
    TinyTrial trial;
    trial.seed = i == 2 ? 5 : 4;
    trial.options = {{"criterion", "random"}, {"layers-worth", "1"}, {"prompts", "2"}};
    PruneJob job = trial.job("amp");
    job.method().prune(job);
    removed[i] = job.removed();
  }
  EXPECT_EQ(removed[0], removed[1]);
  EXPECT_NE(removed[0], removed[2]);
}

TEST(Amp, WrongOptionsAreNamed) {
  const std::pair<std::string, std::string> wrong[] = {{"criterion", "best"}, {"scope", "all"}, {"prompt-order", "last"}, {"layers-worth", "0"},
                                                       {"layers-worth", "99"}, {"prompts", "0"}};
  for (const auto& [option, value] : wrong) {
    TinyTrial trial;
    trial.options = {{option, value}};
    PruneJob job = trial.job("amp");
    ESP_EXPECT_USER_ERROR(job.method().prune(job), value == "99" ? "ratio" : option);
    EXPECT_EQ(trial.model.graph.parameter_count(), trial.dense().graph.parameter_count()) << option;
  }
}

TEST(ShortGpt, ProtectedBlocksStay) {
  Trial trial;
  trial.sparsity = 0.84;  // 5 of 6
  trial.protect = {"*layers.3.*"};
  const at::Tensor kept = to_torch(trial.model.graph.parameter("model.layers.3.mlp.up_proj.weight").load()).clone();
  PruneJob job = trial.job("shortgpt");
  job.method().prune(job);
  ASSERT_EQ(trial.model.graph.block_count, 1);
  EXPECT_TRUE(at::equal(kept, to_torch(trial.model.graph.parameter("model.layers.0.mlp.up_proj.weight").load())));
  EXPECT_DOUBLE_EQ(job.reached(), 5.0 / 6);
}

TEST(ShortGpt, RefusesWhenTooManyAreProtected) {
  Trial trial;
  trial.sparsity = 0.84;
  trial.protect = {"*layers.3.*", "*layers.4.*"};
  PruneJob job = trial.job("shortgpt");
  ESP_EXPECT_USER_ERROR(job.method().prune(job), "at most 4");
}

}  // namespace
}  // namespace espalier::test
