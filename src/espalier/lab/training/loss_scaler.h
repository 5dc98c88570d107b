// Dynamic loss scaling (Micikevicius et al., 2018): losses are multiplied before backward so that small gradients are no
// zeros in fp16. The scale halves whenever a gradient overflows, and doubles after so many steps without.
#pragma once

#include <cstdint>

#include "espalier/core/json.h"

namespace espalier {

class LossScaler {
 public:
  static constexpr double kGrowth = 2, kBackoff = 0.5, kLeast = 0x1p-24;
  static constexpr int64_t kInterval = 2000;

  explicit LossScaler(double initial) : scale_(initial) {}  // 0: no scaling, scale() is 1
  bool active() const { return scale_ > 0; }
  double scale() const { return active() ? scale_ : 1; }
  // What a step's gradients were. False: they overflowed, the step has to be left out.
  bool update(bool finite);
  bool exhausted() const { return active() && scale_ < kLeast; }  // no scale makes them finite

  Json save() const;
  void load(const Json& state);

 private:
  double scale_;
  int64_t good_steps_ = 0;  // since the scale last changed
};

}  // namespace espalier
