#include "espalier/lab/training/loss_scaler.h"

namespace espalier {

bool LossScaler::update(bool finite) {
  if (!active()) return true;
  if (!finite) {
    scale_ *= kBackoff;
    good_steps_ = 0;
    return false;
  }
  if (++good_steps_ == kInterval) {
    scale_ *= kGrowth;
    good_steps_ = 0;
  }
  return true;
}

Json LossScaler::save() const { return {{"scale", scale_}, {"good_steps", good_steps_}}; }

void LossScaler::load(const Json& state) {
  scale_ = state.at("scale").get<double>();
  good_steps_ = state.at("good_steps").get<int64_t>();
}

}  // namespace espalier
