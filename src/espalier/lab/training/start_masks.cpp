#include "espalier/lab/training/start_masks.h"

#include "espalier/core/ranking.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

class StartMasksPlugin : public Plugin, public DecidesMasks {
 public:
  explicit StartMasksPlugin(StartMasks settings) : settings_(std::move(settings)) {}

  std::string id() const override { return settings_.id; }
  std::string refuses(const Plugin& other) const override { return refuses_other_masks(other); }
  void before_training(Training& training) override {
    weights_ = PrunableWeights(training, settings_.exclude, settings_.id);
    masks_ = settings_.masks(training, weights_);
    weights_.set_masks(training, masks_);
  }
  Json findings() const override { return {{"layers", density_table(weights_.names(), masks_)}, {"kept", alive_count(masks_)}, {"total", weights_.total()}}; }

  void save(StateStore& state) const override { put_tensors(state, "mask", masks_); }
  void load(const StateStore& state) override { masks_ = get_tensors(state, "mask"); }

 private:
  StartMasks settings_;
  PrunableWeights weights_;
  LayerTensors masks_;
};

}  // namespace

std::unique_ptr<Plugin> make_start_masks(StartMasks settings) { return std::make_unique<StartMasksPlugin>(std::move(settings)); }

LayerTensors highest_scores(const LayerTensors& scores, double sparsity, const std::string& where) {
  LayerTensors masks;
  for (const auto& layer : scores) masks.push_back(at::ones(layer.sizes(), at::kBool));
  remove_lowest(scores, masks, removal_count(sparsity, alive_count(masks)), where);
  return masks;
}

}  // namespace espalier
