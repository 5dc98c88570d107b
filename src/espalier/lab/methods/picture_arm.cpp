#include "espalier/lab/methods/picture_arm.h"

#include "espalier/core/error.h"
#include "espalier/lab/measure/accuracy.h"
#include "espalier/lab/methods/job.h"
#include "espalier/lab/repair/repair.h"

namespace espalier {
namespace {

Accuracy test_accuracy(const ReproduceContext& context, const Model& model) {
  return measure_accuracy(model.graph, *ImageDataset::open(context.vision_test), model.image);
}

Model open_picture_model(const std::filesystem::path& path) {
  if (path.empty()) user_error("reproduce: this one needs an embedded model of pictures, and there is none");
  return load_model(path);
}

}  // namespace

PictureArm picture_arm(const ReproduceContext& context, const std::filesystem::path& path, const PictureArmRequest& request) {
  const Method& method = find_method(request.method);
  Model model = open_picture_model(path);
  JobSettings settings;
  settings.sparsity = request.sparsity;
  settings.of = request.of.empty() ? method.default_of : request.of;
  settings.options = request.options;
  settings.seed = request.seed;
  settings.align = request.align;
  CalibrationSource source;
  source.samples = request.samples;
  if (request.calibrate) source.images = request.train ? request.train : ImageDataset::open(source.data = context.vision_train);
  PruneJob job(method, model, source, settings, nullptr, 0);
  method.prune(job);
  if (!request.fine_tune.empty()) repair_model(job, "finetune", request.fine_tune);
  const Accuracy accuracy = test_accuracy(context, model);
  return {accuracy.top1.value, accuracy.macro.f1, model_size(model.graph, model), job.reached(), job.findings()};
}

double dense_accuracy(const ReproduceContext& context, const std::filesystem::path& path) { return test_accuracy(context, open_picture_model(path)).top1.value; }

}  // namespace espalier
