// Next-token training of a decoder graph: AdamW, linear warm-up, cosine decay, gradient clipping.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "espalier/graph/graph.h"

namespace espalier {

struct LanguageTraining {
  int64_t steps = 4000, batch = 16, length = 256, warmup = 200;
  double learning_rate = 3e-3, final_ratio = 0.05;  // the cosine ends at learning_rate · final_ratio
  double weight_decay = 0.1;                        // of matrices only
  double beta1 = 0.9, beta2 = 0.95, clip = 1.0;
  uint64_t seed = 0;
  int64_t stop = 0;  // leaves off after so many steps, on the schedule of all; 0: never
  int64_t report_every = 50, save_every = 250;
};

struct TrainingReport {
  int64_t step;
  double loss;  // nats a token (weighted where batches are), mean since the last report
  double fetch_loss, fetch_accuracy;  // of the batches' fetch tokens, likewise; 0 without
  double tokens_per_second;
};

struct LanguageBatch {
  at::Tensor ids;      // int64 [batch, length + 1]
  at::Tensor weights;  // [batch, length]: how much each of ids[:, 1:] counts in the loss, their sum; undefined: their mean
  at::Tensor fetch;    // bool [batch, length]: the labels reported apart; undefined: none
};

// Trains the graph's parameters in place on the batches `next` gives for steps 0, 1, …; options.batch and length are not
// read. on_save sees the graph with the weights so far.
void train_language_model(Graph& graph, const std::function<LanguageBatch(int64_t step)>& next, const LanguageTraining& options,
                          const std::function<void(const TrainingReport&)>& on_report,
                          const std::function<void(const Graph&)>& on_save);

// The same on windows of one text. Every epoch visits the non-overlapping windows of `tokens` in a new order,
// shifted by a random offset.
void train_language_model(Graph& graph, const std::vector<int32_t>& tokens, const LanguageTraining& options,
                          const std::function<void(const TrainingReport&)>& on_report,
                          const std::function<void(const Graph&)>& on_save);

// Learning rate of a step: linear from 0 over `warmup` steps, then a cosine from learning_rate to its final share.
double learning_rate_at(const LanguageTraining& options, int64_t step);

}  // namespace espalier
