// Trains an embedded classifier of assets/ from a configuration and a data set. assets/README.md states the commands.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>

#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/core/json.h"
#include "espalier/core/signals.h"
#include "espalier/families/family.h"
#include "espalier/families/output.h"
#include "espalier/lab/measure/accuracy.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/image_classifier.h"

namespace espalier {
namespace {

struct Options {
  std::filesystem::path config, train, test, out;
  ClassifierTraining training{.epochs = 12, .batch = 64, .nesterov = true, .weight_decay = 5e-4, .warmup = 100, .augment = true, .shift = 2};
  bool adamw = false;
  int threads = 2;
};

void train(Options options) {
  const auto start = std::chrono::steady_clock::now();
  at::set_num_threads(options.threads);
  options.training.optimiser = options.adamw ? ClassifierOptimiser::kAdamW : ClassifierOptimiser::kSgd;
  std::filesystem::create_directories(options.out);
  if (options.config != options.out / "config.json") write_file_atomically(options.out / "config.json", read_json(options.config).dump(2) + "\n");
  Model model = load_model(options.out, {.seed = options.training.seed, .input_shapes = {}});
  const auto train_data = ImageDataset::open(options.train), test_data = ImageDataset::open(options.test);
  Json curve = Json::array();
  train_classifier(model.graph, *train_data, {}, model.image, options.training, {}, [&](const ClassifierReport& r) {
    fmt::print("epoch {} loss {:.4f} accuracy {:.4f} ({:.0f} pictures/s)\n", r.epoch, r.loss, r.accuracy, r.pictures_per_second);
    std::fflush(stdout);
    curve.push_back({r.epoch, r.loss, r.accuracy});
  });
  const Accuracy accuracy = measure_accuracy(model.graph, *test_data, model.image, 0, 0);
  write_model(model, options.out);
  const Json result = {{"parameters", model.graph.parameter_count()},
                       {"training", {{"pictures", train_data->size()}, {"epochs", options.training.epochs}, {"batch", options.training.batch},
                                     {"optimiser", options.adamw ? "adamw" : "sgd"}, {"learning_rate", options.training.learning_rate},
                                     {"weight_decay", options.training.weight_decay}, {"seed", options.training.seed}, {"threads", options.threads},
                                     {"seconds", std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()}}},
                       {"test", {{"pictures", accuracy.images}, {"accuracy", accuracy.top1.value}, {"ci95", {accuracy.top1.low, accuracy.top1.high}}}},
                       {"curve", curve}};
  write_file_atomically(options.out / "training.json", result.dump(1) + "\n");
  fmt::print("test accuracy {:.4f}\n", accuracy.top1.value);
}

}  // namespace
}  // namespace espalier

int main(int argc, char** argv) {
  espalier::Options options;
  CLI::App app("Trains one of espalier's embedded classifiers");
  app.add_option("--config", options.config, "config.json of a family that can start from initial weights")->required();
  app.add_option("--train", options.train, "Labelled pictures to train on")->required();
  app.add_option("--test", options.test, "Labelled pictures to measure on")->required();
  app.add_option("-o,--out", options.out, "Directory of the model")->required();
  app.add_option("--epochs", options.training.epochs);
  app.add_option("--batch", options.training.batch);
  app.add_option("--lr", options.training.learning_rate);
  app.add_option("--weight-decay", options.training.weight_decay);
  app.add_option("--shift", options.training.shift, "Pixels that a picture is moved by at most");
  app.add_flag("--adamw", options.adamw, "AdamW instead of SGD");
  app.add_option("--seed", options.training.seed);
  app.add_option("--threads", options.threads);
  CLI11_PARSE(app, argc, argv);
  try {
    espalier::install_signal_handlers();
    espalier::train(options);
  } catch (const std::exception& error) {
    fmt::print(stderr, "train_embedded_classifier: error: {}\n", error.what());
    return 2;
  }
  return 0;
}
