#include "espalier/lab/methods/training/picture_training.h"

#include "espalier/io/image_dataset.h"
#include "espalier/lab/measure/accuracy.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/picture_task.h"

namespace espalier {
namespace {

TrainOptions options_of(const PictureTraining& training) {
  TrainOptions options;
  options.steps = training.steps;
  options.learning_rate = training.learning_rate;
  options.weight_decay = training.weight_decay;
  options.seed = training.seed;
  options.report_every = training.steps;
  options.evaluate_every = 0;
  return options;
}

}  // namespace

Json train_on_pictures(const ReproduceContext& context, Model& model, const PictureTraining& training, Plugins plugins,
                       const std::map<std::string, WeightMask>& masks) {
  const auto pictures = ImageDataset::open(context.vision_train);
  PictureTask task(model.graph, *pictures, {}, model.image, {.batch = training.batch, .seed = training.seed});
  train(model.graph, task, options_of(training), plugins, masks);
  Json findings = Json::object();
  for (auto& plugin : plugins) {
    plugin->finish(model);
    findings[plugin->id()] = plugin->findings();
  }
  return findings;
}

double percent_right(const ReproduceContext& context, const Model& model) {
  return 100 * measure_accuracy(model.graph, *ImageDataset::open(context.vision_test), model.image).top1.value;
}

Model copy_of(const Model& model) {
  Model copy;
  copy.path = model.path;
  copy.task = model.task;
  copy.image = model.image;
  copy.classes = model.classes;
  copy.example_inputs = model.example_inputs;
  copy.input_dtypes = model.input_dtypes;
  copy.graph = model.graph.clone();
  return copy;
}

}  // namespace espalier
