// What a training is for: batches and their loss.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>

#include "espalier/graph/graph.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/training/plugin.h"

namespace espalier {

class TrainingTask {
 public:
  virtual ~TrainingTask() = default;
  virtual int64_t batches_an_epoch() const = 0;
  // Depends on the task's seed, the order and the index alone, so that a run goes on anywhere. Reading forward is cheap.
  virtual TrainingBatch batch(int64_t index, uint64_t order) = 0;
  // What the graph puts out for the batch.
  virtual at::Tensor loss(const Graph& graph, const at::Tensor& output, const TrainingBatch& batch) const = 0;
  // Right answers (pictures, tokens) and how many there were, for the record.
  virtual std::pair<int64_t, int64_t> hits(const at::Tensor& output, const TrainingBatch& batch) const = 0;
  // On data held out; empty when there is none. {"accuracy": 0.91}, {"perplexity": 40.2}. The observer, if any, sees every forward.
  virtual std::map<std::string, double> evaluate(const Graph& graph, const Observer* observer = nullptr) = 0;
  virtual std::string unit() const = 0;  // what speed is counted in: "pictures", "tokens"
};

}  // namespace espalier
