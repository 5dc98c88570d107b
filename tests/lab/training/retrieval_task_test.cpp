// Training to fetch: stages, weights, and what is reported apart.
#include "espalier/lab/training/retrieval_task.h"

#include <gtest/gtest.h>

#include <cmath>

#include "espalier/engine/text_quality.h"
#include "espalier/families/family.h"
#include "espalier/lab/torch.h"
#include "tests/support.h"

namespace espalier {
namespace {

RetrievalTask staged() {
  const Model model = load_model(test::assets_dir() / "models/espalier-tiny");
  return {Tokenizer::load(model.path), tokens_of(test::assets_dir() / "data/calibration.txt", model, 20000), {{32, 4, 2}, {64, 2, 3}}, 1};
}

TEST(RetrievalTask, BatchesOfTheStagesAreTheSameHoweverTheyAreReached) {
  RetrievalTask forward = staged(), jumping = staged();
  EXPECT_EQ(forward.batches_an_epoch(), 5);
  std::vector<TrainingBatch> batches;
  for (int64_t i = 0; i < 5; ++i) batches.push_back(forward.batch(i, 0));
  EXPECT_EQ(batches[1].inputs.sizes().vec(), (std::vector<int64_t>{4, 32}));
  EXPECT_EQ(batches[2].inputs.sizes().vec(), (std::vector<int64_t>{2, 64}));
  for (const int64_t i : {4, 1, 2, 0}) {
    const TrainingBatch batch = jumping.batch(i, 0);
    EXPECT_TRUE(at::equal(batch.inputs, batches[static_cast<size_t>(i)].inputs)) << i;
    EXPECT_TRUE(at::equal(batch.weights, batches[static_cast<size_t>(i)].weights)) << i;
  }
  EXPECT_FALSE(at::equal(jumping.batch(1, 1).inputs, batches[1].inputs)) << "another order";
}

// With equal logits every token costs log V; where the right one is higher by a lot, nothing.
TEST(RetrievalTask, TheLossIsTheWeightedSum) {
  RetrievalTask task = staged();
  const TrainingBatch batch = task.batch(0, 0);
  const Graph unused;
  const double vocabulary = 5000;
  const at::Tensor equal = at::zeros({4, 32, 5000});
  EXPECT_NEAR(task.loss(unused, equal, batch).item<double>(), batch.weights.sum().item<double>() * std::log(vocabulary), 1e-4);
  const auto [none, count] = task.hits(equal, batch);
  EXPECT_GT(count, 0);
  EXPECT_NEAR(task.take_fetch_loss(), std::log(vocabulary), 1e-4);
  EXPECT_EQ(task.take_fetch_loss(), 0);
  const at::Tensor certain = equal.scatter(2, batch.targets.unsqueeze(2), 50.0);
  EXPECT_NEAR(task.loss(unused, certain, batch).item<double>(), 0, 1e-4);
  EXPECT_EQ(task.hits(certain, batch), std::pair(count, count));
}

}  // namespace
}  // namespace espalier
