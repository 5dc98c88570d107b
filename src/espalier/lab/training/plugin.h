// What takes part in a training: growing masks, gates, penalties, rewinding. Hooks are called in this order; where
// several plugins are given, each hook runs through all of them in the order given.
//
//   before_training                 once, also when a run is resumed (then load() follows)
//   each step
//     on_batch                      the batch may be changed, effective weights installed
//     (forward with observers of all plugins)
//     extra_loss                    terms added to the task's loss
//     (backward, gradients unscaled and clipped)
//     after_backward                gradients are dense here: removed weights have theirs, too
//     (gradients masked, optimiser step)
//     after_step                    weights are masked
//   epoch_end                       after after_step of an epoch's last step
//   goes_on                         after the last step: true when the plugin moved the training back, which then runs on
//   end                             once, when no plugin goes on
//   finish                          the weights stand in the model's graph, which may be cut now
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "espalier/lab/training/state_store.h"

namespace espalier {

class Training;  // training.h
struct Observer;
struct Model;

struct TrainingBatch {
  at::Tensor inputs;   // pictures [n, c, h, w] or token ids [n, tokens]
  at::Tensor targets;  // int64: labels [n], next tokens [n, tokens] (-1: none)
  // Mixed pictures have two labels: the loss is share · loss(targets) + (1 - share) · loss(others). Undefined: one.
  at::Tensor others;
  double share = 1;
  at::Tensor weights = {};  // of next tokens, in their shape: the loss is the sum by these; undefined: the mean
};

class Plugin {
 public:
  virtual ~Plugin() = default;
  virtual std::string id() const = 0;  // "15-granet"
  // Why it cannot run beside the other; "" when it can. Asked in both directions.
  virtual std::string refuses(const Plugin&) const { return ""; }

  virtual void before_training(Training&) {}
  virtual void on_batch(Training&, TrainingBatch&) {}
  virtual const Observer* observer() { return nullptr; }  // of every forward of a step; may change between steps
  virtual const Observer* lasting_observer() { return nullptr; }  // of evaluations: what the model will also be run with
  virtual at::Tensor extra_loss(Training&) { return {}; }  // a scalar; undefined: none
  virtual void after_backward(Training&) {}
  virtual void after_step(Training&) {}
  virtual void epoch_end(Training&) {}
  virtual bool goes_on(Training&) { return false; }
  virtual void end(Training&) {}
  virtual void finish(Model&) {}
  virtual Json findings() const { return nullptr; }  // for the run's record: tables, counts; null: none

  // Everything that a resumed run needs beside the trainer's own state (weights, masks, optimiser, step).
  virtual void save(StateStore&) const {}
  virtual void load(const StateStore&) {}
};

using Plugins = std::vector<std::unique_ptr<Plugin>>;

}  // namespace espalier
