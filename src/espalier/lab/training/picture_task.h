// Training a classifier of pictures.
#pragma once

#include <memory>
#include <span>

#include "espalier/lab/training/picture_batches.h"
#include "espalier/lab/training/training_task.h"

namespace espalier {

struct PictureTaskOptions {
  int64_t batch = 128;
  PictureAugmentation augmentation;
  double label_smoothing = 0;  // share of the target spread over all classes
  double mixup = 0;            // alpha of the Beta distribution of two pictures' shares (Zhang et al. 2017); 0: none
  int64_t evaluation_limit = 0;
  uint64_t seed = 0;
};

class PictureTask : public TrainingTask {
 public:
  // indices: which pictures (empty: all). evaluation: null for none. teacher: its distribution is the target instead of
  // the labels. UserError: labels above the graph's classes, a graph that takes one picture at a time.
  PictureTask(const Graph& graph, const ImageDataset& dataset, std::span<const int64_t> indices, const ImageInput& input,
              const PictureTaskOptions& options, const ImageDataset* evaluation = nullptr, const Graph* teacher = nullptr);
  ~PictureTask() override;

  int64_t batches_an_epoch() const override { return batches_.batches_an_epoch(); }
  TrainingBatch batch(int64_t index, uint64_t order) override;
  at::Tensor loss(const Graph& graph, const at::Tensor& output, const TrainingBatch& batch) const override;
  std::pair<int64_t, int64_t> hits(const at::Tensor& output, const TrainingBatch& batch) const override;
  std::map<std::string, double> evaluate(const Graph& graph, const Observer* observer = nullptr) override;
  std::string unit() const override { return "pictures"; }

 private:
  class Teacher;
  void mix(TrainingBatch& batch, int64_t index, uint64_t order) const;

  ImageInput input_;
  PictureTaskOptions options_;
  PictureBatches batches_;
  const ImageDataset* evaluation_;
  std::unique_ptr<Teacher> teacher_;
};

}  // namespace espalier
