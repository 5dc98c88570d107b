// A small classifier trained beside a method's plugin on pictures by formula, for tests of methods that prune while training.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "espalier/lab/methods/plugin_request.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/picture_task.h"
#include "espalier/lab/training/trainer.h"
#include "tests/lab/training/small_classifier.h"
#include "tests/support.h"

namespace espalier::test {

struct StopHere {};

// Ends a training as a kill would, before the given step begins.
class Stopper : public Plugin {
 public:
  explicit Stopper(int64_t steps_run) : steps_run_(steps_run) {}
  std::string id() const override { return "stopper"; }
  void on_batch(Training& training, TrainingBatch&) override {
    if (training.steps_run() == steps_run_) throw StopHere{};
  }

 private:
  int64_t steps_run_;
};

struct PluginTrial {
  static constexpr int64_t kSteps = 20, kEpoch = 5;  // batches of 8

  std::string method;
  std::map<std::string, std::string> options;
  std::optional<double> sparsity;
  TrainOptions training;
  Model model;
  TrainResult result;
  Json findings;

  PluginTrial(std::string id, std::map<std::string, std::string> given, std::optional<double> share = std::nullopt)
      : method(std::move(id)), options(std::move(given)), sparsity(share) {
    training.steps = kSteps;
    training.learning_rate = 0.1;
    training.weight_decay = 0.01;
    model.graph = small_classifier();
    model.task = Task::kImages;
    model.image = small_input();
  }

  std::unique_ptr<Plugin> make() const { return make_plugin(method, options, sparsity, model, training, training.steps, kEpoch); }

  void run(RunDirectory* directory = nullptr, std::optional<int64_t> stop = std::nullopt) {
    const FormulaPictures pictures(40, 3, 6, 3, [](int64_t i, int64_t p) { return static_cast<uint8_t>((i * 97 + p * 31 + (p * p) % 13 * 5) % 256); });
    PictureTask task(model.graph, pictures, {}, model.image, {.batch = 8, .seed = 5}, &pictures);
    Plugins plugins;
    plugins.push_back(make());
    if (stop) plugins.push_back(std::make_unique<Stopper>(*stop));
    TrainHooks hooks;
    hooks.run = directory;
    result = train(model.graph, task, training, plugins, {}, hooks);
    findings = plugins[0]->findings();
  }

  // Stopped before each of these steps in turn, and resumed: weights, masks and findings must be those of one run.
  void expect_resumable(const std::vector<int64_t>& stops) {
    run();
    for (const int64_t stop : stops) {
      TempDir directory;
      PluginTrial again(method, options, sparsity);
      again.training.checkpoint_every = 3;
      {
        RunDirectory out(directory.path() / "out", {{"plugin", method}}, {});
        EXPECT_THROW(again.run(&out, stop), StopHere);
      }
      PluginTrial resumed(method, options, sparsity);
      resumed.training.checkpoint_every = 3;
      RunDirectory out(directory.path() / "out", {{"plugin", method}}, {.resume = true});
      resumed.run(&out);
      for (const auto& parameter : model.graph.parameters())
        EXPECT_EQ(parameter->load().to_floats(), resumed.model.graph.parameter(parameter->name()).load().to_floats()) << parameter->name() << ", stopped at " << stop;
      EXPECT_EQ(result.masks.size(), resumed.result.masks.size());
      for (const auto& [name, mask] : result.masks) EXPECT_TRUE(at::equal(mask, resumed.result.masks.at(name))) << name << ", stopped at " << stop;
      EXPECT_EQ(findings, resumed.findings) << "stopped at " << stop;
    }
  }

  at::Tensor weight(const std::string& name) const {
    const Tensor value = model.graph.parameter(name).load();
    return at::tensor(value.to_floats()).view(value.shape());
  }
};

}  // namespace espalier::test
