#include "espalier/lab/training/picture_task.h"

#include <cmath>

#include "espalier/core/error.h"
#include "espalier/graph/operator.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/measure/accuracy.h"
#include "espalier/lab/measure/class_scores.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

void check_fits(const Graph& graph, const PictureBatches& batches, const std::vector<int64_t>& picture) {
  if (batch_that_fits(graph, picture, batches.batch()) != batches.batch())
    throw UserError("training", "model", fmt::format("one that takes batches of {} pictures", batches.batch()),
                    "one that takes a single picture");
  Graph shaped = graph.clone();
  Shape input = {batches.batch()};
  input.insert(input.end(), picture.begin(), picture.end());
  infer_shapes(shaped, {input});
  const Shape& out = shaped.values[static_cast<size_t>(shaped.outputs.at(0))].shape;
  if (out.size() < 2 || batches.largest_label() >= out[1])
    throw UserError("training", "labels", fmt::format("below the model's classes, output {}", to_string(out)),
                    fmt::format("{}", batches.largest_label()));
}

at::Tensor label_loss(const at::Tensor& scores, const at::Tensor& labels, double smoothing) {
  const at::Tensor loss = -scores.gather(1, labels.unsqueeze(1)).mean();
  return smoothing == 0 ? loss : loss * (1 - smoothing) - scores.mean() * smoothing;
}

// Of a Gamma distribution of this shape (Marsaglia and Tsang 2000; below 1 by Stuart's power of a uniform number).
double gamma(Rng& rng, double shape) {
  if (shape < 1) return gamma(rng, shape + 1) * std::pow(1 - rng.uniform(), 1 / shape);
  const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  while (true) {
    const double x = rng.normal(), v = (1 + c * x) * (1 + c * x) * (1 + c * x);
    if (v > 0 && portable_log(1 - rng.uniform()) < 0.5 * x * x + d - d * v + d * portable_log(v)) return d * v;
  }
}

}  // namespace

// Class scores of a graph that is only run.
class PictureTask::Teacher {
 public:
  explicit Teacher(const Graph& graph) : graph_(graph), weights_(graph), interpreter_(graph, weights_) {}
  at::Tensor scores(const at::Tensor& pixels) const {
    at::NoGradGuard no_gradients;
    return class_log_probabilities(graph_, interpreter_.forward(pixels), pixels.size(0));
  }

 private:
  const Graph& graph_;
  Weights weights_;
  Interpreter interpreter_;
};

PictureTask::PictureTask(const Graph& graph, const ImageDataset& dataset, std::span<const int64_t> indices, const ImageInput& input,
                         const PictureTaskOptions& options, const ImageDataset* evaluation, const Graph* teacher)
    : input_(input),
      options_(options),
      batches_(dataset, indices, input_, options.batch, options.augmentation, options.seed),
      evaluation_(evaluation),
      teacher_(teacher ? std::make_unique<Teacher>(*teacher) : nullptr) {
  if (!(options.label_smoothing >= 0 && options.label_smoothing < 1))
    throw UserError("training", "smoothing", "a share in [0, 1)", fmt::format("{}", options.label_smoothing));
  if (!(options.mixup >= 0)) throw UserError("training", "mixup", "a number from 0 on", fmt::format("{}", options.mixup));
  check_fits(graph, batches_, batches_.at(0).pixels.sizes().slice(1).vec());
}

PictureTask::~PictureTask() = default;

void PictureTask::mix(TrainingBatch& batch, int64_t index, uint64_t order) const {
  Rng rng(options_.seed, fmt::format("training/mixup/{}/{}", order, index));
  const double one = gamma(rng, options_.mixup), other = gamma(rng, options_.mixup);
  batch.share = one + other > 0 ? one / (one + other) : 1;
  std::vector<int64_t> partners(static_cast<size_t>(batch.targets.size(0)));
  for (size_t i = 0; i < partners.size(); ++i) partners[i] = static_cast<int64_t>(i);
  rng.shuffle(partners);
  const at::Tensor chosen = at::tensor(partners);
  batch.inputs = batch.inputs * batch.share + batch.inputs.index_select(0, chosen) * (1 - batch.share);
  batch.others = batch.targets.index_select(0, chosen);
}

TrainingBatch PictureTask::batch(int64_t index, uint64_t order) {
  LabelledImages images = batches_.at(index, order);
  TrainingBatch batch{images.pixels, images.labels, {}, 1};
  if (options_.mixup > 0) mix(batch, index, order);
  return batch;
}

at::Tensor PictureTask::loss(const Graph& graph, const at::Tensor& output, const TrainingBatch& batch) const {
  const at::Tensor scores = class_log_probabilities(graph, output, batch.targets.size(0));
  if (teacher_) {
    const at::Tensor target = teacher_->scores(batch.inputs);
    return (target.exp() * (target - scores)).sum(1).mean();
  }
  const at::Tensor first = label_loss(scores, batch.targets, options_.label_smoothing);
  if (!batch.others.defined()) return first;
  return first * batch.share + label_loss(scores, batch.others, options_.label_smoothing) * (1 - batch.share);
}

std::pair<int64_t, int64_t> PictureTask::hits(const at::Tensor& output, const TrainingBatch& batch) const {
  const int64_t pictures = batch.targets.size(0);
  return {(output.reshape({pictures, -1}).argmax(1) == batch.targets).sum().item<int64_t>(), pictures};
}

std::map<std::string, double> PictureTask::evaluate(const Graph& graph, const Observer* observer) {
  if (!evaluation_) return {};
  at::NoGradGuard no_gradients;
  const Accuracy accuracy = measure_accuracy(graph, *evaluation_, input_, options_.evaluation_limit, 0, nullptr, nullptr, observer);
  return {{"accuracy", accuracy.top1.value}};
}

}  // namespace espalier
