// Training of a small classifier against PyTorch's numbers, and what must hold for any.
#include "espalier/lab/training/image_classifier.h"

#include <gtest/gtest.h>

#include <cmath>

#include "espalier/core/json.h"
#include "espalier/lab/measure/accuracy.h"
#include "espalier/lab/torch.h"
#include "tests/lab/training/small_classifier.h"
#include "tests/support.h"

namespace espalier {
namespace {

using test::eight_pictures;
using test::FormulaPictures;
using test::small_classifier;
using test::small_input;

Json reference() { return read_json(std::filesystem::path(ESPALIER_SOURCE_DIR) / "tests/lab/data/classifier_training.json"); }

void expect_state(const Graph& graph, const Json& state, double tolerance) {
  for (const auto& [name, wanted] : state.items()) {
    const auto values = graph.parameter(name).load().to_floats();
    ASSERT_EQ(values.size(), wanted.size()) << name;
    for (size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(values[i], wanted[i].get<double>(), tolerance) << name << " " << i;
  }
}

ClassifierTraining four_steps() {
  ClassifierTraining options;
  options.epochs = 4;
  options.batch = 8;  // all of them: the order plays no part
  return options;
}

ClassifierTraining sgd_of_the_reference() {
  ClassifierTraining options = four_steps();
  options.learning_rate = 0.2;
  options.nesterov = true;
  options.weight_decay = 0.01;
  return options;
}

std::vector<double> train(Graph& graph, const ClassifierTraining& options, const Graph* teacher = nullptr) {
  std::vector<double> losses;
  train_classifier(graph, eight_pictures(), {}, small_input(), options, {},
                   [&](const ClassifierReport& report) { losses.push_back(report.loss); }, teacher);
  return losses;
}

void expect_losses(const std::vector<double>& losses, const Json& wanted) {
  ASSERT_EQ(losses.size(), wanted.size());
  for (size_t i = 0; i < losses.size(); ++i) EXPECT_NEAR(losses[i], wanted[i].get<double>(), 2e-5) << i;
}

TEST(TrainClassifier, NesterovDecaySmoothingAndCosineAsPyTorch) {
  Graph graph = small_classifier();
  ClassifierTraining options = sgd_of_the_reference();
  options.label_smoothing = 0.1;
  const Json wanted = reference().at("sgd");
  expect_losses(train(graph, options), wanted.at("losses"));
  expect_state(graph, wanted.at("state"), 2e-5);
}

TEST(TrainClassifier, AdamWWarmUpAndStepsAsPyTorch) {
  Graph graph = small_classifier();
  ClassifierTraining options = four_steps();
  options.optimiser = ClassifierOptimiser::kAdamW;
  options.learning_rate = 0.02;
  options.weight_decay = 0.1;
  options.decay_vectors = true;
  options.warmup = 2;
  options.schedule = ClassifierSchedule::kSteps;
  options.milestones = {0.75};
  const Json wanted = reference().at("adamw");
  expect_losses(train(graph, options), wanted.at("losses"));
  expect_state(graph, wanted.at("state"), 1e-4);
}

TEST(TrainClassifier, DistilsAsPyTorch) {
  Graph teacher = small_classifier();
  auto values = teacher.parameter("fc.w").load().to_floats();
  for (float& value : values) value *= -9;
  teacher.parameter("fc.w").assign(Tensor::from_floats({3, 5}, values));
  Graph graph = small_classifier();
  const Json wanted = reference().at("distil");
  expect_losses(train(graph, sgd_of_the_reference(), &teacher), wanted.at("losses"));
  expect_state(graph, wanted.at("state"), 2e-5);
}

TEST(TrainClassifier, MaskedWeightsStayZeroUnderMomentumAndDecay) {
  for (const auto optimiser : {ClassifierOptimiser::kSgd, ClassifierOptimiser::kAdamW}) {
    Graph graph = small_classifier();
    std::vector<uint8_t> keep(4 * 27);
    for (size_t i = 0; i < keep.size(); ++i) keep[i] = i % 3 != 0;
    std::map<std::string, WeightMask> masks;
    masks["c1.w"] = WeightMask(graph.parameter("c1.w").shape(), keep);
    ClassifierTraining options = four_steps();
    options.optimiser = optimiser;
    options.learning_rate = 0.05;
    options.weight_decay = 0.1;
    const auto before = graph.parameter("c1.w").load().to_floats();
    train_classifier(graph, eight_pictures(), {}, small_input(), options, masks);
    const auto after = graph.parameter("c1.w").load().to_floats();
    for (size_t i = 0; i < keep.size(); ++i) {
      if (keep[i]) {
        EXPECT_NE(after[i], before[i]);
      } else {
        EXPECT_EQ(after[i], 0);
      }
    }
    masks["c1.w"] = WeightMask({2}, std::vector<uint8_t>{1, 0});
    ESP_EXPECT_USER_ERROR(train_classifier(graph, eight_pictures(), {}, small_input(), options, masks), "mask of c1.w: expected [4, 3, 3, 3]");
  }
}

// The class is where the bright quarter lies; shifts and mirrors are off, because mirrors would change the class.
FormulaPictures quarters(int64_t count) {
  return {count, 3, 6, 1, [](int64_t i, int64_t p) {
            const int64_t quarter = (p / 6 >= 3) * 2 + (p % 6 >= 3), noise = (i * 7919 + p * 104729) % 101;
            return static_cast<uint8_t>(quarter == i % 3 ? 155 + noise : noise);
          }};
}

ImageInput grey_input() { return {.channels = 1, .height = 6, .width = 6}; }

ClassifierTraining short_training() {
  ClassifierTraining options;
  options.epochs = 12;
  options.batch = 16;
  options.learning_rate = 0.1;
  options.seed = 3;
  return options;
}

// Position does not survive global pooling but through the padding: a flat head sees it.
Graph flat_classifier() {
  test::Network n;
  n.input("x", {1, 1, 6, 6});
  const std::string a = n.activation(n.batch_norm(test::unbiased_conv(n, "x", "c1", {4, 1, 3, 3}, 2), 4), "relu");
  n.node("Flatten", {a}, {"features"});
  n.output(n.linear("features", "fc", 3, 36));
  n.infer();
  return std::move(n.graph);
}

TEST(TrainClassifier, LearnsAToyProblem) {
  Graph graph = flat_classifier();
  const FormulaPictures training = quarters(96);
  EXPECT_LT(measure_accuracy(graph, training, grey_input()).top1.value, 0.7);
  double first = 0, last = 0;
  train_classifier(graph, training, {}, grey_input(), short_training(), {}, [&](const ClassifierReport& report) {
    (report.epoch == 1 ? first : last) = report.loss;
    EXPECT_EQ(report.steps, report.epoch * 6);
  });
  EXPECT_LT(last, first / 4);
  EXPECT_GT(measure_accuracy(graph, quarters(300), grey_input()).top1.value, 0.95);
}

TEST(TrainClassifier, TheSameSeedGivesTheSameBits) {
  std::vector<std::vector<float>> ends;
  for (const uint64_t seed : {3, 3, 4}) {
    Graph graph = flat_classifier();
    ClassifierTraining options = short_training();
    options.epochs = 2;
    options.augment = true;
    options.shift = 1;
    options.seed = seed;
    train_classifier(graph, quarters(60), {}, grey_input(), options);
    ends.push_back(graph.parameter("fc.w").load().to_floats());
  }
  EXPECT_EQ(ends[0], ends[1]);
  EXPECT_NE(ends[0], ends[2]);
}

TEST(TrainClassifier, OnlyTheGivenPicturesAreSeen) {
  Graph graph = small_classifier(), other = small_classifier();
  const std::vector<int64_t> some = {1, 4, 6};
  train_classifier(graph, eight_pictures(), some, small_input(), four_steps());
  const FormulaPictures three(3, 3, 6, 3, [](int64_t i, int64_t p) {
    const int64_t at = std::vector<int64_t>{6, 1, 4}[static_cast<size_t>(i)];  // labels 0, 1, 1 as i % 3 would not say
    return static_cast<uint8_t>((at * 61 + p * 29 + (p * p) % 17 * 7) % 256);
  });
  train_classifier(other, three, {}, small_input(), four_steps());
  // Picture 4 has label 1 in the first set and 2 in the second, so the ends differ; but the running means of the first
  // norm before any step depend on the pixels alone.
  ClassifierTraining still = four_steps();
  still.epochs = 1;
  still.learning_rate = 1e-30;
  Graph a = small_classifier(), b = small_classifier();
  train_classifier(a, eight_pictures(), some, small_input(), still);
  train_classifier(b, three, {}, small_input(), still);
  const auto left = a.parameter("c1.bn.mean").load().to_floats(), right = b.parameter("c1.bn.mean").load().to_floats();
  for (size_t i = 0; i < left.size(); ++i) EXPECT_NEAR(left[i], right[i], 1e-6);
  EXPECT_NE(graph.parameter("fc.b").load().to_floats(), other.parameter("fc.b").load().to_floats());
}

TEST(TrainClassifier, CapOfSteps) {
  Graph graph = small_classifier();
  ClassifierTraining options = four_steps();
  options.batch = 2;
  options.epochs = 0;
  options.steps = 6;
  std::vector<int64_t> steps;
  train_classifier(graph, eight_pictures(), {}, small_input(), options, {}, [&](const ClassifierReport& r) { steps.push_back(r.steps); });
  EXPECT_EQ(steps, (std::vector<int64_t>{4, 6}));
}

TEST(TrainClassifier, MistakesAreNamed) {
  const Graph dense = small_classifier();
  const auto refused = [&](auto change, const char* fragment) {
    Graph graph = dense.clone();
    ClassifierTraining options = four_steps();
    change(options, graph);
    ESP_EXPECT_USER_ERROR(train_classifier(graph, eight_pictures(), {}, small_input(), options), fragment);
    EXPECT_EQ(graph.parameter("c1.w").load().to_floats(), dense.parameter("c1.w").load().to_floats());
  };
  refused([](auto& o, Graph&) { o.epochs = 0; }, "epochs and steps");
  refused([](auto& o, Graph&) { o.batch = 0; }, "batch: expected at least 1");
  refused([](auto& o, Graph&) { o.learning_rate = 1e30; o.weight_decay = 1; }, "at step ");
  refused([](auto&, Graph& g) { g.parameter("fc.w").assign(Tensor::from_floats({2, 5}, std::vector<float>(10, 0.1f)));
                                g.parameter("fc.b").assign(Tensor::from_floats({2}, std::vector<float>(2))); },
          "labels: expected below the model's classes, output [8, 2], found 2");
}

}  // namespace
}  // namespace espalier
