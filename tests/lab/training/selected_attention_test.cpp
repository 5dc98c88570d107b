// Training with S2-Attention: the observer against attention under masks written down by the definition, the engine, and
// plain training.
#include "espalier/lab/training/selected_attention.h"

#include <gtest/gtest.h>

#include "espalier/engine/decoder.h"
#include "espalier/graph/ops/attention_masks.h"
#include "espalier/lab/methods/plugin_request.h"
#include "espalier/lab/methods/prune_request.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/text_task.h"
#include "espalier/lab/training/trainer.h"
#include "tests/families/tiny_models.h"
#include "tests/support.h"

namespace espalier::selected_attention_test {
namespace {

constexpr int64_t kTokens = 40, kHeads = 4, kBlock = 4, kLocal = 2, kStride = 3;  // step 1

const std::map<std::string, std::string> kShards = {{"block", "4"}, {"local_blocks", "2"}, {"vert_stride", "3"}, {"dense_period", "2"}};

Model tiny(const test::TempDir& dir) { return test::load_tiny(dir / "model", "llama", {.layers = 3}); }

at::Tensor texts() { return (at::arange(2 * kTokens) * 7).remainder(31).view({2, kTokens}); }

AttentionRequest shards() {
  AttentionRequest request;
  request.policy = "36-s2-attention", request.options = kShards;
  return request;
}

// [1, heads, tokens, tokens], 1 where a query sees a key, by the paper's formula; two query heads a KV head.
at::Tensor by_definition() {
  at::Tensor mask = at::zeros({1, kHeads, kTokens, kTokens});
  auto cells = mask.accessor<float, 4>();
  for (int64_t h = 0; h < kHeads; ++h)
    for (int64_t i = 0; i < kTokens; ++i)
      for (int64_t j = 0; j <= i; ++j)
        if (i / kBlock - j / kBlock < kLocal || (j / kBlock + h / 2) % kStride == 0) cells[0][h][i][j] = 1;
  return mask;
}

using Gradients = std::map<std::string, at::Tensor>;

Gradients gradients_of(const Graph& graph, const at::Tensor& mask, const Observer* observer, at::Tensor& logits) {
  at::AutoGradMode with_gradients(true);
  Weights weights(graph);
  const auto leaves = weights.make_trainable();
  Environment values{{graph.inputs.at(0), texts()}};
  if (graph.inputs.size() > 1) values[graph.inputs.at(1)] = mask;
  Interpreter(graph, weights).run(values, 0, static_cast<NodeId>(graph.nodes.size()), observer);
  logits = values.at(graph.outputs.at(0));
  at::cross_entropy_loss(logits.flatten(0, 1), texts().roll(-1, 1).flatten()).backward();
  Gradients gradients;
  for (const auto& [name, leaf] : leaves) gradients[name] = leaf.grad();
  return gradients;
}

// The sparse layers (the first and the last) read the mask as an input of their own.
Graph with_mask_input(const Model& model) {
  Graph graph = model.graph.clone();
  const ValueId mask = graph.add_value("mask");
  graph.inputs.push_back(mask);
  int layer = 0;
  for (Node& node : graph.nodes) {
    if (node.op != "Attention" || layer++ == 1) continue;
    node.inputs.push_back(mask);
    node.attributes["masks"] = std::vector<int64_t>{kFillWhereNot};
    node.attributes["fills"] = std::vector<double>{-1e9};
  }
  return graph;
}

TEST(SelectedAttention, GradientsAreThoseOfDenseAttentionUnderTheMask) {
  const test::TempDir dir;
  const Model model = tiny(dir);
  SelectedAttention attention(model, shards());
  EXPECT_FALSE(attention.mask(1, kTokens).defined()) << "every second layer sees everything";
  at::Tensor logits, expected_logits, dense_logits;
  const Gradients found = gradients_of(model.graph, {}, attention.observer(), logits);
  const Gradients expected = gradients_of(with_mask_input(model), by_definition(), nullptr, expected_logits);
  gradients_of(model.graph, {}, nullptr, dense_logits);
  EXPECT_LT((logits - expected_logits).abs().max().item<double>(), 1e-5);
  EXPECT_GT((logits - dense_logits).abs().max().item<double>(), 1e-3);
  for (const auto& [name, gradient] : expected) {
    const double scale = gradient.abs().max().item<double>();
    EXPECT_LT((found.at(name) - gradient).abs().max().item<double>(), 1e-5 * scale + 1e-8) << name;
  }
}

// What is trained is what the engine decodes.
TEST(SelectedAttention, IsThePolicyOfTheEngine) {
  const test::TempDir dir;
  SelectedAttention attention(tiny(dir), shards());
  const Model model = load_model(dir / "model");
  Weights weights(model.graph);
  const at::NoGradGuard no_gradients;
  const at::Tensor expected = Interpreter(model.graph, weights).forward(texts().narrow(0, 0, 1), attention.observer())[0];
  Decoder decoder(load_model(dir / "model"), {});
  const auto sequence = decoder.start(shards());
  const at::Tensor ids = texts()[0].to(at::kInt);
  at::Tensor logits = at::empty_like(expected);
  for (int64_t t = 0; t < kTokens; ++t) {
    const ForwardWork work{sequence.get(), {ids.data_ptr<int32_t>() + t, 1}, logits.data_ptr<float>() + t * logits.size(1), true};
    decoder.forward({&work, 1});
  }
  EXPECT_LT((logits - expected).abs().max().item<double>(), 1e-4);
}

struct Trained {
  Model model;
  Json findings;
  double perplexity = 0;
};

Trained train_tiny(const test::TempDir& dir, const std::map<std::string, std::string>* given, std::optional<double> sparsity = std::nullopt) {
  Trained trained{tiny(dir), {}, 0};
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < 600; ++i) tokens.push_back(i * i % 31);
  TextTask task(trained.model.graph, tokens, kTokens, 2, 0, {{tokens.begin(), tokens.begin() + kTokens}});
  TrainOptions options;
  options.steps = 6, options.optimiser = OptimiserKind::kAdamW, options.learning_rate = 3e-3;
  Plugins plugins;
  if (given) plugins.push_back(make_plugin("s2-attention", *given, sparsity, trained.model, options, options.steps, 6));
  const TrainResult result = train(trained.model.graph, task, options, plugins);
  if (given) trained.findings = plugins[0]->findings();
  for (const auto& metric : result.metrics)
    if (metric.name == "perplexity") trained.perplexity = metric.value;
  return trained;
}

double largest_difference(const Graph& a, const Graph& b) {
  double worst = 0;
  for (const auto& parameter : a.parameters()) {
    const auto x = parameter->load().to_floats(), y = b.parameter(parameter->name()).load().to_floats();
    for (size_t i = 0; i < x.size(); ++i) worst = std::max(worst, std::abs(static_cast<double>(x[i]) - y[i]));
  }
  return worst;
}

TEST(S2Training, SeeingEverythingIsPlainTraining) {
  const test::TempDir dir;
  const Trained plain = train_tiny(dir, nullptr);
  const std::map<std::string, std::string> stride_one = {{"block", "4"}, {"local_blocks", "1"}, {"vert_stride", "1"}, {"dense_period", "0"}};
  const std::map<std::string, std::string> wide_band = {{"block", "8"}, {"local_blocks", "5"}, {"dense_period", "0"}};
  for (const auto& options : {stride_one, wide_band}) {
    const Trained all = train_tiny(dir, &options);
    EXPECT_LT(largest_difference(plain.model.graph, all.model.graph), 1e-5);
    EXPECT_EQ(all.findings.at("seen_pairs"), Json({1.0, 1.0, 1.0}));
  }
}

TEST(S2Training, EvaluatesUnderThePatternAndSaysWhatIsSeen) {
  const test::TempDir dir;
  const Trained trained = train_tiny(dir, &kShards);
  EXPECT_GT(largest_difference(train_tiny(dir, nullptr).model.graph, trained.model.graph), 1e-4);
  const double share = by_definition().sum().item<double>() / static_cast<double>(kHeads * kTokens * (kTokens + 1) / 2);
  const Json& seen = trained.findings.at("seen_pairs");
  EXPECT_NEAR(seen.at(0).get<double>(), share, 1e-9);
  EXPECT_EQ(seen.at(1), 1.0);
  // Two KV heads of residues 0 and 1 of 3: one block in three is seen by none once it has left the band.
  ASSERT_EQ(trained.findings.at("notes").size(), 1u);
  EXPECT_NE(trained.findings.at("notes").at(0).get<std::string>().find("are seen by no head"), std::string::npos);
  SelectedAttention attention(trained.model, shards());
  const Quality quality = measure_quality(trained.model.graph, {[] {
    std::vector<int32_t> ids;
    for (int32_t i = 0; i < kTokens; ++i) ids.push_back(i * i % 31);
    return ids;
  }()}, kTokens, kTokens, nullptr, attention.observer());
  EXPECT_NEAR(trained.perplexity, quality.perplexity.value, 1e-9 * quality.perplexity.value);
}

TEST(S2Training, MistakesAreNamed) {
  const test::TempDir dir;
  const std::map<std::string, std::string> block = {{"block", "12"}}, both = {{"dense_layers", "0"}, {"dense_period", "3"}}, none = {};
  const std::map<std::string, std::string> unknown = {{"stride", "2"}};
  ESP_EXPECT_USER_ERROR(train_tiny(dir, &block), "a power of two");
  ESP_EXPECT_USER_ERROR(train_tiny(dir, &both), "dense_period");
  ESP_EXPECT_USER_ERROR(train_tiny(dir, &none, 0.5), "--sparsity");
  ESP_EXPECT_USER_ERROR(train_tiny(dir, &unknown), "vert_stride");
  PruneRequest prune;
  prune.steps.push_back({.method = "36"});
  ESP_EXPECT_USER_ERROR(calibration_of(prune, tiny(dir)), "use train --method 36-s2-attention and generate --policy");
}

}  // namespace
}  // namespace espalier::selected_attention_test
