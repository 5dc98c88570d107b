#include "espalier/lab/methods/training_arm.h"

#include <numeric>

#include "espalier/core/error.h"
#include "espalier/io/image_dataset.h"
#include "espalier/lab/methods/plugin_request.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/picture_task.h"

namespace espalier {
namespace {

TrainOptions options_of(const TrainingArmRequest& request) {
  TrainOptions options;
  options.steps = request.steps;
  options.learning_rate = request.learning_rate;
  options.weight_decay = request.weight_decay;
  options.seed = request.seed;
  options.report_every = request.steps;
  options.evaluate_every = request.evaluate ? 1 : request.steps;
  return options;
}

// The last number of this name.
double last_metric(const std::vector<Metric>& metrics, const std::string& name) {
  for (auto metric = metrics.rbegin(); metric != metrics.rend(); ++metric)
    if (metric->name == name) return metric->value;
  user_error("reproduce: the training recorded no {}", name);
}

}  // namespace

TrainingArm training_arm(const ReproduceContext& context, Model& model, const TrainingArmRequest& request) {
  const auto train_set = ImageDataset::open(context.vision_train), test_set = ImageDataset::open(context.vision_test);
  std::vector<int64_t> indices(static_cast<size_t>(request.pictures > 0 ? std::min(request.pictures, train_set->size()) : train_set->size()));
  std::iota(indices.begin(), indices.end(), int64_t{0});
  PictureTask task(model.graph, *train_set, indices, model.image, {.batch = request.batch, .seed = request.seed}, test_set.get());
  const TrainOptions options = options_of(request);
  Plugins plugins;
  if (!request.method.empty())
    plugins.push_back(make_plugin(request.method, request.options, request.sparsity, model, options, request.steps, task.batches_an_epoch()));
  TrainingArm arm;
  arm.result = train(model.graph, task, options, plugins);
  arm.accuracy = last_metric(arm.result.metrics, "accuracy");
  if (!plugins.empty()) arm.findings = plugins[0]->findings();
  return arm;
}

}  // namespace espalier
