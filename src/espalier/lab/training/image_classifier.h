// Training of graphs that map pictures to class scores without plugins, as repairs and reproductions do it: trainer.h
// with a PictureTask.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "espalier/families/image_input.h"
#include "espalier/graph/graph.h"
#include "espalier/io/image_dataset.h"
#include "espalier/structure/mask.h"

namespace espalier {

enum class ClassifierOptimiser { kSgd, kAdamW };
enum class ClassifierSchedule { kCosine, kSteps };

struct ClassifierTraining {
  int64_t epochs = 1;            // 0: as many as `steps` take
  std::optional<int64_t> steps;  // at most so many
  int64_t batch = 128;
  ClassifierOptimiser optimiser = ClassifierOptimiser::kSgd;
  double learning_rate = 0.1, momentum = 0.9;  // momentum of SGD; AdamW has betas 0.9 and 0.999
  bool nesterov = false;
  double weight_decay = 0;
  bool decay_vectors = false;  // biases and weights of norms too
  ClassifierSchedule schedule = ClassifierSchedule::kCosine;
  double final_ratio = 0;                        // the cosine ends at learning_rate · final_ratio
  std::vector<double> milestones = {0.5, 0.75};  // kSteps: shares of all steps after which the rate falls …
  double milestone_factor = 0.1;                 // … by this factor
  int64_t warmup = 0;                            // steps of a linear rise from 0
  double label_smoothing = 0;                    // share of the target spread over all classes
  bool augment = false;                          // shifts by up to `shift` pixels into a black border, and mirrors
  int64_t shift = 4;
  double batch_momentum = 0.1;  // of running statistics
  uint64_t seed = 0;
};

struct ClassifierReport {
  int64_t epoch, steps;  // done
  double loss;           // mean over the epoch's batches
  double accuracy;       // on the epoch's pictures, as they were seen, before each step
  double pictures_per_second;
};

// Trains all floating weights but running statistics (which follow the batches), in place; the graph changes only when
// the training ends well. indices: which pictures (empty: all); a last batch that is not full is left out. teacher: the
// target is its distribution instead of the labels. on_report is called after every epoch.
// UserError for a graph that takes one picture at a time, labels above its classes, a loss that is not finite.
void train_classifier(Graph& graph, const ImageDataset& dataset, std::span<const int64_t> indices,
                      const ImageInput& input, const ClassifierTraining& options,
                      const std::map<std::string, WeightMask>& masks = {},
                      const std::function<void(const ClassifierReport&)>& on_report = nullptr,
                      const Graph* teacher = nullptr);

}  // namespace espalier
