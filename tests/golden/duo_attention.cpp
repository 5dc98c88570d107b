// 19 DuoAttention: the gates' loss and choice as the laboratory has them, chunked prefill and decoding through the engine.
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "engine_attention.h"
#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/lab/interpreter/masked_attention.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/duo_gates.h"
#include "runner.h"

namespace espalier::golden::duo_attention_cases {
namespace {

Tensors train_blend(const Case& c) {
  const at::Tensor q = c.floats("Q"), k = c.floats("K"), v = c.floats("V");
  const int64_t tokens = q.size(1);
  const double scale = 1 / std::sqrt(static_cast<double>(q.size(2)));
  const at::Tensor causal = duo_stream_mask(tokens, tokens, tokens), mask = duo_stream_mask(tokens, c.integer("sink"), c.integer("recent"));
  const at::Tensor full = masked_attention(q, k, v, causal, scale).out, stream = masked_attention(q, k, v, mask, scale).out;
  return {{"stream_mask", mask}, {"full_out", full}, {"stream_out", stream}, {"mixed_out", duo_mix(full, stream, c.floats("alpha"))}};
}

HeadGates gates_of(const at::Tensor& alpha) {
  const at::Tensor clamped = alpha.clamp(0, 1).contiguous();
  HeadGates gates;
  for (int64_t l = 0; l < clamped.size(0); ++l) gates.emplace_back(clamped[l].data_ptr<float>(), clamped[l].data_ptr<float>() + clamped.size(1));
  return gates;
}

Tensors select_heads(const Case& c) {
  const at::Tensor alpha = c.floats("alpha");
  Tensors outputs;
  for (const auto& [name, sparsity] : c.params.at("sparsities").items()) {
    const HeadChoice full = full_heads_by_sparsity(gates_of(alpha), sparsity.get<double>());
    at::Tensor chosen = at::zeros(alpha.sizes(), at::kBool);
    for (size_t l = 0; l < full.size(); ++l)
      for (size_t g = 0; g < full[l].size(); ++g) chosen[static_cast<int64_t>(l)][static_cast<int64_t>(g)] = full[l][g] != 0;
    outputs["full_" + name] = chosen;
    outputs["n_" + name] = scalar(chosen.sum().item<int64_t>());
  }
  return outputs;
}

Tensors chunked(const Case& c) {
  const int64_t sink = c.integer("sink"), recent = c.integer("recent"), chunk = c.integer("chunk");
  DuoGates gates;
  auto& row = gates.alpha.emplace_back();
  for (const auto& kind : c.params.at("kv_head_kind")) row.push_back(kind == "full" ? 1.0f : 0.0f);
  const auto file = std::filesystem::temp_directory_path() / fmt::format("espalier-golden-{}.json", ::getpid());
  write_file_atomically(file, duo_gates_to_json(gates).dump());
  AttentionRequest request;
  request.policy = "19-duoattention";
  request.options = {{"gates", file.string()}, {"threshold", "0.5"}, {"sink", fmt::format("{}", sink)},
                     {"recent", fmt::format("{}", recent)}, {"chunk", fmt::format("{}", chunk)}};
  std::vector<int64_t> forwards;
  for (int64_t left = c.integer("prefill"); left > 0; left -= chunk) forwards.push_back(std::min(left, chunk));
  for (int64_t i = 0; i < c.integer("decode_steps"); ++i) forwards.push_back(1);
  const auto full = static_cast<int64_t>(std::find(row.begin(), row.end(), 1.0f) - row.begin());
  const auto stream = static_cast<int64_t>(std::find(row.begin(), row.end(), 0.0f) - row.begin());
  std::vector<at::Tensor> positions;
  const auto run = run_engine(c.input("Q"), c.input("K"), c.input("V"), request, forwards, [&](const AttentionSequence& sequence) {
    auto list = sequence.cache().token_positions(0, stream);
    list.resize(static_cast<size_t>(sink + recent), -1);
    positions.push_back(at::tensor(list, at::kLong));
  });
  std::filesystem::remove(file);
  return {{"out", run.out},
          {"stream_positions_after_step", at::stack(positions)},
          {"kv_entries_full", scalar(run.sequence->cache().head(0, full).tokens)},
          {"kv_entries_stream", scalar(run.sequence->cache().head(0, stream).tokens)}};
}

Tensors loss_and_lr(const Case& c) {
  at::AutoGradMode with_gradients(true);
  const at::Tensor mixed = c.floats("hidden_mixed").set_requires_grad(true);
  const at::Tensor distill = duo_distillation(c.floats("hidden_full"), mixed, c.input("label_mask")), reg = duo_penalty({c.floats("alpha")});
  distill.backward();
  const int64_t steps = c.integer("steps");
  at::Tensor lr = at::empty({steps}, at::kDouble);
  for (int64_t s = 0; s < steps; ++s) lr[s] = duo_learning_rate(c.number("base_lr"), s, steps);
  return {{"distill", distill.detach()}, {"reg", reg}, {"loss", (distill + c.number("lambda") * reg).detach()}, {"grad_hidden_mixed", mixed.grad()}, {"lr", lr}};
}

const Register kRegister("19-duoattention", {{"train_blend", train_blend},
                                             {"select_heads", select_heads},
                                             {"chunked_prefill_and_decode", chunked},
                                             {"loss_and_lr", loss_and_lr}});

}  // namespace
}  // namespace espalier::golden::duo_attention_cases
