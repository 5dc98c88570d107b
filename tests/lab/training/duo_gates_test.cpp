// The texts and the optimisation of DuoAttention's gates.
#include "espalier/lab/training/duo_gates.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "espalier/engine/text_quality.h"
#include "espalier/io/tokenizer.h"
#include "espalier/lab/torch.h"
#include "tests/support.h"

namespace espalier::duo_gates_test {
namespace {

const Model& tiny() {
  static const Model model = load_model(test::assets_dir() / "models/espalier-tiny");
  return model;
}

PasskeyMaker texts(const PasskeyOptions& options, uint64_t seed = 0) {
  return PasskeyMaker(Tokenizer::load(tiny().path), tokens_of(test::assets_dir() / "data/calibration.txt", tiny(), 5000), options, seed);
}

TEST(Passkeys, EveryKeyIsHiddenOnceAndAskedForOnce) {
  PasskeyOptions options;
  options.keys = 3, options.words = 2, options.shortest = 200, options.longest = 256;
  PasskeyMaker maker = texts(options);
  const auto tokenizer = Tokenizer::load(tiny().path);
  std::vector<size_t> lengths;
  for (int i = 0; i < 20; ++i) {
    const PasskeySample sample = maker.next();
    lengths.push_back(sample.ids.size());
    EXPECT_EQ(sample.ids.size() % 16, 0u);
    EXPECT_GE(sample.ids.size(), 200u);
    EXPECT_LE(sample.ids.size(), 256u);
    const std::vector<int32_t> tail(sample.ids.begin() + sample.first_label, sample.ids.end());
    const std::string text = tokenizer->decode(sample.ids), questions = tokenizer->decode(tail);
    for (const char* ordinal : {"first", "second", "third"}) {
      const std::string ask = std::string("The ") + ordinal + " key is";
      const size_t hidden = text.find(ask), asked = questions.find(ask);
      ASSERT_NE(asked, std::string::npos) << questions;
      ASSERT_LT(hidden, text.size() - questions.size());
      // The answer stands behind both, and the hidden one ends with a full stop.
      const std::string answer = questions.substr(asked + ask.size(), questions.find('\n', asked) - asked - ask.size());
      EXPECT_EQ(std::count(answer.begin(), answer.end(), ' '), 2);
      EXPECT_EQ(text.substr(hidden + ask.size(), answer.size() + 1), answer + ".");
    }
    for (const int64_t t : sample.answer_tokens) EXPECT_GE(t, sample.first_label);
  }
  EXPECT_GT(*std::max_element(lengths.begin(), lengths.end()), *std::min_element(lengths.begin(), lengths.end()));
  EXPECT_EQ(texts(options, 5).next().ids, texts(options, 5).next().ids);
  EXPECT_NE(texts(options, 5).next().ids, texts(options, 6).next().ids);
}

TEST(Passkeys, TooManyKeysForTheText) {
  PasskeyOptions options;
  options.keys = 10, options.words = 32, options.shortest = options.longest = 256;
  ESP_EXPECT_USER_ERROR(texts(options).next(), "give fewer keys or words, or longer texts");
}

TEST(DuoGates, MixesByHeadAndPassesGradients) {
  at::AutoGradMode with_gradients(true);
  at::manual_seed(1);
  const at::Tensor full = at::randn({4, 5, 3}), stream = at::randn({4, 5, 3});
  at::Tensor alpha = at::tensor({0.25, 1.5}).to(at::kFloat).set_requires_grad(true);
  const at::Tensor mixed = duo_mix(full, stream, alpha);
  EXPECT_TRUE(at::allclose(mixed[1], 0.25 * full[1] + 0.75 * stream[1]));
  EXPECT_TRUE(at::equal(mixed[2], full[2])) << "a gate above 1 counts as 1";
  mixed.sum().backward();
  EXPECT_NEAR(alpha.grad()[0].item<double>(), (full - stream).narrow(0, 0, 2).sum().item<double>(), 1e-4);
}

TEST(DuoGates, LearningRateIsATrapezium) {
  EXPECT_DOUBLE_EQ(duo_learning_rate(1, 0, 100), 0.1);
  EXPECT_DOUBLE_EQ(duo_learning_rate(1, 9, 100), 0.5);
  EXPECT_DOUBLE_EQ(duo_learning_rate(1, 50, 100), 1);
  EXPECT_DOUBLE_EQ(duo_learning_rate(1, 90, 100), 0.5);
  EXPECT_DOUBLE_EQ(duo_learning_rate(1, 99, 100), 0.1);
  EXPECT_GT(duo_learning_rate(1, 0, 1), 0);
}

struct Trained {
  DuoGates gates;
  std::vector<DuoReport> reports;
};

Trained train(DuoTraining options, uint64_t seed = 0) {
  PasskeyOptions lengths;
  lengths.keys = 2, lengths.words = 2, lengths.shortest = lengths.longest = 128;
  PasskeyMaker maker = texts(lengths, seed);
  options.report_every = 1;
  Trained result;
  result.gates = train_duo_gates(tiny(), [&] { return maker.next(); }, options, [&](const DuoReport& report) { result.reports.push_back(report); });
  return result;
}

TEST(DuoGates, StreamingThatSeesEverythingCostsNothing) {
  DuoTraining options;
  options.sink = 0, options.recent = 128, options.steps = 1, options.lr = 0;
  for (const bool teacher : {true, false}) {
    options.full_from_teacher = teacher;
    const Trained run = train(options);
    EXPECT_LT(run.reports[0].distillation, 1e-8);
    EXPECT_DOUBLE_EQ(run.reports[0].penalty, 1);
  }
}

TEST(DuoGates, TheLossFallsAndTheModelStays) {
  DuoTraining options;
  options.sink = 2, options.recent = 8, options.steps = 20, options.lr = 0.05, options.lambda = 0.5;
  const Trained run = train(options);
  const auto loss = [&](const DuoReport& r) { return r.distillation + options.lambda * r.penalty; };
  EXPECT_LT(loss(run.reports.back()), loss(run.reports.front()));
  EXPECT_LT(run.reports.front().distillation, 1e-8) << "gates of 1 are the dense model";
  ASSERT_EQ(run.gates.alpha.size(), 6u);
  for (const auto& row : run.gates.alpha) {
    ASSERT_EQ(row.size(), 4u);
    for (float gate : row) {
      EXPECT_GE(gate, 0);
      EXPECT_LT(gate, 1);
    }
  }
  EXPECT_EQ(train(options).gates.alpha, run.gates.alpha) << "the same seed gives the same";
}

}  // namespace
}  // namespace espalier::duo_gates_test
