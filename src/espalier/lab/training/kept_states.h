// Early states of a training, kept so that it can begin again from there: rewinding (Frankle et al. 2019).
#pragma once

#include <cstdint>
#include <string>

#include "espalier/lab/training/training.h"

namespace espalier {

class KeptStates {
 public:
  KeptStates() = default;
  KeptStates(std::string owner, int64_t early) : owner_(std::move(owner)), early_step_(early) {}

  void before_step(const Training& training);  // from on_batch
  void after_step(const Training& training);

  int64_t early_step() const { return early_step_; }
  const StateStore& initial() const { return checked(initial_, 0); }  // before the first step
  const StateStore& early() const { return early_step_ == 0 ? initial() : checked(early_, early_step_); }

  void save(StateStore& state) const;
  void load(const StateStore& state);

 private:
  const StateStore& checked(const StateStore& store, int64_t step) const;  // UserError when it was not kept

  std::string owner_;
  int64_t early_step_ = 0;
  StateStore initial_, early_;
};

// The state's weights of these names, in that order, under the masks.
std::vector<at::Tensor> masked_weights(const StateStore& state, const std::vector<std::string>& names, const std::vector<at::Tensor>& masks);

// The same state with all weights and statistics drawn anew, at the start of the schedule.
StateStore fresh_state(const Training& training, const StateStore& initial, uint64_t seed);

}  // namespace espalier
