#include "espalier/lab/evaluate.h"

#include "espalier/core/assets.h"
#include "espalier/core/error.h"
#include "espalier/io/image_dataset.h"
#include "espalier/io/text_dataset.h"
#include "espalier/lab/evaluate_images.h"
#include "espalier/lab/evaluate_masked.h"
#include "espalier/lab/measure/quality.h"
#include "espalier/lab/methods/runner.h"
#include "espalier/lab/training/masked_text_task.h"

namespace espalier {
namespace {

// What the importer said, where it is pictures after all.
std::string why_no_pictures(const Model& model) {
  for (const std::string& note : model.notes)
    if (note.find("channels last") != std::string::npos) return "; " + note;
  return "";
}

}  // namespace

Json run_eval(const EvalRequest& request) {
  const Model model = open_model(request.model, request.common);
  if (model.task == Task::kImages) return evaluate_images(request, model);
  if (model.task == Task::kOther && masked_language_shape(model.graph)) return evaluate_masked(request, model);
  if (model.task != Task::kText) user_error("{}: it is no language model, causal or masked, and no classifier of pictures{}", model.path.string(), why_no_pictures(model));
  if (!request.metric.empty() && request.metric != "ppl" && request.metric != "kl")
    throw UserError("--metric", "metric of a language model", "ppl or kl", request.metric);
  const auto data = resolve_data(request.data.empty() ? "evaluation.txt" : request.data);
  if (is_image_data(data)) user_error("--data: {} holds pictures, and {} is a language model", data.string(), model.path.string());
  const int64_t length = request.length ? request.length : default_length(model.context_length);
  if (length < 2 || length > model.context_length)
    throw UserError("--length", "tokens a window", fmt::format("2 to the model's context {}", model.context_length), fmt::format("{}", length));
  const int64_t stride = request.stride ? request.stride : length;
  const auto windows = windows_of(tokens_of(data, model, request.limit), length, stride);
  std::optional<Model> dense;
  if (!request.against.empty()) dense = open_model(request.against, request.common);
  const Quality quality = measure_quality(model.graph, windows, length, stride, dense ? &dense->graph : nullptr);
  const bool kl = request.metric == "kl";
  Json result = {{"metric", kl ? "kl" : "ppl"}, {"value", kl ? *quality.kl : quality.perplexity.value}};
  if (!kl) result["ci95"] = {quality.perplexity.low, quality.perplexity.high};
  result["tokens"] = quality.tokens;
  result["nats_per_token"] = quality.nats_per_token;
  result["length"] = length;
  result["stride"] = stride;
  result["data"] = {{"path", data.string()}, {"sha256", text_sha256(data)}};
  if (dense) {
    const Quality reference = measure_quality(dense->graph, windows, length, stride);
    result["against"] = {{"ppl", reference.perplexity.value},
                         {"ppl_ratio", quality.perplexity.value / reference.perplexity.value},
                         {"kl", *quality.kl},
                         {"top1_agreement", *quality.agreement}};
  }
  result["seconds"] = quality.seconds;
  return result;
}

}  // namespace espalier
