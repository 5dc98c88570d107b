// Masked language modelling: what is hidden, what is asked for, and that an encoder learns it.
#include "espalier/lab/training/masked_text_task.h"

#include <gtest/gtest.h>

#include <cmath>

#include "espalier/families/output.h"
#include "espalier/lab/evaluate.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/fresh_model.h"
#include "espalier/lab/training/trainer.h"
#include "tests/families/vision_models.h"
#include "tests/support.h"

namespace espalier::masked_text_task_test {
namespace {

constexpr int64_t kVocabulary = 31, kPositions = 16;
constexpr int32_t kUnknown = 1, kClass = 2, kSeparator = 3, kMask = 4, kFirstWord = 5;

// Five special tokens, then words.
void write_vocabulary(const std::filesystem::path& directory, const std::string& mask = "[MASK]") {
  std::string lines = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n" + mask + "\n";
  for (int32_t id = kFirstWord; id < kVocabulary; ++id) lines += fmt::format("w{}\n", id);
  write_file_atomically(directory / "vocab.txt", lines);
}

Json encoder_config(const std::string& type) {
  Json config = test::tiny_vision_configs().at(type == "bert" ? "Bert" : "DistilBert");
  config.erase("num_labels");
  config["max_position_embeddings"] = kPositions;
  config["architectures"] = {type == "bert" ? "BertForMaskedLM" : "DistilBertForMaskedLM"};
  return config;
}

struct Encoder {
  test::TempDir dir;
  Model model;
  std::shared_ptr<const Tokenizer> tokenizer;

  explicit Encoder(const std::string& type = "bert") {
    write_vocabulary(dir.path());
    model = test::load_tiny_vision(dir.path(), encoder_config(type));
    tokenizer = Tokenizer::load(dir.path());
  }
  MaskedTextTask task(std::vector<int32_t> tokens, const MaskedTextOptions& options, std::vector<int32_t> evaluation = {}) const {
    return {model.graph, tokenizer, std::move(tokens), options, std::move(evaluation), "model"};
  }
};

// One after another, each so many times.
std::vector<int32_t> words(int64_t count, int64_t times = 1) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i) tokens.push_back(kFirstWord + static_cast<int32_t>(i / times % (kVocabulary - kFirstWord)));
  return tokens;
}

TEST(MaskedLanguage, GraphsThatPredictHiddenTokensAreKnown) {
  for (const char* type : {"bert", "distilbert"}) {
    const Encoder encoder(type);
    const auto shape = masked_language_shape(encoder.model.graph);
    ASSERT_TRUE(shape) << type;
    EXPECT_EQ(shape->vocabulary, kVocabulary);
    EXPECT_EQ(shape->positions, kPositions);
  }
  const test::TempDir dir;
  EXPECT_FALSE(masked_language_shape(test::load_tiny_vision(dir.path(), test::tiny_vision_configs().at("Bert")).graph)) << "a classifier";
  const test::TempDir other;
  test::write_tiny(other.path(), test::tiny_llama({}));
  EXPECT_FALSE(masked_language_shape(load_model(other.path()).graph)) << "a decoder";
}

TEST(MaskedLanguage, TheHeadKeepsItsNames) {
  const Encoder encoder;
  for (const char* name : {"cls.predictions.bias", "cls.predictions.transform.dense.weight", "cls.predictions.transform.dense.bias",
                           "cls.predictions.transform.LayerNorm.weight", "cls.predictions.transform.LayerNorm.bias"})
    EXPECT_TRUE(encoder.model.graph.has_parameter(name)) << name;
  EXPECT_FALSE(encoder.model.graph.has_parameter("cls.predictions.decoder.weight")) << "tied to the embedding";
  EXPECT_FALSE(encoder.model.graph.has_parameter("bert.pooler.dense.weight"));
}

TEST(TokenMasking, FollowsBertsRule) {
  const Encoder encoder;
  const TokenMasking masking(encoder.tokenizer, kVocabulary, 0.15, "model");
  EXPECT_EQ(masking.added(), 2);
  // Rows of 200 tokens, every tenth a special one: of 180 others 27 are chosen.
  const int64_t rows = 60, length = 200;
  at::Tensor windows = at::empty({rows, length}, at::kLong);
  for (int64_t i = 0; i < windows.numel(); ++i)
    windows.data_ptr<int64_t>()[i] = i % 10 == 0 ? (i % 20 == 0 ? kUnknown : kSeparator) : kFirstWord + (i * 7) % (kVocabulary - kFirstWord);
  Rng rng(3, "test");
  const TrainingBatch batch = masking.apply(windows, rng);
  ASSERT_EQ(batch.inputs.sizes().vec(), (std::vector<int64_t>{rows, length + 2}));
  int64_t masked = 0, same = 0, all = 0;
  for (int64_t row = 0; row < rows; ++row) {
    int64_t chosen = 0;
    for (int64_t i = 0; i < length + 2; ++i) {
      const int64_t input = batch.inputs[row][i].item<int64_t>(), target = batch.targets[row][i].item<int64_t>();
      const int64_t original = i == 0 ? kClass : i == length + 1 ? kSeparator : windows[row][i - 1].item<int64_t>();
      if (target == -1) {
        EXPECT_EQ(input, original);
        continue;
      }
      ++chosen;
      EXPECT_EQ(target, original);
      EXPECT_GE(target, kFirstWord) << "a special token was chosen";
      EXPECT_TRUE(input == kMask || input >= kFirstWord);
      masked += input == kMask;
      same += input == original;
    }
    EXPECT_EQ(chosen, 27);
    all += chosen;
  }
  // Four standard deviations of a binomial; a random token is the original one in 26 cases.
  EXPECT_NEAR(static_cast<double>(masked) / static_cast<double>(all), 0.8, 4 * std::sqrt(0.8 * 0.2 / static_cast<double>(all)));
  EXPECT_NEAR(static_cast<double>(same) / static_cast<double>(all), 0.1 + 0.1 / 26, 4 * std::sqrt(0.1 * 0.9 / static_cast<double>(all)));
}

TEST(TokenMasking, SaysWhatIsMissing) {
  const test::TempDir dir;
  write_vocabulary(dir.path(), "w4");
  ESP_EXPECT_USER_ERROR(TokenMasking(Tokenizer::load(dir.path()), kVocabulary, 0.15, "model"), "model: tokenizer: expected a mask token");
  write_file_atomically(dir / "tokenizer_config.json", R"({"mask_token": "w4"})");
  EXPECT_EQ(Tokenizer::load(dir.path())->mask_id(), 4);
  ESP_EXPECT_USER_ERROR(TokenMasking(Tokenizer::load(dir.path()), 4, 0.15, "model"), "less than the vocabulary size 4");
  ESP_EXPECT_USER_ERROR(TokenMasking(Tokenizer::load(dir.path()), kVocabulary, 1, "model"), "mask-share: expected a share between 0 and 1");
  const Encoder encoder;
  ESP_EXPECT_USER_ERROR(encoder.task(words(100), {.length = 17}), "length: expected more than the 2 special tokens around a text, at most the model's 16 positions");
  ESP_EXPECT_USER_ERROR(encoder.task({5, 6, 31, 7, 8, 9}, {.length = 4}), "less than the vocabulary size 31");
}

TEST(MaskedText, BatchesAreTheSameHoweverTheyAreReached) {
  const Encoder encoder;
  MaskedTextTask forward = encoder.task(words(300), {.length = 12, .batch = 3, .seed = 5}), jumping = encoder.task(words(300), {.length = 12, .batch = 3, .seed = 5});
  std::vector<TrainingBatch> batches;
  for (int64_t i = 0; i < 8; ++i) batches.push_back(forward.batch(i, 0));
  for (const int64_t i : {7, 2, 3, 0, 6}) {
    const TrainingBatch batch = jumping.batch(i, 0);
    EXPECT_TRUE(at::equal(batch.inputs, batches[static_cast<size_t>(i)].inputs)) << i;
    EXPECT_TRUE(at::equal(batch.targets, batches[static_cast<size_t>(i)].targets)) << i;
  }
  EXPECT_FALSE(at::equal(jumping.batch(3, 1).inputs, batches[3].inputs)) << "another order";
}

// By the definition, in double: the mean over the chosen tokens of log Σ exp(logit) - logit of the right one.
TEST(MaskedText, TheLossIsOfTheChosenTokensAlone) {
  const Encoder encoder;
  MaskedTextTask task = encoder.task(words(100), {.length = 12, .batch = 2, .share = 0.3, .seed = 1});
  const TrainingBatch batch = task.batch(0, 0);
  Weights weights(encoder.model.graph);
  const at::Tensor output = Interpreter(encoder.model.graph, weights).forward(batch.inputs);
  double sum = 0;
  int64_t count = 0, right = 0;
  for (int64_t row = 0; row < 2; ++row)
    for (int64_t i = 0; i < 12; ++i) {
      const int64_t target = batch.targets[row][i].item<int64_t>();
      if (target < 0) continue;
      double exponentials = 0;
      int64_t best = 0;
      for (int64_t v = 0; v < kVocabulary; ++v) {
        exponentials += std::exp(output[row][i][v].item<double>());
        if (output[row][i][v].item<double>() > output[row][i][best].item<double>()) best = v;
      }
      sum += std::log(exponentials) - output[row][i][target].item<double>();
      right += best == target;
      ++count;
    }
  EXPECT_EQ(count, 6);
  EXPECT_NEAR(task.loss(encoder.model.graph, output, batch).item<double>(), sum / 6, 1e-5);
  EXPECT_EQ(task.hits(output, batch), std::pair(right, count));
}

// logits [vocabulary] → log of the probabilities, by the definition.
std::vector<double> log_probabilities(const at::Tensor& logits) {
  std::vector<double> values(static_cast<size_t>(logits.size(0)));
  double exponentials = 0;
  for (size_t v = 0; v < values.size(); ++v) values[v] = logits[static_cast<int64_t>(v)].item<double>(), exponentials += std::exp(values[v]);
  for (double& value : values) value -= std::log(exponentials);
  return values;
}

// `espalier eval`: 61 words in windows of ten, so the last has but one and is left out; 15 % of ten are two.
TEST(MaskedEvaluation, IsOfTokensThatTheSeedChooses) {
  for (const char* type : {"bert", "distilbert"}) {
    Encoder encoder(type), dense(type);
    std::string text;
    for (int32_t id : words(61, 3)) text += fmt::format("w{} ", id);
    write_file_atomically(encoder.dir / "text.txt", text);
    initialise_decoder(dense.model.graph, 3);
    std::filesystem::create_directory(dense.dir / "fresh");
    write_model(dense.model, dense.dir / "fresh");
    EvalRequest request;
    request.model = encoder.dir.path().string(), request.data = (encoder.dir / "text.txt").string(), request.against = (dense.dir / "fresh").string();
    request.length = 12, request.common.seed = 7;
    const Json found = run_eval(request);

    const TokenMasking masking(encoder.tokenizer, kVocabulary, 0.15, "model");
    Weights weights(encoder.model.graph), dense_weights(dense.model.graph);
    const Interpreter its(encoder.model.graph, weights), other(dense.model.graph, dense_weights);
    const at::Tensor ids = at::tensor(words(60, 3)).to(at::kLong).view({6, 10});
    double nats = 0, dense_nats = 0, kl = 0;
    for (int64_t row = 0; row < 6; ++row) {
      Rng rng(7, fmt::format("training/evaluation masks/{}", row));
      const TrainingBatch batch = masking.apply(ids.narrow(0, row, 1), rng);
      const at::Tensor logits = its.forward(batch.inputs)[0], dense_logits = other.forward(batch.inputs)[0];
      for (int64_t i = 0; i < 12; ++i) {
        const int64_t target = batch.targets[0][i].item<int64_t>();
        if (target < 0) continue;
        const auto q = log_probabilities(logits[i]), p = log_probabilities(dense_logits[i]);
        nats -= q[static_cast<size_t>(target)], dense_nats -= p[static_cast<size_t>(target)];
        for (size_t v = 0; v < p.size(); ++v) kl += std::exp(p[v]) * (p[v] - q[v]);
      }
    }
    EXPECT_EQ(found.at("metric"), "masked_ppl");
    EXPECT_EQ(found.at("tokens"), 12);
    EXPECT_EQ(found.at("mask_share"), 0.15);
    EXPECT_NEAR(found.at("value").get<double>(), std::exp(nats / 12), 1e-4 * std::exp(nats / 12));
    EXPECT_LT(found.at("ci95")[0].get<double>(), std::exp(nats / 12));
    EXPECT_NEAR(found.at("against").at("masked_ppl").get<double>(), std::exp(dense_nats / 12), 1e-4 * std::exp(dense_nats / 12));
    EXPECT_NEAR(found.at("against").at("kl").get<double>(), kl / 12, 1e-5);
    EXPECT_EQ(run_eval(request).at("value"), found.at("value"));
    request.common.seed = 8;
    EXPECT_NE(run_eval(request).at("value"), found.at("value")) << "other tokens";
    request.against = request.model, request.metric = "kl";
    EXPECT_NEAR(run_eval(request).at("value").get<double>(), 0, 1e-6) << "from itself";
  }
}

TEST(MaskedEvaluation, SaysWhatDoesNotFit) {
  const Encoder encoder;
  write_file_atomically(encoder.dir / "text.txt", "w5 w6 w7");
  write_file_atomically(encoder.dir / "special.txt", "[SEP] [SEP] [SEP]");
  EvalRequest plain;
  plain.model = encoder.dir.path().string(), plain.data = (encoder.dir / "text.txt").string();
  EvalRequest request = plain;
  request.metric = "ppl";
  ESP_EXPECT_USER_ERROR(run_eval(request), "--metric: metric of an encoder that predicts hidden tokens: expected masked_ppl or kl, found ppl");
  request = plain, request.stride = 4;
  ESP_EXPECT_USER_ERROR(run_eval(request), "--stride: windows of");
  request = plain, request.length = 17;
  ESP_EXPECT_USER_ERROR(run_eval(request), "expected 4 to the model's 16 positions, found 17");
  request = plain, request.data = (encoder.dir / "special.txt").string();
  ESP_EXPECT_USER_ERROR(run_eval(request), "no two tokens of which one could be hidden");
  const test::TempDir other;
  test::write_tiny(other.path(), test::tiny_llama({}));
  request = plain, request.against = other.path().string();
  ESP_EXPECT_USER_ERROR(run_eval(request), "--against: model: expected an encoder that predicts hidden tokens, found one of text");
}

TrainOptions learning(int64_t steps) {
  TrainOptions options;
  options.steps = steps;
  options.optimiser = OptimiserKind::kAdamW;
  options.learning_rate = 0.01;
  options.clip = 1;
  options.report_every = 5;
  return options;
}

// Words stand in rows of twenty, so that the neighbours say what was hidden.
TEST(MaskedText, AnEncoderLearnsIt) {
  Encoder encoder;
  initialise_decoder(encoder.model.graph, 2);
  MaskedTextTask task = encoder.task(words(2600, 20), {.length = 12, .batch = 16, .share = 0.3, .seed = 1}, words(520, 20));
  const double before = task.evaluate(encoder.model.graph).at("masked_perplexity");
  EXPECT_GT(before, 20);
  EXPECT_EQ(task.evaluate(encoder.model.graph).at("masked_perplexity"), before) << "the masks are fixed";
  Plugins none;
  const TrainResult result = train(encoder.model.graph, task, learning(300), none);
  EXPECT_LT(task.evaluate(encoder.model.graph).at("masked_perplexity"), 2);
  EXPECT_EQ(result.metrics.back().name, "masked_perplexity");
}

class Stop : public Plugin {
 public:
  std::string id() const override { return "stop"; }
  void after_step(Training& t) override {
    if (t.steps_run() == 7) throw std::runtime_error("stopped");
  }
};

TEST(MaskedText, GoesOnToTheSameBits) {
  const auto bits = [](const Graph& graph) {
    std::vector<std::vector<float>> values;
    for (const auto& parameter : graph.parameters()) values.push_back(parameter->load().to_floats());
    return values;
  };
  const auto run = [](Encoder& encoder, Plugins plugins, RunDirectory* directory) {
    MaskedTextTask task = encoder.task(words(300), {.length = 12, .batch = 4, .seed = 9}, words(60));
    TrainOptions options = learning(12);
    options.checkpoint_every = 3;
    TrainHooks hooks;
    hooks.run = directory;
    return train(encoder.model.graph, task, options, plugins, {}, hooks);
  };
  Encoder whole, cut, resumed;
  const TrainResult uninterrupted = run(whole, {}, nullptr);
  const test::TempDir dir;
  {
    Plugins stop;
    stop.push_back(std::make_unique<Stop>());
    RunDirectory directory(dir / "out", {{"test", 1}}, {});
    EXPECT_THROW(run(cut, std::move(stop), &directory), std::runtime_error);
  }
  RunDirectory directory(dir / "out", {{"test", 1}}, {.resume = true});
  const TrainResult rest = run(resumed, {}, &directory);
  EXPECT_EQ(bits(resumed.model.graph), bits(whole.model.graph));
  ASSERT_EQ(rest.metrics.size(), uninterrupted.metrics.size());
  for (size_t i = 0; i < rest.metrics.size(); ++i) EXPECT_EQ(rest.metrics[i].value, uninterrupted.metrics[i].value);
}

}  // namespace
}  // namespace espalier::masked_text_task_test
