// The embedded model and its calibration text, for tests of methods.
#pragma once

#include <map>
#include <string>

#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/methods/job.h"
#include "espalier/lab/torch.h"
#include "tests/support.h"

namespace espalier::test {

inline std::filesystem::path embedded_model() { return assets_dir() / "models" / "espalier-tiny"; }

struct Trial {
  Model model = load_model(embedded_model());
  std::map<std::string, std::string> options;
  double sparsity = 0.5;
  std::optional<NOfM> pattern;
  int64_t block = 1;
  std::vector<std::string> protect;
  uint64_t seed = 0;
  int64_t align = 8;
  int64_t samples = 4, length = 64;  // of calibration
  bool trial = false;  // PruneJob::trial()
  RunDirectory* run = nullptr;

  PruneJob job(const std::string& id) {
    const Method& method = find_method(id);
    JobSettings settings;
    settings.sparsity = sparsity;
    settings.of = method.default_of;
    settings.options = options;
    settings.pattern = pattern;
    settings.block = block;
    settings.protect = protect;
    settings.seed = seed;
    settings.align = align;
    settings.trial = trial;
    return PruneJob(method, model, {assets_dir() / "data" / "calibration.txt", Tokenizer::load(embedded_model()), samples, length}, settings, run, 0);
  }
};

// In fp64, so that what two forms of one model compute differs by more than rounding only when the models differ.
inline at::Tensor logits_of(const Graph& graph) {
  at::NoGradGuard no_gradients;
  Weights weights(graph);
  for (const auto& parameter : graph.parameters()) weights.set(parameter->name(), weights.get(parameter->name()).to(at::kDouble));
  return Interpreter(graph, weights).forward(at::arange(24).unsqueeze(0) * 37 % 2048);
}

// Every parameter's bytes in one string.
inline std::string bytes_of(const Graph& graph) {
  std::string all;
  for (const auto& parameter : graph.parameters()) {
    const Tensor value = parameter->load();
    all.append(reinterpret_cast<const char*>(value.bytes()), value.byte_size());
  }
  return all;
}

}  // namespace espalier::test
