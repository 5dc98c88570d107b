// Batch norm statistics against PyTorch's momentum=None.
#include "espalier/lab/repair/batch_norm.h"

#include <gtest/gtest.h>

#include "espalier/core/json.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/measure/images.h"
#include "espalier/lab/torch.h"
#include "tests/lab/training/small_classifier.h"
#include "tests/support.h"

namespace espalier {
namespace {

using test::small_classifier;

std::vector<at::Tensor> batches() {
  std::vector<at::Tensor> result;
  for (const std::vector<int64_t>& indices : {std::vector<int64_t>{0, 1, 2}, {3, 4}, {5, 6, 7}})
    result.push_back(image_batch(test::eight_pictures(), indices, test::small_input()).pixels);
  return result;
}

TEST(ReestimateBatchNorm, IsPyTorchsCumulativeAverage) {
  Graph graph = small_classifier();
  reestimate_batch_norm(graph, batches());
  const Json wanted = read_json(std::filesystem::path(ESPALIER_SOURCE_DIR) / "tests/lab/data/classifier_training.json")
                          .at("reestimated");
  for (const auto& [name, values] : wanted.items()) {
    const auto found = graph.parameter(name).load().to_floats();
    for (size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], values[i].get<double>(), 1e-5) << name << " " << i;
  }
}

TEST(ReestimateBatchNorm, WhatWasThereBeforePlaysNoPart) {
  Graph graph = small_classifier(), other = small_classifier();
  other.parameter("c1.bn.mean").assign(Tensor::from_floats({4}, std::vector<float>(4, 1e6f)));
  other.parameter("c2.bn.var.weight").assign(Tensor::from_floats({5}, std::vector<float>(5, 1e6f)));
  reestimate_batch_norm(graph, batches());
  reestimate_batch_norm(other, batches());
  for (const char* name : {"c1.bn.mean", "c1.bn.var.weight", "c2.bn.mean", "c2.bn.var.weight"})
    EXPECT_EQ(graph.parameter(name).load().to_floats(), other.parameter(name).load().to_floats()) << name;
}

TEST(ReestimateBatchNorm, MistakesAreNamed) {
  Graph graph = small_classifier();
  ESP_EXPECT_USER_ERROR(reestimate_batch_norm(graph, {}), "no pictures to take statistics of");
  std::vector<at::Tensor> bad = batches();
  bad[1][0][0][0][0] = NAN;
  ESP_EXPECT_USER_ERROR(reestimate_batch_norm(graph, bad), "c1.bn.mean is not finite");
  test::Network plain = test::grouped_network();
  EXPECT_FALSE(has_batch_statistics(plain.graph));
  EXPECT_TRUE(has_batch_statistics(graph));
  ESP_EXPECT_USER_ERROR(reestimate_batch_norm(plain.graph, batches()), "no batch norms with running statistics");
}

// One picture of one value a channel has no variance.
TEST(ReestimateBatchNorm, OneValueAChannelIsAnError) {
  test::Network n;
  n.input("x", {2, 3});
  n.output(n.batch_norm("x", 3));
  n.infer();
  ESP_EXPECT_USER_ERROR(reestimate_batch_norm(n.graph, {at::ones({1, 3})}), "values a channel: expected at least 2");
  EXPECT_NO_THROW(reestimate_batch_norm(n.graph, {at::rand({2, 3})}));
}

}  // namespace
}  // namespace espalier
