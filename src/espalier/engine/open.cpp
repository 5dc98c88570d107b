#include "espalier/engine/open.h"

#include "espalier/core/assets.h"
#include "espalier/core/choice.h"
#include "espalier/core/error.h"

namespace espalier {
namespace {

std::optional<Precision> precision_named(const std::string& dtype) {
  if (dtype == "auto") return std::nullopt;
  if (dtype == "fp32") return Precision::kF32;
  if (dtype == "bf16") return Precision::kBF16;
  if (dtype == "fp16") return Precision::kF16;
  if (dtype == "int8") return Precision::kI8;
  throw UserError("--dtype", "", "auto, fp32, bf16, fp16 or int8", dtype);
}

constexpr std::pair<const char*, KvCodec> kCodecs[] = {{"fp32", KvCodec::kF32}, {"bf16", KvCodec::kBF16}, {"int8", KvCodec::kI8}};

}  // namespace

DecoderOptions decoder_options(const CommonRequest& common, const EngineRequest& engine) {
  if (common.device != "cpu") user_error("--device: this build has no {} back end; use cpu", common.device);
  DecoderOptions options;
  options.threads = std::max(1, common.threads);
  options.precision = precision_named(common.dtype);
  options.int8_group = engine.int8_group;
  const int64_t group = engine.int8_group;
  if (group != 0 && group != 32 && group != 64 && group != 128) user_error("--int8-group: expected 0, 32, 64 or 128, found {}", group);
  if (group != 0 && options.precision != Precision::kI8) user_error("--int8-group: belongs to --dtype int8, found --dtype {}", common.dtype);
  return options;
}

AttentionRequest attention_request(const CommonRequest& common, const EngineRequest& engine) {
  AttentionRequest request;
  if (!engine.policy.empty()) request.policy = engine.policy;
  request.options = engine.options;
  request.codec = choice_from_name("--cache", engine.cache, kCodecs);
  request.seed = common.seed;
  return request;
}

std::unique_ptr<Decoder> open_decoder(const std::string& path, const CommonRequest& common, const EngineRequest& engine) {
  const DecoderOptions options = decoder_options(common, engine);
  Model model = load_model(resolve_model(path), {common.seed, common.input_shapes});
  if (model.task != Task::kText)
    throw UserError(path, "model", "a language model", std::string("a model of ") + name_of(model.task));
  return std::make_unique<Decoder>(std::move(model), options);
}

}  // namespace espalier
