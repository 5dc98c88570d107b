#include "espalier/lab/evaluate_masked.h"

#include "espalier/core/assets.h"
#include "espalier/core/error.h"
#include "espalier/io/image_dataset.h"
#include "espalier/io/text_dataset.h"
#include "espalier/lab/methods/runner.h"
#include "espalier/lab/training/masked_text_task.h"

namespace espalier {
namespace {

void check_masked_request(const EvalRequest& request, const Model& model) {
  if (!request.metric.empty() && request.metric != "masked_ppl" && request.metric != "kl")
    throw UserError("--metric", "metric of an encoder that predicts hidden tokens", "masked_ppl or kl", request.metric);
  if (request.stride > 0) user_error("--stride: windows of {}, which sees all tokens at once, do not overlap", model.path.string());
}

int64_t length_of(const EvalRequest& request, const TokenMasking& masking, int64_t positions) {
  const int64_t length = request.length ? request.length : default_length(positions), least = masking.added() + 2;
  if (length < least || length > positions)
    throw UserError("--length", "tokens a window, with the special ones", fmt::format("{} to the model's {} positions", least, positions), fmt::format("{}", length));
  return length;
}

Model open_dense(const EvalRequest& request, int64_t vocabulary) {
  Model dense = open_model(request.against, request.common);
  const auto shape = masked_language_shape(dense.graph);
  if (!shape) throw UserError("--against", "model", "an encoder that predicts hidden tokens", fmt::format("one of {}", name_of(dense.task)));
  if (shape->vocabulary != vocabulary)
    throw UserError("--against", "vocabulary", fmt::format("{}", vocabulary), fmt::format("{}", shape->vocabulary));
  return dense;
}

}  // namespace

Json evaluate_masked(const EvalRequest& request, const Model& model) {
  check_masked_request(request, model);
  const auto data = resolve_data(request.data.empty() ? "evaluation.txt" : request.data);
  if (is_image_data(data)) user_error("--data: {} holds pictures, and {} reads text", data.string(), model.path.string());
  const MaskedLanguageShape shape = *masked_language_shape(model.graph);
  const auto tokenizer = Tokenizer::load(model.path);
  const TokenMasking masking(tokenizer, shape.vocabulary, kMaskShare, model.path.string());
  const int64_t length = length_of(request, masking, shape.positions);
  const auto tokens = ids_of({data, tokenizer, false}, request.limit);
  masking.check_ids(tokens);
  std::optional<Model> dense;
  if (!request.against.empty()) dense = open_dense(request, shape.vocabulary);
  const Quality quality = masked_quality(model.graph, masking, tokens, length, request.common.seed, dense ? &dense->graph : nullptr);
  if (quality.tokens == 0) user_error("evaluation: {} has no two tokens of which one could be hidden", data.string());
  const bool kl = request.metric == "kl";
  Json result = {{"metric", kl ? "kl" : "masked_ppl"}, {"value", kl ? *quality.kl : quality.perplexity.value}};
  if (!kl) result["ci95"] = {quality.perplexity.low, quality.perplexity.high};
  result["tokens"] = quality.tokens;
  result["mask_share"] = kMaskShare;
  result["nats_per_token"] = quality.nats_per_token;
  result["length"] = length;
  result["data"] = {{"path", data.string()}, {"sha256", text_sha256(data)}};
  if (dense) {
    const Quality reference = masked_quality(dense->graph, masking, tokens, length, request.common.seed);
    result["against"] = {{"masked_ppl", reference.perplexity.value},
                         {"masked_ppl_ratio", quality.perplexity.value / reference.perplexity.value},
                         {"kl", *quality.kl},
                         {"top1_agreement", *quality.agreement}};
  }
  result["seconds"] = quality.seconds;
  return result;
}

}  // namespace espalier
