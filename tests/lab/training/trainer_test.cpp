// The training loop: hooks in their order, masks, going back, and going on after a stop at any step. That its numbers
// are PyTorch's is what image_classifier_test.cpp shows.
#include "espalier/lab/training/trainer.h"

#include <gtest/gtest.h>

#include "espalier/lab/torch.h"
#include "espalier/lab/training/fresh_model.h"
#include "espalier/lab/training/loss_scaler.h"
#include "espalier/lab/training/picture_task.h"
#include "espalier/lab/training/text_task.h"
#include "tests/lab/training/small_classifier.h"
#include "tests/support.h"

namespace espalier::trainer_test {
namespace {

using test::eight_pictures;
using test::FormulaPictures;
using test::small_classifier;
using test::small_input;

FormulaPictures many_pictures(int64_t count = 40) {
  return {count, 3, 6, 3, [](int64_t i, int64_t p) { return static_cast<uint8_t>((i * 97 + p * 31 + (p * p) % 13 * 5) % 256); }};
}

TrainOptions short_options(OptimiserKind kind = OptimiserKind::kSgd) {
  TrainOptions options;
  options.epochs = 3;  // of five batches of eight
  options.optimiser = kind;
  options.learning_rate = kind == OptimiserKind::kSgd ? 0.1 : 0.01;
  options.weight_decay = 0.01;
  options.report_every = 4;
  options.average = 0.9;
  return options;
}

std::map<std::string, std::vector<float>> values_of(const Graph& graph) {
  std::map<std::string, std::vector<float>> values;
  for (const auto& parameter : graph.parameters()) values[parameter->name()] = parameter->load().to_floats();
  return values;
}

struct Trial {
  Graph graph = small_classifier();
  FormulaPictures pictures = many_pictures();
  ImageInput input = small_input();
  PictureTaskOptions task = {8, {true, 1}, 0, 0.3, 0, 5};
  Plugins plugins;
  std::map<std::string, WeightMask> masks;

  TrainResult train(const TrainOptions& options, RunDirectory* run = nullptr) {
    PictureTask pictures_task(graph, pictures, {}, input, task, &pictures);
    TrainHooks hooks;
    hooks.run = run;
    return espalier::train(graph, pictures_task, options, plugins, masks, hooks);
  }
};

// Writes down what is called, and keeps a count that a resumed run must have again.
class Diary : public Plugin {
 public:
  explicit Diary(std::vector<std::string>& lines, std::string id = "diary") : lines_(lines), id_(std::move(id)) {}
  std::string id() const override { return id_; }
  void before_training(Training& t) override { note("before", t); }
  void on_batch(Training& t, TrainingBatch&) override { note("batch", t); }
  at::Tensor extra_loss(Training& t) override {
    note("extra", t);
    return {};
  }
  void after_backward(Training& t) override { note("backward", t); }
  void after_step(Training& t) override {
    note("step", t);
    ++count_;
    t.record("count", static_cast<double>(count_));
  }
  void epoch_end(Training& t) override { note("epoch", t); }
  bool goes_on(Training& t) override {
    note("goes on", t);
    return false;
  }
  void end(Training& t) override { note("end", t); }
  void save(StateStore& state) const override { state.values["count"] = count_; }
  void load(const StateStore& state) override { count_ = state.values.at("count").get<int64_t>(); }

 private:
  void note(const char* what, Training& t) { lines_.push_back(fmt::format("{} {}", what, t.step())); }
  std::vector<std::string>& lines_;
  std::string id_;
  int64_t count_ = 0;
};

TEST(Trainer, HooksComeInTheirOrder) {
  Trial run;
  std::vector<std::string> lines;
  run.plugins.push_back(std::make_unique<Diary>(lines));
  TrainOptions options = short_options();
  options.epochs = 0;
  options.steps = 6;
  options.accumulate = 2;
  run.train(options);
  const std::vector<std::string> first = {"before 0", "batch 0", "extra 0", "batch 0", "extra 0", "backward 0", "step 0", "batch 1"};
  EXPECT_EQ(std::vector<std::string>(lines.begin(), lines.begin() + 8), first);
  EXPECT_EQ(std::count(lines.begin(), lines.end(), "epoch 1"), 1);  // five batches are two steps of two
  EXPECT_EQ(std::count(lines.begin(), lines.end(), "epoch 3"), 1);
  EXPECT_EQ(lines[lines.size() - 2], "goes on 6");
  EXPECT_EQ(lines.back(), "end 6");
}

class Refuser : public Diary {
 public:
  using Diary::Diary;
  std::string refuses(const Plugin& other) const override { return other.id() == "diary" ? "both keep a diary" : ""; }
};

TEST(Trainer, PluginsThatRefuseEachOtherAreNamed) {
  std::vector<std::string> lines;
  Trial run;
  run.plugins.push_back(std::make_unique<Diary>(lines));
  run.plugins.push_back(std::make_unique<Refuser>(lines, "refuser"));
  ESP_EXPECT_USER_ERROR(run.train(short_options()), "refuser cannot run with diary: both keep a diary");
  run.plugins.pop_back();
  run.plugins.push_back(std::make_unique<Diary>(lines));
  ESP_EXPECT_USER_ERROR(run.train(short_options()), "diary is given twice");
  EXPECT_TRUE(lines.empty());
}

// As good as killed: what the run directory holds is all that is left.
class Stop : public Plugin {
 public:
  explicit Stop(int64_t step) : step_(step) {}
  std::string id() const override { return "stop"; }
  void after_step(Training& t) override {
    if (t.steps_run() == step_) throw std::runtime_error("stopped");
  }

 private:
  int64_t step_;
};

class Resume : public testing::TestWithParam<OptimiserKind> {};

TEST_P(Resume, GoesOnToTheSameBits) {
  TrainOptions options = short_options(GetParam());
  options.checkpoint_every = 2;
  std::vector<std::string> lines;
  const auto fresh = [&] {
    auto run = std::make_unique<Trial>();
    run->masks["c1.w"] = WeightMask(run->graph.parameter("c1.w").shape(), [] {
      std::vector<uint8_t> keep(4 * 27);
      for (size_t i = 0; i < keep.size(); ++i) keep[i] = i % 4 != 1;
      return keep;
    }());
    run->plugins.push_back(std::make_unique<Diary>(lines));
    return run;
  };
  const auto whole = fresh();
  const TrainResult uninterrupted = whole->train(options);
  for (const int64_t stop : {0, 1, 2, 5, 8, 14}) {
    const test::TempDir dir;
    const Json fingerprint = {{"test", 1}};
    {
      const auto cut = fresh();
      cut->plugins.push_back(std::make_unique<Stop>(stop));
      RunDirectory directory(dir / "out", fingerprint, {});
      EXPECT_THROW(cut->train(options, &directory), std::runtime_error);
    }
    const auto resumed = fresh();
    RunDirectory directory(dir / "out", fingerprint, {.resume = true});
    const TrainResult rest = resumed->train(options, &directory);
    EXPECT_EQ(values_of(resumed->graph), values_of(whole->graph)) << "stopped at " << stop;
    ASSERT_EQ(rest.metrics.size(), uninterrupted.metrics.size()) << "stopped at " << stop;
    for (size_t i = 0; i < rest.metrics.size(); ++i) {
      EXPECT_EQ(rest.metrics[i].step, uninterrupted.metrics[i].step);
      EXPECT_EQ(rest.metrics[i].name, uninterrupted.metrics[i].name);
      EXPECT_EQ(rest.metrics[i].value, uninterrupted.metrics[i].value) << rest.metrics[i].name << " of step " << rest.metrics[i].step;
    }
    int files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(directory.work())) files += entry.path().extension() == ".safetensors";
    EXPECT_LE(files, 1) << "old checkpoints are left";
  }
}

std::string name_of(const testing::TestParamInfo<OptimiserKind>& info) {
  const char* const names[] = {"Sgd", "Adam", "AdamW"};
  return names[static_cast<size_t>(info.param)];
}

INSTANTIATE_TEST_SUITE_P(Optimisers, Resume, testing::Values(OptimiserKind::kSgd, OptimiserKind::kAdam, OptimiserKind::kAdamW), name_of);

// Masks half of c2 at step 4; looks at what the optimiser and the gradients hold.
class MaskAtFour : public Plugin {
 public:
  std::string id() const override { return "mask"; }
  void after_backward(Training& t) override {
    if (t.step() < 5) return;
    const at::Tensor removed = t.mask("c2.w").logical_not();
    EXPECT_GT(t.gradient("c2.w").masked_select(removed).abs().max().item<float>(), 0) << "gradients are dense here";
  }
  void after_step(Training& t) override {
    if (t.step() == 4) {
      at::Tensor keep = at::arange(5 * 4 * 9).reshape({5, 4, 3, 3}).remainder(2).to(at::kBool);
      t.set_mask("c2.w", keep);
    }
    if (t.step() < 4) return;
    const at::Tensor removed = t.mask("c2.w").logical_not();
    EXPECT_EQ(t.value("c2.w").detach().masked_select(removed).abs().max().item<float>(), 0);
    const StateStore now = t.snapshot();
    EXPECT_EQ(now.tensor("optimiser/momentum/c2.w").masked_select(removed).abs().max().item<float>(), 0);
    EXPECT_GT(now.tensor("optimiser/momentum/c2.w").abs().max().item<float>(), 0);
    EXPECT_NEAR(t.density(), 1 - 90.0 / (108 + 180 + 15), 1e-12);
  }
};

TEST(Trainer, MasksReachIntoTheOptimiser) {
  Trial run;
  run.plugins.push_back(std::make_unique<MaskAtFour>());
  const TrainResult result = run.train(short_options());
  const auto kept = result.masks.at("c2.w");
  EXPECT_EQ(kept.sum().item<int64_t>(), 90);
  const auto values = run.graph.parameter("c2.w").load().to_floats();
  for (size_t i = 0; i < values.size(); i += 2) EXPECT_EQ(values[i], 0);
}

// Goes back once, from the end to step 5; the second pass must then repeat the first.
class Rewind : public Plugin {
 public:
  explicit Rewind(bool fresh_optimiser, uint64_t order) : fresh_(fresh_optimiser), order_(order) {}
  std::string id() const override { return "rewind"; }
  void after_step(Training& t) override {
    if (t.step() == 4 && !at_five_.has("weight/c1.w")) at_five_ = t.snapshot();
  }
  bool goes_on(Training& t) override {
    ends.push_back(t.value("c1.w").detach().clone());
    if (ends.size() == 2) return false;
    t.set_data_order(order_);
    t.restore(at_five_, fresh_);
    EXPECT_EQ(t.step(), 5);
    EXPECT_EQ(t.steps_run(), 15);
    return true;
  }
  std::vector<at::Tensor> ends;

 private:
  StateStore at_five_;
  bool fresh_;
  uint64_t order_;
};

TEST(Trainer, RewindingRepeatsTheRun) {
  for (const auto& [fresh, order, same] : std::vector<std::tuple<bool, uint64_t, bool>>{{false, 0, true}, {true, 0, false}, {false, 7, false}}) {
    Trial run;
    auto rewind = std::make_unique<Rewind>(fresh, order);
    Rewind* seen = rewind.get();
    run.plugins.push_back(std::move(rewind));
    EXPECT_EQ(run.train(short_options()).steps_run, 25);
    ASSERT_EQ(seen->ends.size(), 2u);
    EXPECT_EQ(at::equal(seen->ends[0], seen->ends[1]), same) << fresh << " " << order;
  }
}

// Accumulating two batches of four is one batch of eight, when nothing depends on the batch (no batch norm).
TEST(Trainer, AccumulatedBatchesAreOneLargeBatch) {
  const auto train_with = [](int64_t batch, int64_t accumulate) {
    test::Network n;
    n.input("x", {1, 3, 6, 6});
    const std::string a = n.activation(test::unbiased_conv(n, "x", "c1", {4, 3, 3, 3}, 2), "relu");
    n.node("GlobalAveragePool", {a}, {"pooled"});
    n.node("Flatten", {"pooled"}, {"features"});
    n.output(n.linear("features", "fc", 3, 4));
    n.infer();
    const FormulaPictures pictures = eight_pictures();
    const ImageInput input = small_input();
    PictureTask task(n.graph, pictures, {}, input, {batch, {}, 0, 0, 0, 1});
    TrainOptions options;
    options.steps = 5;
    options.accumulate = accumulate;
    options.clip = 0.05;
    Plugins none;
    espalier::train(n.graph, task, options, none);
    return values_of(n.graph);
  };
  const auto one = train_with(8, 1), two = train_with(4, 2);
  for (const auto& [name, values] : one)
    for (size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(values[i], two.at(name)[i], 2e-6) << name;
}

TEST(Trainer, RatesOfTheSchedules) {
  TrainOptions options;
  options.learning_rate = 2;
  options.warmup = 4;
  options.final_ratio = 0.5;
  EXPECT_DOUBLE_EQ(learning_rate_at(options, 0, 12), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate_at(options, 3, 12), 2);
  EXPECT_DOUBLE_EQ(learning_rate_at(options, 4, 12), 2);
  EXPECT_DOUBLE_EQ(learning_rate_at(options, 8, 12), 1.5);
  options.schedule = RateSchedule::kLinear;
  EXPECT_DOUBLE_EQ(learning_rate_at(options, 6, 12), 1.75);
  options.schedule = RateSchedule::kSteps;
  EXPECT_DOUBLE_EQ(learning_rate_at(options, 5, 12), 2);
  EXPECT_DOUBLE_EQ(learning_rate_at(options, 6, 12), 0.2);
  EXPECT_DOUBLE_EQ(learning_rate_at(options, 9, 12), 0.02);
  options.schedule = RateSchedule::kConstant;
  EXPECT_DOUBLE_EQ(learning_rate_at(options, 11, 12), 2);
}

TEST(Trainer, GroupsHaveRatesOfTheirOwn) {
  Trial run;
  const auto before = values_of(run.graph);
  TrainOptions options = short_options();
  options.average = 0;
  options.groups = {{"c1*", 0, -1}, {"c2*", 1e-3, 0}};
  run.train(options);
  const auto after = values_of(run.graph);
  EXPECT_EQ(after.at("c1.w"), before.at("c1.w"));
  double moved = 0, other = 0;
  for (size_t i = 0; i < after.at("c2.w").size(); ++i) moved = std::max<double>(moved, std::abs(after.at("c2.w")[i] - before.at("c2.w")[i]));
  for (size_t i = 0; i < after.at("fc.w").size(); ++i) other = std::max<double>(other, std::abs(after.at("fc.w")[i] - before.at("fc.w")[i]));
  EXPECT_GT(moved, 0);
  EXPECT_GT(other, 50 * moved);
}

TEST(Trainer, TheAverageIsTheResult) {
  // Two steps: average = d·(d·w0 + (1-d)·w1) + (1-d)·w2, with w1 and w2 from runs without one.
  const auto weights = [](int64_t steps, double average) {
    Trial run;
    TrainOptions options = short_options();
    options.epochs = 0;
    options.steps = steps;
    options.schedule = RateSchedule::kConstant;
    options.average = average;
    run.train(options);
    return run.graph.parameter("fc.w").load().to_floats();
  };
  const auto start = small_classifier().parameter("fc.w").load().to_floats(), one = weights(1, 0), two = weights(2, 0), mean = weights(2, 0.75);
  for (size_t i = 0; i < mean.size(); ++i) EXPECT_NEAR(mean[i], 0.75 * (0.75 * start[i] + 0.25 * one[i]) + 0.25 * two[i], 1e-6);
}

TEST(Trainer, ALossThatIsNotFiniteNamesStepLayerAndCheckpoint) {
  Trial run;
  auto values = run.graph.parameter("c2.w").load().to_floats();
  values[7] = std::numeric_limits<float>::quiet_NaN();
  run.graph.parameter("c2.w").assign(Tensor::from_floats(run.graph.parameter("c2.w").shape(), values));
  ESP_EXPECT_USER_ERROR(run.train(short_options()), "the loss became nan at step 0; the first layer whose output is not finite is c2; no checkpoint was written");
}

TEST(Trainer, ContradictionsAreRefused) {
  const auto refused = [](void (*change)(TrainOptions&), const std::string& message) {
    TrainOptions options = short_options();
    change(options);
    Trial run;
    ESP_EXPECT_USER_ERROR(run.train(options), message);
  };
  refused([](TrainOptions& o) { o.epochs = 0; }, "epochs and steps: expected a positive number of at least one of them");
  refused([](TrainOptions& o) { o.warmup = 15; }, "warmup: expected fewer steps than the run's 15");
  refused([](TrainOptions& o) { o.milestones = {0.6, 0.5}; }, "milestones: expected rising shares");
  refused([](TrainOptions& o) { o.nesterov = true, o.momentum = 0; }, "momentum: expected a positive number for Nesterov's");
  refused([](TrainOptions& o) { o.groups = {{"*", 0, -1}}; }, "every parameter is frozen");
  refused([](TrainOptions& o) { o.average = 1; }, "average: expected a decay in [0, 1)");
}

TEST(LossScaler, HalvesAtOnceAndDoublesAfterManyGoodSteps) {
  LossScaler scaler(1024);
  EXPECT_FALSE(scaler.update(false));
  EXPECT_EQ(scaler.scale(), 512);
  for (int i = 1; i < LossScaler::kInterval; ++i) EXPECT_TRUE(scaler.update(true));
  EXPECT_EQ(scaler.scale(), 512);
  LossScaler copy(1);
  copy.load(scaler.save());
  for (LossScaler* one : {&scaler, &copy}) {
    EXPECT_TRUE(one->update(true));
    EXPECT_EQ(one->scale(), 1024);
    for (int i = 1; i < LossScaler::kInterval; ++i) one->update(true);
    EXPECT_FALSE(one->update(false)) << "counting begins again";
    for (int i = 1; i < LossScaler::kInterval; ++i) one->update(true);
    EXPECT_EQ(one->scale(), 512);
  }
  LossScaler none(0);
  EXPECT_FALSE(none.active());
  EXPECT_EQ(none.scale(), 1);
  EXPECT_TRUE(none.update(false));
  LossScaler small(LossScaler::kLeast);
  EXPECT_FALSE(small.exhausted());
  small.update(false);
  EXPECT_TRUE(small.exhausted());
}

// What after_backward sees of one gradient.
class Gradients : public Plugin {
 public:
  std::string id() const override { return "gradients"; }
  void after_backward(Training& t) override { seen.push_back(t.gradient("c2.w").clone()); }
  std::vector<at::Tensor> seen;
};

// Powers of two change no bit of fp32: a scale that overflows at first gives what none gives, in hooks, weights, running
// statistics and record.
TEST(Trainer, ScaledLossesGiveTheSameSteps) {
  const auto trained = [](double scale, Trial& run) {
    auto gradients = std::make_unique<Gradients>();
    const Gradients* seen = gradients.get();
    run.plugins.push_back(std::move(gradients));
    TrainOptions options = short_options();
    options.loss_scale = scale;
    options.clip = 0.05;
    options.accumulate = 2;
    TrainResult result = run.train(options);
    std::erase_if(result.metrics, [](const Metric& metric) { return metric.name == "loss_scale"; });
    return std::pair(result, seen->seen);
  };
  Trial plain, scaled, overflowing;
  const auto [expected, gradients] = trained(0, plain);
  for (const auto& [scale, run] : {std::pair(1024.0, &scaled), std::pair(0x1p140, &overflowing)}) {
    const auto [result, seen] = trained(scale, *run);
    EXPECT_EQ(values_of(run->graph), values_of(plain.graph)) << scale;
    ASSERT_EQ(seen.size(), gradients.size());
    for (size_t i = 0; i < seen.size(); ++i) EXPECT_TRUE(at::equal(seen[i], gradients[i])) << scale << " step " << i;
    ASSERT_EQ(result.metrics.size(), expected.metrics.size());
    for (size_t i = 0; i < result.metrics.size(); ++i) EXPECT_EQ(result.metrics[i].value, expected.metrics[i].value) << result.metrics[i].name;
  }
}

TEST(Trainer, TheLossScaleIsResumed) {
  TrainOptions options = short_options();
  options.precision = TrainPrecision::kBf16;
  options.loss_scale = 0x1p140;
  options.checkpoint_every = 2;
  Trial whole;
  const TrainResult uninterrupted = whole.train(options);
  const test::TempDir dir;
  {
    Trial cut;
    cut.plugins.push_back(std::make_unique<Stop>(6));
    RunDirectory directory(dir / "out", {{"test", 1}}, {});
    EXPECT_THROW(cut.train(options, &directory), std::runtime_error);
  }
  Trial resumed;
  RunDirectory directory(dir / "out", {{"test", 1}}, {.resume = true});
  const TrainResult rest = resumed.train(options, &directory);
  EXPECT_EQ(values_of(resumed.graph), values_of(whole.graph));
  const auto scale_of = [](const TrainResult& result) {
    for (auto metric = result.metrics.rbegin(); metric != result.metrics.rend(); ++metric)
      if (metric->name == "loss_scale") return metric->value;
    return 0.0;
  };
  EXPECT_LT(scale_of(uninterrupted), 0x1p130);
  EXPECT_EQ(scale_of(rest), scale_of(uninterrupted));
}

// √0 has a finite value and no finite slope.
class BadSlope : public Plugin {
 public:
  std::string id() const override { return "bad slope"; }
  at::Tensor extra_loss(Training& t) override { return (t.value("c2.w") * 0).sum().sqrt(); }
};

TEST(Trainer, GradientsThatNoScaleMakesFiniteEndTheRun) {
  Trial run;
  run.plugins.push_back(std::make_unique<BadSlope>());
  TrainOptions options = short_options();
  options.loss_scale = 1;
  ESP_EXPECT_USER_ERROR(run.train(options), "gradients are not finite at step 0, however small the loss scale is; no checkpoint was written");
}

// Of the outputs of every forward, by operator.
class Types : public Plugin {
 public:
  Types() {
    observer_.after = [this](NodeId, const Node& node, std::vector<at::Tensor>& outputs) { types[node.op] = outputs[0].scalar_type(); };
  }
  std::string id() const override { return "types"; }
  const Observer* observer() override { return &observer_; }
  void after_backward(Training& t) override {
    for (const auto& name : t.trained()) EXPECT_EQ(t.gradient(name).scalar_type(), at::kFloat) << name;
  }
  std::map<std::string, at::ScalarType> types;

 private:
  Observer observer_;
};

TEST(Trainer, LearnsInBf16) {
  const auto last_loss = [](TrainPrecision precision, Trial& run) {
    auto types = std::make_unique<Types>();
    const Types* seen = types.get();
    run.plugins.push_back(std::move(types));
    TrainOptions options = short_options();
    options.precision = precision;
    options.report_every = 5;
    const TrainResult result = run.train(options);
    const at::ScalarType expected = precision == TrainPrecision::kBf16 ? at::kBFloat16 : at::kFloat;
    EXPECT_EQ(seen->types.at("Conv"), expected);
    EXPECT_EQ(seen->types.at("Linear"), expected);
    EXPECT_EQ(seen->types.at("BatchNorm"), at::kFloat);
    return std::find_if(result.metrics.rbegin(), result.metrics.rend(), [](const Metric& metric) { return metric.name == "loss"; })->value;
  };
  Trial exact, rounded, again;
  const double fp32 = last_loss(TrainPrecision::kFp32, exact), bf16 = last_loss(TrainPrecision::kBf16, rounded);
  EXPECT_NE(bf16, fp32);
  EXPECT_NEAR(bf16, fp32, 0.02 * fp32);
  EXPECT_EQ(last_loss(TrainPrecision::kBf16, again), bf16);
  EXPECT_EQ(values_of(again.graph), values_of(rounded.graph));
  TrainOptions options = short_options();
  options.precision = TrainPrecision::kFp16;
  Trial refused;
  ESP_EXPECT_USER_ERROR(refused.train(options), "training: precision: expected fp32 or bf16 on the processor (fp16 needs --device cuda), found fp16");
}

TEST(Trainer, LeavesOffOnTheScheduleOfAll) {
  Trial whole, part;
  TrainOptions options = short_options();
  options.average = 0;
  std::vector<at::Tensor> seen, cut;
  for (auto [run, into] : {std::pair(&whole, &seen), std::pair(&part, &cut)}) {
    auto gradients = std::make_unique<Gradients>();
    const Gradients* kept = gradients.get();
    run->plugins.push_back(std::move(gradients));
    if (run == &part) options.stop = 7;
    EXPECT_EQ(run->train(options).steps_run, run == &part ? 7 : 15);
    *into = kept->seen;
  }
  ASSERT_EQ(cut.size(), 7u);
  for (size_t i = 0; i < cut.size(); ++i) EXPECT_TRUE(at::equal(cut[i], seen[i])) << i;
}

TEST(StateStore, AFileHoldsIt) {
  const test::TempDir dir;
  StateStore inner, state;
  inner.tensors["w"] = at::arange(6, at::kFloat).reshape({2, 3});
  inner.values["n"] = 3;
  state.put("a", inner);
  state.tensors["flags"] = at::tensor({1, 0, 1}).to(at::kBool);
  state.tensors["ids"] = at::tensor(std::vector<int64_t>{1, -2});
  state.save(dir / "state.safetensors");
  const StateStore read = StateStore::load(dir / "state.safetensors");
  EXPECT_TRUE(at::equal(read.part("a").tensor("w"), inner.tensor("w")));
  EXPECT_EQ(read.part("a").values.at("n"), 3);
  EXPECT_TRUE(at::equal(read.tensor("flags"), state.tensor("flags")));
  EXPECT_TRUE(at::equal(read.tensor("ids"), state.tensor("ids")));
  ESP_EXPECT_USER_ERROR(read.tensor("none"), "checkpoint: tensor: expected none");
}

// A sequence in which every token is followed by the same one is learned to near certainty.
TEST(TextTask, LearnsASequence) {
  const test::TempDir dir;
  write_fresh_llama({.vocab = 12, .hidden = 16, .layers = 1, .heads = 2, .kv_heads = 1, .ffn = 24, .context = 16}, 3, dir.path());
  Model model = load_model(dir.path());
  std::vector<int32_t> tokens;
  for (int i = 0; i < 400; ++i) tokens.push_back(i % 12);
  TextTask task(model.graph, tokens, 8, 4, 1, {{tokens.begin(), tokens.begin() + 8}});
  EXPECT_GT(task.evaluate(model.graph).at("perplexity"), 6);
  TrainOptions options;
  options.steps = 60;
  options.optimiser = OptimiserKind::kAdamW;
  options.learning_rate = 0.02;
  options.clip = 1;
  Plugins none;
  const TrainResult result = train(model.graph, task, options, none);
  EXPECT_LT(task.evaluate(model.graph).at("perplexity"), 1.5);
  EXPECT_EQ(result.metrics.back().name, "perplexity");
}

TEST(TextTask, LearnsInBf16) {
  const auto perplexity = [](TrainPrecision precision) {
    const test::TempDir dir;
    write_fresh_llama({.vocab = 12, .hidden = 16, .layers = 2, .heads = 2, .kv_heads = 1, .ffn = 24, .context = 16}, 3, dir.path());
    Model model = load_model(dir.path());
    std::vector<int32_t> tokens;
    for (int i = 0; i < 400; ++i) tokens.push_back(i * i % 12);
    TextTask task(model.graph, tokens, 8, 4, 1, {{tokens.begin(), tokens.begin() + 8}});
    TrainOptions options;
    options.steps = 40;
    options.optimiser = OptimiserKind::kAdamW;
    options.learning_rate = 0.01;
    options.precision = precision;
    Plugins none;
    train(model.graph, task, options, none);
    return task.evaluate(model.graph).at("perplexity");
  };
  const double fp32 = perplexity(TrainPrecision::kFp32), bf16 = perplexity(TrainPrecision::kBf16);
  EXPECT_NE(bf16, fp32);
  EXPECT_NEAR(bf16, fp32, 0.05 * fp32);
}

TEST(TextBatches, AreTheSameHoweverTheyAreReached) {
  std::vector<int32_t> tokens;
  for (int i = 0; i < 100; ++i) tokens.push_back(i);
  TextBatches forward(tokens, 7, 3, 5), jumping(tokens, 7, 3, 5);
  std::vector<at::Tensor> batches;
  for (int64_t i = 0; i < 12; ++i) batches.push_back(forward.at(i));
  for (const int64_t i : {11, 3, 4, 0, 9}) EXPECT_TRUE(at::equal(jumping.at(i), batches[static_cast<size_t>(i)])) << i;
  EXPECT_FALSE(at::equal(jumping.at(3, 1), batches[3])) << "another order";
  EXPECT_TRUE(at::equal(jumping.at(3, 0), batches[3]));
  ESP_EXPECT_USER_ERROR(TextBatches({1, 2, 3}, 7, 3, 5), "3 tokens, fewer than two windows of 8");
}

}  // namespace
}  // namespace espalier::trainer_test
