#include <gtest/gtest.h>

#include <set>

#include "espalier/engine/attention/policy.h"
#include "espalier/lab/criteria/amp_scores.h"
#include "espalier/structure/mask.h"
#include "tests/lab/methods/embedded.h"

namespace espalier::test {
namespace {

// The mask that the job's own notes describe.
Mask mask_of(const PruneJob& job, const Graph& dense) {
  const Coupling coupling = find_coupling(dense);
  Mask mask = Mask::for_model(dense);
  for (const auto& entry : job.removed()) {
    const CouplingGroup* group = coupling.find(entry.at("node").get<std::string>());
    std::vector<uint8_t> keep(static_cast<size_t>(group->set_count), 1);
    for (const auto& index : entry.at("indices")) keep[index.get<size_t>()] = 0;
    mask.remove_units(*group, keep);
  }
  return mask;
}

TEST(StructureMethods, CutModelsEqualTheirMasks) {
  for (const char* id : {"03-amp", "wanda-sp", "llm-pruner"}) {
    Trial trial;
    trial.sparsity = 0.3;
    PruneJob job = trial.job(id);
    job.method().prune(job);
    const Model dense = load_model(embedded_model());
    ASSERT_LT(trial.model.graph.parameter_count(), dense.graph.parameter_count()) << id;
    const at::Tensor masked = logits_of(apply_mask(dense.graph, mask_of(job, dense.graph)));
    EXPECT_LT((masked - logits_of(trial.model.graph)).abs().max().item<double>(), 1e-5) << id;
  }
}

TEST(StructureMethods, AmpCutsTheCountsOfThePaperInEveryBlock) {
  Trial trial;
  trial.sparsity = 0.3;
  trial.align = 1;
  PruneJob job = trial.job("amp");
  job.method().prune(job);
  const double p = job.findings().at("inner_ratio").get<double>();
  const AmpBudget budget = amp_budget(p, 4, 384);
  for (const auto& width : block_widths(trial.model.graph)) {
    EXPECT_EQ(width.kv_heads, 4 - budget.heads);
    EXPECT_EQ(width.heads, 2 * (4 - budget.heads));
    EXPECT_EQ(width.ffn_width, 384 - budget.neurons);
  }
}

TEST(StructureMethods, FinerCutIsTheSameWithAndWithoutThePrefixCache) {
  Json ranking[2];
  int64_t blocks[2];
  for (int cached = 0; cached < 2; ++cached) {
    Trial trial;
    trial.sparsity = 0.25;
    trial.options = {{"prefix-cache", cached ? "true" : "false"}, {"sequences", "2"}, {"length", "24"}};
    PruneJob job = trial.job("finercut");
    job.method().prune(job);
    ranking[cached] = job.findings().at("ranking");
    blocks[cached] = job.findings().at("block_evaluations").get<int64_t>();
    EXPECT_EQ(find_sublayers(trial.model.graph).size(), 9u);
  }
  EXPECT_EQ(ranking[0], ranking[1]);
  EXPECT_LT(blocks[1], blocks[0]);
}

TEST(StructureMethods, FinerCutCutEqualsZeroedOut) {
  at::Tensor logits[2];
  for (int zero = 0; zero < 2; ++zero) {
    Trial trial;
    trial.sparsity = 0.25;
    trial.options = {{"output", zero ? "zero-out" : "cut"}, {"search", "random"}, {"sequences", "2"}};
    PruneJob job = trial.job("finercut");
    job.method().prune(job);
    logits[zero] = logits_of(trial.model.graph);
  }
  EXPECT_LT((logits[0] - logits[1]).abs().max().item<double>(), 1e-5);
}

TEST(StructureMethods, FinerCutRefusesMoreThanThereIs) {
  Trial trial;
  trial.options = {{"remove", "13"}};
  PruneJob job = trial.job("finercut");
  ESP_EXPECT_USER_ERROR(job.method().prune(job), "at most the 12 candidates");
}

TEST(StructureMethods, ShortGptRemovesWholeBlocks) {
  Trial trial;
  trial.sparsity = 0.34;
  PruneJob job = trial.job("shortgpt");
  job.method().prune(job);
  EXPECT_EQ(trial.model.graph.block_count, 4);
  EXPECT_EQ(trial.model.graph.nodes_of_block(3).empty(), false);
}

// Its blocks follow from the seed alone, so no text is read.
TEST(StructureMethods, ShortGptRandomNeedsNoForward) {
  std::set<Json> removed;
  for (uint64_t seed = 0; seed < 6; ++seed) {
    Trial trial;
    trial.sparsity = 0.34;
    trial.seed = seed;
    trial.samples = 0;  // windows() would refuse
    trial.options = {{"order", "random"}};
    PruneJob job = trial.job("shortgpt");
    job.method().prune(job);
    EXPECT_EQ(trial.model.graph.block_count, 4);
    EXPECT_FALSE(job.findings().contains("block_influence"));
    removed.insert(job.findings().at("removed"));
  }
  EXPECT_GT(removed.size(), 2u);
}

TEST(Catalogue, ListsAllSystemsAndTheBaselines) {
  const Json list = catalogue();
  std::map<std::string, int64_t> count;
  for (const auto& entry : list) count[entry.at("status")] += 1;
  // S2-Attention is a method to train with and a policy to run with: one entry.
  std::set<std::string> ids;
  for (const auto* method : registered_methods()) ids.insert(method->id);
  for (const auto* policy : registered_policies()) ids.insert(policy->id);
  EXPECT_EQ(count["works"] + count["runs"], static_cast<int64_t>(ids.size()));
  EXPECT_EQ(count["planned"], 44 - std::count_if(ids.begin(), ids.end(), [](const auto& id) { return std::isdigit(static_cast<unsigned char>(id[0])) != 0; }));
  EXPECT_EQ(catalogue_entry("24").at("status"), "works");
  EXPECT_EQ(catalogue_entry("amp").at("id"), "03-amp");
}

}  // namespace
}  // namespace espalier::test
