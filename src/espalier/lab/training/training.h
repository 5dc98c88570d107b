// A training as plugins see it: the weights, their masks and gradients, the optimiser's state, the schedule.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "espalier/core/rng.h"
#include "espalier/graph/graph.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/training/plugin.h"
#include "espalier/lab/training/state_store.h"

namespace espalier {

class TrainingTask;   // training_task.h
class TrainOptimiser;  // optimiser.h
struct TrainOptions;  // trainer.h

struct Metric {
  int64_t step;  // steps done when it was taken
  std::string name;
  double value;
};

class Training {
 public:
  Training(const Graph& graph, TrainingTask& task, const TrainOptions& options);
  ~Training();
  Training(const Training&) = delete;
  Training& operator=(const Training&) = delete;

  const Graph& graph() const { return graph_; }
  const TrainOptions& options() const { return options_; }
  TrainingTask& task() { return task_; }
  Weights& weights() { return weights_; }  // what the interpreter reads: a plugin may install an effective weight here …
  const Interpreter& interpreter() const { return *interpreter_; }
  void restore_weight(const std::string& parameter);  // … and the trained one again

  // Place on the schedule. In a step's hooks step() is that step, from 0; at epoch_end it still is; at the end steps().
  int64_t step() const { return step_; }
  int64_t steps() const { return steps_; }
  int64_t steps_an_epoch() const;
  double learning_rate() const;  // of this step
  int64_t steps_run() const { return steps_run_; }  // counting what was run again after rewinding
  // A stream of its own for each name and step: a resumed run draws the same numbers.
  Rng rng(const std::string& stream) const;

  // Everything that is trained, in the graph's order, then what plugins added.
  const std::vector<std::string>& trained() const { return names_; }
  at::Tensor& value(const std::string& name);    // the leaf: fp32, requires a gradient
  at::Tensor gradient(const std::string& name);  // undefined before the first backward
  // Weights that single-weight methods may remove: of Linear and convolutions, in the graph's order. The embedding and
  // an output head that shares its weight are not among them.
  std::vector<std::string> prunable() const;
  // Of this step's forward, for extra_loss(): the batch, what the graph put out, the task's own loss.
  const TrainingBatch& batch() const { return batch_; }
  const at::Tensor& output() const { return output_; }
  const at::Tensor& loss() const { return loss_; }
  double last_loss() const { return last_loss_; }

  // Masks are explicit, and kept by every step: bool in the stored shape; undefined: all weights are there.
  at::Tensor mask(const std::string& name) const;
  // Weights and optimiser state outside become zero at once. keep undefined: unmasked again.
  void set_mask(const std::string& name, const at::Tensor& keep);
  // The optimiser forgets what it gathered at these places (bool): momentum, second moments.
  void forget(const std::string& name, const at::Tensor& where);
  double density() const;  // kept share of all prunable weights

  // Only in before_training: further tensors to train (gates, adapters), and what stays as it is.
  void add_trained(const std::string& name, at::Tensor value, double weight_decay = 0, double rate_factor = 1);
  void freeze(const std::string& name);
  bool is_frozen(const std::string& name) const;

  // A number for the run's record; several of one name and step: the last.
  void record(const std::string& name, double value);
  const std::vector<Metric>& metrics() const { return metrics_; }

  // Everything that goes on with a training from here: trained values, running statistics, optimiser, place on the
  // schedule. Masks are not part of it: restoring puts the weights under the present ones.
  StateStore snapshot() const;
  // fresh_optimiser: momentum begins at 0 again instead.
  void restore(const StateStore& snapshot, bool fresh_optimiser = false);
  // Another order of the data (and other augmentation) from now on: 0 is the run's own.
  void set_data_order(uint64_t order) { data_order_ = order; }
  uint64_t data_order() const { return data_order_; }

  // The weights as they are now, in a graph of their own (in the averaged form, where an average is kept and asked for).
  Graph result(bool averaged = false) const;
  uint64_t optimiser_bytes() const;

 private:
  friend class Trainer;

  struct Entry {
    at::Tensor value, keep;  // keep: float 0/1, undefined without a mask
    double weight_decay = -1, rate_factor = 1;  // weight_decay < 0: the options'
    bool frozen = false, added = false;
  };

  void start();                   // after before_training: makes the optimiser
  void mask_gradients();
  double clip_gradients();        // their L2 norm, as the masks leave them, before
  void update();                  // the optimiser's step, and the average's
  StateStore state() const;       // a snapshot with masks and record
  void load(const StateStore& state);
  void store(Graph& graph, bool averaged) const;
  Entry& entry(const std::string& name);
  const Entry& entry(const std::string& name) const;
  void apply_mask(Entry& entry);

  const Graph& graph_;
  TrainingTask& task_;
  const TrainOptions& options_;
  Weights weights_;
  std::unique_ptr<Interpreter> interpreter_;
  std::vector<std::string> names_;
  std::unordered_map<std::string, Entry> entries_;
  std::vector<std::pair<std::string, at::Tensor>> statistics_;
  std::unordered_map<std::string, at::Tensor> averages_;
  std::unique_ptr<TrainOptimiser> optimiser_;
  TrainingBatch batch_;
  at::Tensor output_, loss_;
  double last_loss_ = 0;
  int64_t step_ = 0, steps_ = 0, steps_run_ = 0;
  bool in_step_ = false;
  uint64_t data_order_ = 0;
  std::vector<Metric> metrics_;
};

}  // namespace espalier
