// Tiny classifiers of every vision family with pictures to calibrate on, for tests of methods.
#pragma once

#include <map>
#include <string>

#include "espalier/core/error.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/methods/job.h"
#include "espalier/lab/torch.h"
#include "tests/families/vision_models.h"
#include "tests/lab/training/small_classifier.h"
#include "tests/support.h"

namespace espalier::test {

struct PictureTrial {
  explicit PictureTrial(const std::string& family) : model(load_tiny_vision(directory / "model", tiny_vision_configs().at(family))) {}

  TempDir directory;
  Model model;
  std::map<std::string, std::string> options;
  double sparsity = 0.3;
  std::string of;
  std::vector<std::string> protect;
  int64_t align = 1, pictures = 24;
  bool trial = false, images = true;

  PruneJob job(const std::string& id) {
    const Method& method = find_method(id);
    JobSettings settings;
    settings.sparsity = sparsity;
    settings.of = of.empty() ? method.default_of : of;
    settings.options = options;
    settings.protect = protect;
    settings.align = align;
    settings.trial = trial;
    CalibrationSource source;
    source.samples = pictures;
    if (images)
      source.images = std::make_shared<FormulaPictures>(pictures, 5, model.image.height, model.image.channels, [](int64_t i, int64_t p) {
        return static_cast<uint8_t>((i * 61 + p * (29 + i % 7) + (p * p) % 17 * 7) % 256);
      });
    return PruneJob(method, model, source, settings, nullptr, 0);
  }
  void prune(const std::string& id) {
    PruneJob made = job(id);
    made.method().prune(made);
    findings = made.findings();
    removed = made.removed();
    reached = made.reached();
  }
  at::Tensor logits(const Graph& graph) const {
    Weights weights(graph);
    const Shape shape = input_shapes(graph)[0];
    return Interpreter(graph, weights).forward(at::sin(at::arange(element_count(shape), at::kFloat) * 0.37).view(shape));
  }

  Json findings, removed;
  double reached = 0;
};

// What is said against the method; "": nothing.
inline std::string message_of(PictureTrial& trial, const std::string& method) {
  try {
    trial.prune(method);
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

// In their scale: outputs of unnormalised networks may be large.
inline double distance(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>() / std::max(1.0, a.abs().max().item<double>());
}

}  // namespace espalier::test
