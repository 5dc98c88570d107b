// Repairs of classifiers through a pruning job.
#include "espalier/lab/repair/classifier.h"

#include <gtest/gtest.h>

#include "espalier/lab/measure/accuracy.h"
#include "espalier/lab/methods/job.h"
#include "espalier/lab/repair/batch_norm.h"
#include "espalier/lab/repair/repair.h"
#include "espalier/lab/torch.h"
#include "tests/lab/training/small_classifier.h"
#include "tests/support.h"

namespace espalier {
namespace {

using Options = std::map<std::string, std::string>;

struct PictureTrial {
  Model model;
  CalibrationSource source;

  PictureTrial() {
    model.path = "small";
    model.graph = test::small_classifier();
    model.task = Task::kImages;
    model.image = test::small_input();
    source.samples = 7;
    source.images = std::make_shared<test::FormulaPictures>(test::eight_pictures());
  }
  PruneJob job() { return PruneJob(find_method("magnitude"), model, source, JobSettings{}, nullptr, 0); }
};

TEST(ClassifierRepair, BatchNormsFromTheRunsSamples) {
  PictureTrial trial;
  PruneJob job = trial.job();
  Graph expected = trial.model.graph.clone();
  // Seven pictures, at most three at a time: 3, 2 and 2.
  reestimate_batch_norm(expected, at::tensor_split(job.image_samples(7).pixels, 3));
  repair_model(job, "bn", {{"batch", "3"}});
  for (const char* name : {"c1.bn.mean", "c2.bn.var.weight"})
    EXPECT_EQ(trial.model.graph.parameter(name).load().to_floats(), expected.parameter(name).load().to_floats())
        << name;
  EXPECT_EQ(trial.model.graph.parameter("c1.w").load().to_floats(),
            test::small_classifier().parameter("c1.w").load().to_floats());
}

TEST(ClassifierRepair, FineTuningKeepsTheMethodsMasks) {
  PictureTrial trial;
  PruneJob job = trial.job();
  NodeId linear = 0;
  while (trial.model.graph.nodes[static_cast<size_t>(linear)].op != "Linear") ++linear;
  at::Tensor keep = at::ones({3, 5}, at::kBool);
  keep[1].zero_();
  job.set_weight(linear, job.weight(linear), keep);
  const double before = measure_accuracy(trial.model.graph, *trial.source.images, trial.model.image).top1.value;
  repair_model(job, "finetune", {{"steps", "60"}, {"batch", "8"}, {"lr", "0.2"}, {"weight-decay", "0"}});
  const at::Tensor after = job.weight(linear);
  EXPECT_EQ(after[1].abs().max().item<float>(), 0);
  EXPECT_GT(after[0].abs().max().item<float>(), 0);
  EXPECT_GT(measure_accuracy(trial.model.graph, *trial.source.images, trial.model.image).top1.value, before);
}

TEST(ClassifierRepair, OptionsAreCheckedBeforeAnyWork) {
  PictureTrial trial;
  const PruneJob job = trial.job();
  EXPECT_NO_THROW(
      check_repair(job, "finetune", {{"epochs", "2"}, {"optimiser", "adamw"}, {"momentum", "0"}, {"augment", "true"}}));
  EXPECT_NO_THROW(check_repair(job, "bn", {{"samples", "64"}, {"batch", "8"}}));
  ESP_EXPECT_USER_ERROR(check_repair(job, "bn", {{"lr", "1"}}), "unknown option 'repair.lr'; it takes samples, batch");
  ESP_EXPECT_USER_ERROR(check_repair(job, "finetune", {{"optimiser", "adam"}}),
                        "one of sgd, adamw, found 'adam' (did you mean 'adamw'?)");
  ESP_EXPECT_USER_ERROR(check_repair(job, "distill", {{"length", "64"}}), "unknown option 'repair.length'");
  ESP_EXPECT_USER_ERROR(check_repair(job, "finetune", {{"augment", "maybe"}}),
                        "repair.augment: expected true or false");
  ESP_EXPECT_USER_ERROR(check_repair(job, "finetune", {{"smoothing", "1"}}), "a share below 1");
  ESP_EXPECT_USER_ERROR(check_repair(job, "finetune", {{"momentum", "-1"}}), "a number from 0 on");
  ESP_EXPECT_USER_ERROR(check_repair(job, "lora", {}), "--repair lora is for language models");
  const Options defaults = repair_defaults("finetune", Task::kImages);
  EXPECT_NO_THROW(check_repair(job, "finetune", defaults));
  EXPECT_EQ(defaults.at("optimiser"), "sgd");
}

TEST(ClassifierRepair, ModelAndDataMustSuitTheKind) {
  PictureTrial no_pictures;
  no_pictures.source.images = nullptr;
  ESP_EXPECT_USER_ERROR(check_repair(no_pictures.job(), "bn", {}), "--repair bn needs pictures");
  ESP_EXPECT_USER_ERROR(check_repair(no_pictures.job(), "finetune", {}), "--repair finetune needs pictures");
  PictureTrial plain;
  plain.model.graph = std::move(test::grouped_network().graph);
  ESP_EXPECT_USER_ERROR(check_repair(plain.job(), "bn", {}),
                        "--repair bn: small has no batch norms with running statistics");
  PictureTrial text;
  text.model.task = Task::kText;
  text.model.context_length = 8;
  ESP_EXPECT_USER_ERROR(check_repair(text.job(), "bn", {}), "small is no classifier of pictures");
}

}  // namespace
}  // namespace espalier
