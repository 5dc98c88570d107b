#include "espalier/lab/generate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include "espalier/core/error.h"
#include "espalier/core/rng.h"
#include "espalier/core/signals.h"
#include "espalier/io/tokenizer.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/methods/runner.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// The most probable token, or one drawn after temperature, top-k and top-p.
int32_t choose(const at::Tensor& logits, const GenerateRequest& request, Rng& rng) {
  const auto* values = logits.data_ptr<float>();
  const auto count = static_cast<size_t>(logits.numel());
  if (request.temperature <= 0) return static_cast<int32_t>(std::max_element(values, values + count) - values);
  std::vector<int32_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return values[a] > values[b]; });
  if (request.top_k > 0) order.resize(std::min(count, static_cast<size_t>(request.top_k)));
  std::vector<double> weights;
  for (int32_t id : order) weights.push_back(std::exp((static_cast<double>(values[id]) - values[order[0]]) / request.temperature));
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  double kept = 0;
  size_t candidates = 0;
  while (candidates < weights.size() && (candidates == 0 || kept < request.top_p * total)) kept += weights[candidates++];
  double at = rng.uniform() * kept;
  for (size_t i = 0; i < candidates; ++i)
    if ((at -= weights[i]) < 0) return order[i];
  return order[candidates - 1];
}

}  // namespace

Json run_generate(const GenerateRequest& request) {
  at::NoGradGuard no_gradients;
  if (!request.policy.empty()) user_error("--policy: attention policies come with the engine; this version has dense attention only");
  const auto start = Clock::now();
  const Model model = open_model(request.model, request.common);
  const auto tokenizer = Tokenizer::load(model.path);
  const auto prompt = tokenizer->encode(request.prompt, true);
  if (prompt.empty()) user_error("--prompt: the prompt has no tokens, and the tokenizer adds none");
  if (static_cast<int64_t>(prompt.size()) >= model.context_length)
    throw UserError("--prompt", "tokens", fmt::format("fewer than the model's context {}", model.context_length), fmt::format("{}", prompt.size()));
  Weights weights(model.graph);
  const Interpreter interpreter(model.graph, weights);
  KvCache cache;
  Rng rng(request.common.seed, "generate");
  StreamDecoder decoder(tokenizer);
  const double load_seconds = seconds_since(start);
  const auto prefill_start = Clock::now();
  at::Tensor logits = interpreter.forward(token_tensor(prompt), nullptr, &cache).select(1, -1).squeeze(0).contiguous();
  const double prefill_seconds = seconds_since(prefill_start);
  std::string text;
  int64_t made = 0;
  std::string finish = "length";
  const auto emit = [&](const std::string& piece) {
    text += piece;
    if (request.on_text && !piece.empty()) request.on_text(piece);
  };
  const auto decode_start = Clock::now();
  const int64_t room = model.context_length - static_cast<int64_t>(prompt.size());
  while (made < std::min(request.max_tokens, room)) {
    check_interrupted();
    const int32_t next = choose(logits, request, rng);
    ++made;
    const auto& stops = tokenizer->stop_ids();
    if (std::find(stops.begin(), stops.end(), next) != stops.end()) {
      finish = "stop";
      break;
    }
    emit(decoder.push(next));
    if (made < std::min(request.max_tokens, room))
      logits = interpreter.forward(token_tensor({next}), nullptr, &cache).select(1, -1).squeeze(0).contiguous();
  }
  emit(decoder.finish());
  const double decode_seconds = seconds_since(decode_start);
  return {{"text", text},
          {"tokens", made},
          {"prompt_tokens", prompt.size()},
          {"finish", finish},
          {"load_s", load_seconds},
          {"prefill_tok_s", static_cast<double>(prompt.size()) / prefill_seconds},
          {"decode_tok_s", static_cast<double>(made) / std::max(decode_seconds, 1e-9)}};
}

}  // namespace espalier
