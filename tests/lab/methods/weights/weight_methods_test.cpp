#include <gtest/gtest.h>

#include "espalier/core/ranking.h"
#include "tests/lab/methods/embedded.h"

namespace espalier::test {
namespace {

// Removed weights of each row of a Linear, from the stored mask.
std::vector<int64_t> removed_by_row(const PruneJob& job, const std::string& parameter) {
  const WeightMask& mask = job.masks().at(parameter);
  std::vector<int64_t> removed(static_cast<size_t>(mask.shape[0]), 0);
  for (int64_t i = 0; i < mask.count(); ++i) removed[static_cast<size_t>(i / mask.shape[1])] += !mask.keeps(i);
  return removed;
}

TEST(WeightMethods, WandaRemovesTheExactShareOfEveryRow) {
  Trial trial;
  trial.sparsity = 0.37;
  PruneJob job = trial.job("wanda");
  job.method().prune(job);
  for (const auto& node : trial.model.graph.nodes) {
    if (node.op != "Linear" || node.block >= trial.model.graph.block_count) continue;
    const std::string& name = node.params.at("weight");
    const int64_t expected = removal_count(0.37, trial.model.graph.parameter(name).shape()[1]);
    for (int64_t removed : removed_by_row(job, name)) ASSERT_EQ(removed, expected) << name;
  }
  EXPECT_NEAR(job.reached(), 0.37, 0.01);
}

TEST(WeightMethods, MasksAreWhatTheWeightsShow) {
  for (const char* id : {"wanda", "sparsegpt", "magnitude", "random", "24-global-mp"}) {
    Trial trial;
    PruneJob job = trial.job(id);
    job.method().prune(job);
    int64_t removed = 0, total = 0;
    for (const auto& [name, mask] : job.masks()) {
      const auto values = trial.model.graph.parameter(name).load().to_floats();
      for (int64_t i = 0; i < mask.count(); ++i)
        ASSERT_TRUE(mask.keeps(i) || values[static_cast<size_t>(i)] == 0.0f) << id << " " << name;
      removed += mask.removed();
      total += mask.count();
    }
    EXPECT_DOUBLE_EQ(job.reached(), static_cast<double>(removed) / static_cast<double>(total)) << id;
    EXPECT_NEAR(job.reached(), 0.5, 0.005) << id;
  }
}

TEST(WeightMethods, TwoOfFourKeepsTwoInEveryGroup) {
  for (const char* id : {"wanda", "sparsegpt", "magnitude", "random"}) {
    Trial trial;
    trial.pattern = NOfM{2, 4};
    PruneJob job = trial.job(id);
    job.method().prune(job);
    ASSERT_FALSE(job.masks().empty());
    for (const auto& [name, mask] : job.masks())
      for (int64_t i = 0; i < mask.count(); i += 4)
        ASSERT_EQ(mask.keeps(i) + mask.keeps(i + 1) + mask.keeps(i + 2) + mask.keeps(i + 3), 2) << id << " " << name << " " << i;
  }
}

TEST(WeightMethods, GlobalRankingRemovesExactlyTheShareOfAllWeights) {
  Trial trial;
  trial.sparsity = 0.3;
  trial.options = {{"min_keep", "9000"}};
  PruneJob job = trial.job("24-global-mp");
  job.method().prune(job);
  int64_t removed = 0, total = 0;
  for (const auto& [name, mask] : job.masks()) {
    removed += mask.removed();
    total += mask.count();
    EXPECT_GE(mask.count() - mask.removed(), std::min<int64_t>(9000, mask.count()));
  }
  EXPECT_EQ(removed, removal_count(0.3, total));
}

TEST(WeightMethods, ProtectedNodesStayAsTheyWere) {
  Trial trial;
  trial.protect = {"model.layers.2.*"};
  PruneJob job = trial.job("magnitude");
  job.method().prune(job);
  for (const auto& [name, mask] : job.masks()) EXPECT_EQ(name.find("model.layers.2."), std::string::npos) << name;
  EXPECT_GT(job.masks().size(), 0u);
}

TEST(WeightMethods, AnInterruptedRunEndsAtTheSameBytes) {
  for (const char* id : {"wanda", "sparsegpt"}) {
    Trial straight;
    PruneJob whole = straight.job(id);
    whole.method().prune(whole);

    TempDir dir;
    const Json fingerprint = {{"method", id}};
    {
      RunDirectory run(dir / "out", fingerprint, {});
      Trial first;
      first.run = &run;
      // Block 3's weights hold NaN, so the run fails there, with blocks 0 to 2 done.
      auto& parameter = first.model.graph.parameter("model.layers.3.mlp.gate_proj.weight");
      std::vector<float> broken(static_cast<size_t>(parameter.count()), std::numeric_limits<float>::quiet_NaN());
      parameter.assign(Tensor::from_floats(parameter.shape(), broken).to(parameter.dtype()));
      PruneJob job = first.job(id);
      EXPECT_THROW(job.method().prune(job), UserError);
    }
    RunDirectory run(dir / "out", fingerprint, {.resume = true});
    Trial second;
    second.run = &run;
    PruneJob job = second.job(id);
    ASSERT_EQ(job.load_state("blocks")->at("done"), 3);
    job.method().prune(job);
    EXPECT_TRUE(bytes_of(second.model.graph) == bytes_of(straight.model.graph)) << id;
    EXPECT_EQ(job.removed(), whole.removed()) << id;
  }
}

TEST(WeightMethods, OptionsAreChecked) {
  Trial trial;
  trial.options = {{"blok", "64"}};
  ESP_EXPECT_USER_ERROR(trial.job("sparsegpt"), "unknown option 'blok' (did you mean 'block'?)");
  trial.options = {{"block", "many"}};
  PruneJob job = trial.job("sparsegpt");
  ESP_EXPECT_USER_ERROR(job.method().prune(job), "option block: expected an integer");
  ESP_EXPECT_USER_ERROR(find_method("wandaa"), "did you mean 'wanda'");
  ESP_EXPECT_USER_ERROR(find_method("no-such-thing"), "there is no method");
  ESP_EXPECT_USER_ERROR(find_method("h2o"), "attention policy");
  const Json systems = catalogue();
  const auto planned = std::find_if(systems.begin(), systems.end(), [](const Json& entry) { return entry.at("status") == "planned"; });
  if (planned != systems.end()) ESP_EXPECT_USER_ERROR(find_method(planned->at("id")), "planned");
}

}  // namespace
}  // namespace espalier::test
