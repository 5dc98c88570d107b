#include "espalier.h"

#include <algorithm>
#include <mutex>
#include <new>

#include "espalier/core/assets.h"
#include "espalier/core/error.h"
#include "espalier/core/resources.h"
#include "espalier/engine/generation.h"
#include "espalier/engine/open.h"

struct espalier_model {
  std::unique_ptr<espalier::Decoder> decoder;
  std::shared_ptr<const espalier::Tokenizer> tokenizer;
  std::mutex forwards;

  void forward(const espalier::ForwardWork& work) {
    const std::lock_guard lock(forwards);
    decoder->forward({&work, 1});
  }
};

struct espalier_context {
  espalier_model* model;
  std::unique_ptr<espalier::AttentionSequence> sequence;
};

namespace espalier {
namespace {

thread_local std::string last_error;

int fail(int status, const char* what) {
  try {
    last_error = what;
  } catch (const std::bad_alloc&) {
    last_error.clear();
  }
  return status;
}

// No exception may leave a C function.
template <typename Fn>
auto guarded(Fn&& fn) -> decltype(fn()) {
  using Result = decltype(fn());
  int status;
  try {
    return fn();
  } catch (const UserError& error) {
    status = fail(ESPALIER_ERROR_INPUT, error.what());
  } catch (const std::bad_alloc&) {
    status = fail(ESPALIER_ERROR_MEMORY, "not enough memory");
  } catch (const std::filesystem::filesystem_error& error) {
    status = fail(ESPALIER_ERROR_INPUT, error.what());
  } catch (const std::exception& error) {
    status = fail(ESPALIER_ERROR_BUG, error.what());
  }
  if constexpr (std::is_pointer_v<Result>) return nullptr;
  else return static_cast<Result>(status);
}

std::string text_or(const char* text, const char* otherwise) { return text && *text ? text : otherwise; }

MethodOptions parse_options(const char* text) {
  MethodOptions options;
  std::string_view rest = text ? text : "";
  while (!rest.empty()) {
    const std::string_view one = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), one.size() + 1));
    const size_t equals = one.find('=');
    if (equals == 0 || equals == std::string_view::npos) throw UserError("policy_options", "", "name=value", printable(one));
    options[std::string(one.substr(0, equals))] = one.substr(equals + 1);
  }
  return options;
}

AttentionRequest attention_of(const espalier_context_options& given) {
  CommonRequest common;
  common.seed = given.seed;
  EngineRequest engine;
  engine.policy = text_or(given.policy, "dense");
  engine.options = parse_options(given.policy_options);
  engine.cache = text_or(given.cache, "fp32");
  return attention_request(common, engine);
}

template <typename Item, typename Source>
int64_t copy_out(const Source& source, Item* target, int64_t capacity) {
  const auto count = static_cast<int64_t>(source.size());
  if (target && capacity > 0) std::copy_n(source.begin(), std::min(count, capacity), target);
  return count;
}

GenerationRequest generation_of(const espalier_model& model, const char* prompt, const espalier_generate_options& given) {
  GenerationRequest request;
  request.prompt = model.tokenizer->encode(prompt, true);
  const auto length = static_cast<int64_t>(request.prompt.size());
  if (length == 0) user_error("prompt: it has no tokens");
  if (length >= model.decoder->context_length())
    throw UserError("prompt", "tokens", fmt::format("fewer than the model's context {}", model.decoder->context_length()), fmt::format("{}", length));
  if (given.max_tokens < 1) throw UserError("max_tokens", "", "at least 1", fmt::format("{}", given.max_tokens));
  request.max_tokens = std::min(given.max_tokens, model.decoder->context_length() - length);
  request.sampling = {given.temperature, given.top_k, given.top_p, given.min_p, given.repetition_penalty};
  request.seed = given.seed;
  for (const char* const* stop = given.stop; stop && *stop; ++stop) request.stop.emplace_back(*stop);
  return request;
}

int64_t generate(espalier_model& model, GenerationRequest request, const AttentionRequest& attention, espalier_text_fn on_text, void* user) {
  std::shared_ptr<AttentionSequence> sequence = model.decoder->start(attention, static_cast<int64_t>(request.prompt.size()) + request.max_tokens);
  bool stopped = false;
  int64_t made = 0;
  Scheduler::Generation generation(std::move(request),
                                   {[&](std::string_view text) { stopped = stopped || (on_text && !on_text(text.data(), text.size(), user)); },
                                    [&](const GenerationEnd& end) { made = end.completion_tokens; }},
                                   model.tokenizer, std::move(sequence), 0);
  generation.join(model.decoder->vocab_size());
  constexpr int64_t kWhole = INT64_MAX;  // of the prompt: the decoder cuts it
  while (!generation.ended()) {
    model.forward(generation.work(kWhole));
    generation.settle();
    if (stopped && !generation.ended()) generation.finish(FinishReason::kCancelled);
  }
  generation.report();
  return made;
}

}  // namespace
}  // namespace espalier

using namespace espalier;

const char* espalier_version(void) { return ESPALIER_VERSION; }
const char* espalier_last_error(void) { return last_error.c_str(); }

espalier_model_options espalier_default_model_options(void) { return {0, "auto", 0}; }
espalier_context_options espalier_default_context_options(void) { return {0, "dense", nullptr, "fp32", 0}; }
espalier_generate_options espalier_default_generate_options(void) { return {128, 0, 0, 1, 0, 1, 0, nullptr}; }

espalier_model* espalier_model_load(const char* path, const espalier_model_options* options) {
  return guarded([&] {
    if (!path) user_error("path: NULL");
    const espalier_model_options given = options ? *options : espalier_default_model_options();
    CommonRequest common;
    common.threads = given.threads > 0 ? given.threads : available_cores();
    common.dtype = text_or(given.dtype, "auto");
    EngineRequest engine;
    engine.int8_group = given.int8_group;
    auto model = std::make_unique<espalier_model>();
    model->decoder = open_decoder(resolve_model(path).string(), common, engine);
    model->tokenizer = Tokenizer::load(model->decoder->model().directory());
    return model.release();
  });
}

void espalier_model_free(espalier_model* model) { delete model; }
int32_t espalier_model_vocab_size(const espalier_model* model) { return static_cast<int32_t>(model->decoder->vocab_size()); }
int64_t espalier_model_context_length(const espalier_model* model) { return model->decoder->context_length(); }

int64_t espalier_tokenize(const espalier_model* model, const char* text, size_t bytes, bool add_special, int32_t* tokens, int64_t capacity) {
  return guarded([&] { return copy_out(model->tokenizer->encode({text, bytes}, add_special), tokens, capacity); });
}

int64_t espalier_detokenize(const espalier_model* model, const int32_t* tokens, int64_t count, char* text, int64_t capacity) {
  return guarded([&] {
    if (count < 0) throw UserError("count", "", "at least 0", fmt::format("{}", count));
    return copy_out(model->tokenizer->decode({tokens, static_cast<size_t>(count)}), text, capacity);
  });
}

bool espalier_is_stop_token(const espalier_model* model, int32_t token) {
  const auto& ends = model->tokenizer->stop_ids();
  return std::find(ends.begin(), ends.end(), token) != ends.end();
}

espalier_context* espalier_context_new(espalier_model* model, const espalier_context_options* options) {
  return guarded([&] {
    const espalier_context_options given = options ? *options : espalier_default_context_options();
    if (given.capacity < 0) throw UserError("capacity", "", "at least 0", fmt::format("{}", given.capacity));
    return new espalier_context{model, model->decoder->start(attention_of(given), given.capacity)};
  });
}

void espalier_context_free(espalier_context* context) { delete context; }
int64_t espalier_context_length(const espalier_context* context) { return context->sequence->length(); }

int32_t espalier_context_step(espalier_context* context, const int32_t* tokens, int64_t count, float* logits) {
  return guarded([&]() -> int32_t {
    if (!tokens || count < 1) throw UserError("tokens", "", "at least one", fmt::format("{}", count));
    context->model->forward({context->sequence.get(), {tokens, static_cast<size_t>(count)}, logits, false});
    return ESPALIER_OK;
  });
}

int64_t espalier_generate(espalier_model* model, const char* prompt, const espalier_generate_options* options,
                          const espalier_context_options* context, espalier_text_fn on_text, void* user) {
  return guarded([&] {
    if (!prompt) user_error("prompt: NULL");
    const espalier_generate_options given = options ? *options : espalier_default_generate_options();
    const AttentionRequest attention = attention_of(context ? *context : espalier_default_context_options());
    return generate(*model, generation_of(*model, prompt, given), attention, on_text, user);
  });
}
