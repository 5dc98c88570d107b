#include "espalier/lab/methods/training/sparse_training.h"

#include "espalier/core/ranking.h"
#include "espalier/lab/methods/training_arm.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/small_networks.h"

namespace espalier {

double sparsity_of(const std::string& id, const PluginRequest& request) {
  const double sparsity = request.sparsity.value_or(0.9);
  check_share(sparsity, id);
  return sparsity;
}

DynamicSparse sparse_start(const std::string& id, const PluginRequest& request) {
  DynamicSparse settings{.id = id, .start_density = 1 - sparsity_of(id, request), .exclude = request.options.text("exclude")};
  settings.uniform_start = request.options.word("start", {"erk", "uniform"}) == "uniform";
  return settings;
}

Reproduction against_a_fixed_mask(const ReproduceContext& context, const std::string& method, int64_t steps, const std::map<std::string, std::string>& options, const std::string& claim) {
  constexpr uint64_t kSeeds = 3;
  constexpr double kSparsity = 0.95;
  double ours = 0, fixed = 0;
  Json seeds = Json::object();
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    for (const bool control : {false, true}) {
      Model model = small_convnet(seed);
      TrainingArmRequest request{.method = control ? "static-sparse" : method, .sparsity = kSparsity, .steps = steps, .seed = seed};
      if (!control) request.options = options;
      const double accuracy = training_arm(context, model, request).accuracy;
      (control ? fixed : ours) += 100 * accuracy / kSeeds;
      seeds[control ? "fixed" : "ours"].push_back(accuracy);
    }
  }
  return {claim,
          fmt::format("{:g} % of a small convolutional network's weights, {} steps, mean of {} seeds: top-1 {:.1f} %, with the fixed mask {:.1f} %", 100 * kSparsity, steps, kSeeds,
                      ours, fixed),
          ours > fixed,
          seeds};
}

}  // namespace espalier
