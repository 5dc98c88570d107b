#include "espalier/lab/evaluate_images.h"

#include "espalier/core/assets.h"
#include "espalier/core/error.h"
#include "espalier/lab/measure/accuracy.h"
#include "espalier/lab/methods/runner.h"

namespace espalier {
namespace {

void check_images_request(const EvalRequest& request, const Model& model) {
  if (!request.metric.empty() && request.metric != "accuracy" && request.metric != "kl")
    throw UserError("--metric", "metric of a classifier of pictures", "accuracy or kl", request.metric);
  if (request.length > 0 || request.stride > 0)
    user_error("--length and --stride are for language models; {} is a classifier of pictures", model.path.string());
  if (request.data.empty() && !is_embedded(model.path))
    user_error("--data: missing: on which pictures shall {} be measured?", model.path.string());
}

Model open_against(const EvalRequest& request) {
  Model model = open_model(request.against, request.common);
  if (model.task != Task::kImages)
    throw UserError("--against", "model", "a classifier of pictures", fmt::format("one of {}", name_of(model.task)));
  return model;
}

Json interval(const Estimate& estimate) { return {estimate.low, estimate.high}; }

}  // namespace

Json evaluate_images(const EvalRequest& request, const Model& model) {
  check_images_request(request, model);
  const auto data = ImageDataset::open(resolve_data(request.data.empty() ? kEmbeddedTestPictures : request.data));
  std::optional<Model> dense;
  if (!request.against.empty()) dense = open_against(request);
  const Accuracy accuracy = measure_accuracy(model.graph, *data, model.image, request.limit, request.batch,
                                             dense ? &dense->graph : nullptr, dense ? &dense->image : nullptr);
  Json result = {{"metric", "accuracy"}, {"value", accuracy.top1.value}, {"ci95", interval(accuracy.top1)}};
  if (request.metric == "kl")
    result = {{"metric", "kl"}, {"value", accuracy.kl.value()}, {"accuracy", accuracy.top1.value}};
  result["images"] = accuracy.images;
  result["top5"] = accuracy.top5.value;
  result["top5_ci95"] = interval(accuracy.top5);
  const MacroFigures& macro = accuracy.macro;
  result["macro"] = {
      {"f1", macro.f1}, {"precision", macro.precision}, {"recall", macro.recall}, {"specificity", macro.specificity}};
  result["data"] = {{"path", data->path().string()}, {"sha256", image_data_sha256(*data, accuracy.images)}};
  if (dense) {
    result["against"] = {{"accuracy", accuracy.against_top1->value},
                         {"accuracy_difference", accuracy.top1.value - accuracy.against_top1->value},
                         {"top5", accuracy.against_top5->value},
                         {"kl", *accuracy.kl},
                         {"top1_agreement", *accuracy.agreement}};
  }
  result["seconds"] = accuracy.seconds;
  return result;
}

}  // namespace espalier
