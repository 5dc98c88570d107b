// Seconds a training step and peak memory of two trainings, with a plugin's mask updates or without:
//   train_step resnet20|lm STEPS [THREADS [MASKED]]
// bench/train_step.sh runs it beside the same trainings written plainly in PyTorch (train_step.py).
#include <stdlib.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "espalier/core/file.h"
#include "espalier/core/resources.h"
#include "espalier/core/thread_pool.h"
#include "espalier/families/family.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/fresh_model.h"
#include "espalier/lab/training/picture_task.h"
#include "espalier/lab/training/text_task.h"
#include "espalier/lab/training/trainer.h"

namespace espalier {
namespace {

using Clock = std::chrono::steady_clock;

class NoisePictures : public ImageDataset {
 public:
  NoisePictures() : ImageDataset("noise") { classes_ = 10; }
  int64_t size() const override { return 1280; }
  int64_t label(int64_t i) const override { return i % 10; }
  Picture picture(int64_t i) const override {
    Picture picture{32, 32, 3, {}};
    for (int64_t p = 0; p < 32 * 32 * 3; ++p) picture.pixels.push_back(static_cast<uint8_t>((i * 7919 + p * 104729) % 251));
    return picture;
  }
  std::vector<std::filesystem::path> files(int64_t) const override { return {}; }
};

// Times every step; with `masked` it also ranks all weights anew every tenth step and keeps half.
class Watch : public Plugin {
 public:
  explicit Watch(bool masked) : masked_(masked) {}
  std::string id() const override { return "watch"; }
  void after_step(Training& training) override {
    if (!masked_ || training.step() % 10 != 0) return;
    for (const auto& name : training.prunable()) {
      const at::Tensor size = training.value(name).detach().abs();
      training.set_mask(name, size > size.flatten().median());
    }
  }
  void on_batch(Training&, TrainingBatch&) override {
    const auto now = Clock::now();
    if (begun_) times.push_back(std::chrono::duration<double>(now - last_).count());
    begun_ = true;
    last_ = now;
  }
  std::vector<double> times;

 private:
  bool masked_, begun_ = false;
  Clock::time_point last_;
};

double median_step(Graph& graph, TrainingTask& task, const TrainOptions& options, bool masked) {
  Plugins plugins;
  auto watch = std::make_unique<Watch>(masked);
  Watch* seen = watch.get();
  plugins.push_back(std::move(watch));
  train(graph, task, options, plugins);
  std::vector<double> times(seen->times.begin() + 2, seen->times.end());
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

double resnet_step(int64_t steps, bool masked, const std::filesystem::path& directory) {
  write_file_atomically(directory / "config.json",
                        R"({"model_type": "resnet-cifar", "depth": 20, "num_labels": 10})");
  Model model = load_model(directory);
  const NoisePictures pictures;
  PictureTask task(model.graph, pictures, {}, model.image, {});
  TrainOptions options;
  options.steps = steps + 3;
  options.weight_decay = 5e-4;
  options.evaluate_every = 0;
  return median_step(model.graph, task, options, masked);
}

double decoder_step(int64_t steps, bool masked, const std::filesystem::path& directory) {
  write_fresh_llama({.vocab = 2048, .hidden = 128, .layers = 6, .heads = 8, .kv_heads = 4, .ffn = 384, .context = 256}, 0, directory);
  Model model = load_model(directory);
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < 200'000; ++i) tokens.push_back(static_cast<int32_t>((i * i * 31 + i * 7) % 2048));
  TextTask task(model.graph, std::move(tokens), 256, 16, 0);
  TrainOptions options;
  options.steps = steps + 3;
  options.optimiser = OptimiserKind::kAdamW;
  options.learning_rate = 1e-3;
  options.beta2 = 0.95;
  options.weight_decay = 0.1;
  options.clip = 1;
  options.evaluate_every = 0;
  return median_step(model.graph, task, options, masked);
}

}  // namespace
}  // namespace espalier

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: train_step resnet20|lm STEPS [THREADS [masked]]\n");
    return 2;
  }
  const std::string kind = argv[1];
  const int64_t steps = std::atoll(argv[2]);
  const int threads = argc > 3 ? std::atoi(argv[3]) : at::get_num_threads();
  at::set_num_threads(threads);
  espalier::set_thread_count(threads);
  const bool masked = argc > 4;
  std::string pattern = (std::filesystem::temp_directory_path() / "train-step-XXXXXX").string();
  const std::filesystem::path directory = ::mkdtemp(pattern.data());
  const double seconds = kind == "lm" ? espalier::decoder_step(steps, masked, directory) : espalier::resnet_step(steps, masked, directory);
  std::filesystem::remove_all(directory);
  std::printf("espalier %s%s: %.4f s a step (median of %lld), peak %.0f MB\n", kind.c_str(), masked ? " with masks" : "", seconds,
              static_cast<long long>(steps), static_cast<double>(espalier::peak_rss_bytes()) / 1e6);
}
