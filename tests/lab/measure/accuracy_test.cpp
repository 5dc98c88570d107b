// Accuracy against numbers worked out by hand and scikit-learn's definitions.
#include "espalier/lab/measure/accuracy.h"

#include <gtest/gtest.h>

#include <cmath>

#include "espalier/lab/measure/class_scores.h"
#include "espalier/lab/torch.h"
#include "tests/lab/training/small_classifier.h"
#include "tests/support.h"

namespace espalier {
namespace {

using test::FormulaPictures;
using List = std::vector<int64_t>;

TEST(Share, WilsonsInterval) {
  // Wilson (1927) for 8 of 10, and the ends, where the plain interval is wrong.
  const Estimate some = share(8, 10);
  EXPECT_DOUBLE_EQ(some.value, 0.8);
  EXPECT_NEAR(some.low, 0.490162, 1e-6);
  EXPECT_NEAR(some.high, 0.943318, 1e-6);
  EXPECT_EQ(share(0, 20).low, 0);
  EXPECT_NEAR(share(0, 20).high, 0.161125, 1e-6);
  EXPECT_EQ(share(20, 20).high, 1);
  ESP_EXPECT_USER_ERROR(share(0, 0), "nothing");
}

TEST(MacroFigures, UnbalancedClassesCountTheSame) {
  // Class 0: 4 pictures, 3 found; class 1: 1, found; class 2: 1, taken for 0. Class 7 has no pictures.
  const MacroFigures macro = macro_figures({0, 0, 0, 0, 1, 2}, {0, 0, 0, 7, 1, 0});
  EXPECT_NEAR(macro.recall, (3.0 / 4 + 1 + 0) / 3, 1e-12);
  EXPECT_NEAR(macro.precision, (3.0 / 4 + 1 + 0) / 3, 1e-12);
  EXPECT_NEAR(macro.f1, (3.0 / 4 + 1 + 0) / 3, 1e-12);
  EXPECT_NEAR(macro.specificity, (1.0 / 2 + 1 + 1) / 3, 1e-12);
  const MacroFigures one = macro_figures({5, 5}, {5, 5});
  EXPECT_EQ(one.specificity, 1);
  EXPECT_EQ(one.f1, 1);
}

// Pictures of 1 x 1 whose byte the graph's weights turn into scores: score of class k is weight_k · byte / 255.
Graph scoring(const std::vector<float>& weights, bool softmax = false, int64_t fixed_batch = 0) {
  test::Network n;
  const auto classes = static_cast<int64_t>(weights.size());
  n.input("x", {1, 1, 1, 1});
  if (fixed_batch > 0) {
    n.node("Reshape", {"x"}, {"flat"}, {}, {{"shape", test::List{fixed_batch, 1}}});
  } else {
    n.node("Flatten", {"x"}, {"flat"});
  }
  n.graph.add_parameter("w", Tensor::from_floats({classes, 1}, weights));
  n.node("Linear", {"flat"}, {"scores"}, {{"weight", "w"}});
  if (softmax) n.node("Softmax", {"scores"}, {"probabilities"}, {}, {{"axis", int64_t{1}}});
  n.output(softmax ? "probabilities" : "scores");
  n.infer();
  return std::move(n.graph);
}

FormulaPictures bytes(int64_t count, int64_t classes) {
  return {count, classes, 1, 1, [](int64_t i, int64_t) { return static_cast<uint8_t>(51 * (i % 5 + 1)); }};
}

const ImageInput kPlain{.channels = 1, .height = 1, .width = 1};

TEST(Accuracy, RanksAndTies) {
  // The order of the scores is 3, 2, 1, 0 and then six equal ones, of which the lower classes go first.
  const Graph graph = scoring({1, 2, 3, 4, -1, -1, -1, -1, -1, -1});
  const Accuracy accuracy = measure_accuracy(graph, bytes(20, 10), kPlain);
  EXPECT_EQ(accuracy.images, 20);
  EXPECT_DOUBLE_EQ(accuracy.top1.value, 0.1);
  EXPECT_DOUBLE_EQ(accuracy.top5.value, 0.5);  // labels 0 to 4
  EXPECT_FALSE(accuracy.kl.has_value());
  const Graph equal = scoring(std::vector<float>(10, 0));
  const Accuracy ties = measure_accuracy(equal, bytes(20, 10), kPlain);
  EXPECT_DOUBLE_EQ(ties.top1.value, 0.1);
  EXPECT_DOUBLE_EQ(ties.macro.recall, 0.1);  // all are put into class 0
  EXPECT_DOUBLE_EQ(measure_accuracy(equal, bytes(20, 10), kPlain, 1).top1.value, 1);
}

TEST(Accuracy, FewerThanFiveClasses) {
  EXPECT_DOUBLE_EQ(measure_accuracy(scoring({1, 2}), bytes(10, 2), kPlain).top5.value, 1);
}

double divergence_by_hand(double a, double b) {  // of two classes with scores 0 and a, or 0 and b
  const double p = 1 / (1 + std::exp(-a)), q = 1 / (1 + std::exp(-b));
  return p * std::log(p / q) + (1 - p) * std::log((1 - p) / (1 - q));
}

TEST(Accuracy, AgainstAnotherGraph) {
  const Graph pruned = scoring({0, -1}), dense = scoring({0, 2});
  const Accuracy accuracy = measure_accuracy(pruned, bytes(10, 2), kPlain, 0, 3, &dense);
  double expected = 0;
  for (int i = 1; i <= 5; ++i) expected += divergence_by_hand(2.0 * i / 5, -1.0 * i / 5) / 5;
  EXPECT_NEAR(*accuracy.kl, expected, 1e-6);
  EXPECT_EQ(*accuracy.agreement, 0);
  EXPECT_DOUBLE_EQ(accuracy.top1.value, 0.5);
  EXPECT_DOUBLE_EQ(accuracy.against_top1->value, 0.5);
  const Accuracy same = measure_accuracy(dense, bytes(10, 2), kPlain, 0, 0, &dense);
  EXPECT_EQ(*same.kl, 0);
  EXPECT_EQ(*same.agreement, 1);
}

TEST(Accuracy, ProbabilitiesAreNotTakenForScores) {
  const Graph scores = scoring({0, 2}), probabilities = scoring({0, 2}, true);
  EXPECT_TRUE(gives_probabilities(probabilities));
  EXPECT_FALSE(gives_probabilities(scores));
  EXPECT_NEAR(*measure_accuracy(probabilities, bytes(10, 2), kPlain, 0, 0, &scores).kl, 0, 1e-7);
}

TEST(Accuracy, AGraphForOnePictureAtATime) {
  const Graph fixed = scoring({0, 2, 1}, false, 1), free = scoring({0, 2, 1});
  EXPECT_EQ(batch_that_fits(fixed, {1, 1, 1}, 0), 1);
  EXPECT_EQ(batch_that_fits(fixed, {1, 1, 1}, 7), 1);
  EXPECT_EQ(batch_that_fits(free, {1, 1, 1}, 7), 7);
  EXPECT_GT(batch_that_fits(free, {1, 1, 1}, 0), 16);
  const Accuracy accuracy = measure_accuracy(fixed, bytes(30, 3), kPlain, 0, 8, &free);
  EXPECT_NEAR(*accuracy.kl, 0, 1e-9);
  EXPECT_EQ(*accuracy.agreement, 1);
}

TEST(Accuracy, TheBatchDoesNotMatter) {
  const Graph graph = test::small_classifier();
  const auto pictures = test::eight_pictures();
  const Accuracy all = measure_accuracy(graph, pictures, test::small_input(), 0, 8);
  for (const int64_t batch : {1, 3}) {
    const Accuracy parts = measure_accuracy(graph, pictures, test::small_input(), 0, batch);
    EXPECT_EQ(parts.top1.value, all.top1.value);
    EXPECT_EQ(parts.macro.f1, all.macro.f1);
  }
}

TEST(Accuracy, MistakesAreNamed) {
  ESP_EXPECT_USER_ERROR(measure_accuracy(scoring({1, 2}), bytes(10, 5), kPlain),
                        "formula: labels: expected below the model's 2 classes, found 4");
  ESP_EXPECT_USER_ERROR(measure_accuracy(scoring({1, INFINITY}), bytes(10, 2), kPlain),
                        "formula: picture 0: the model's scores are not finite");
  const Graph two = scoring({1, 2}), three = scoring({1, 2, 3});
  ESP_EXPECT_USER_ERROR(measure_accuracy(two, bytes(10, 2), kPlain, 0, 0, &three),
                        "--against: classes: expected 2, found 3");
  test::Network n;
  n.input("x", {1, 1, 1, 1});
  n.input("y", {1, 1, 1, 1});
  n.output(n.add("x", "y", "z"));
  ESP_EXPECT_USER_ERROR(measure_accuracy(n.graph, bytes(2, 2), kPlain),
                        "model: inputs: expected one, the pictures, found 2");
  const Graph map = [] {
    test::Network conv;
    conv.input("x", {1, 1, 2, 2});
    conv.output(conv.conv("x", "c", {2, 1, 1, 1}));
    conv.infer();
    return std::move(conv.graph);
  }();
  ESP_EXPECT_USER_ERROR(measure_accuracy(map, bytes(2, 2), {.channels = 1, .height = 2, .width = 2}),
                        "class scores: expected [2, classes], found [2, 2, 2, 2]");
}

}  // namespace
}  // namespace espalier
