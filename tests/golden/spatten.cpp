// 02 SpAtten: the cascade's choices, schedules and key planes by the engine's own functions, values through its kernel.
#include <algorithm>

#include "engine_attention.h"
#include "espalier/core/error.h"
#include "espalier/core/ranking.h"
#include "espalier/engine/attention/kv_planes.h"
#include "espalier/engine/attention/policies/cascade.h"
#include "espalier/lab/interpreter/masked_attention.h"
#include "espalier/lab/torch.h"
#include "runner.h"

namespace espalier::golden::spatten_cases {
namespace {

using Ids = std::vector<int32_t>;

Ids first_ids(int64_t n) {
  Ids ids;
  for (int64_t i = 0; i < n; ++i) ids.push_back(static_cast<int32_t>(i));
  return ids;
}
Ids ids_of(const at::Tensor& x) {
  Ids ids;
  for (int64_t i = 0; i < x.numel(); ++i) ids.push_back(static_cast<int32_t>(x[i].item<int64_t>()));
  return ids;
}
at::Tensor tensor_of(const Ids& ids) { return at::tensor(std::vector<int64_t>(ids.begin(), ids.end()), at::kLong); }
std::span<const float> floats_of(const at::Tensor& x) { return {x.data_ptr<float>(), static_cast<size_t>(x.numel())}; }
double scale_of(const at::Tensor& q) { return 1 / std::sqrt(static_cast<double>(q.size(-1))); }

Tensors two_layer_cascade(const Case& c) {
  const at::Tensor first = c.input("Q0");
  Ids heads = first_ids(first.size(0)), tokens = first_ids(first.size(1));
  at::Tensor token_importance = at::zeros({first.size(1)}), head_importance = at::zeros({first.size(0)});
  Tensors outputs;
  for (size_t l = 0; l < c.params.at("keep_tokens").size(); ++l) {
    tokens = most_important(tokens, floats_of(token_importance), c.params.at("keep_tokens")[l].get<int64_t>());
    heads = most_important(heads, floats_of(head_importance), c.params.at("keep_heads")[l].get<int64_t>());
    const at::Tensor t = tensor_of(tokens), h = tensor_of(heads);
    const auto pick = [&](const char* name) { return c.floats(fmt::format("{}{}", name, l)).index_select(0, h).index_select(1, t); };
    const at::Tensor q = pick("Q"), all = at::ones({t.numel(), t.numel()}, at::kBool);
    const MaskedAttention attention = masked_attention(q, pick("K"), pick("V"), all, scale_of(q));
    token_importance.index_add_(0, t, attention.probabilities.sum(0).sum(0));
    head_importance.index_add_(0, h, attention.out.abs().flatten(1).sum(1));
    outputs[fmt::format("tokens{}", l)] = t;
    outputs[fmt::format("heads{}", l)] = h;
    outputs[fmt::format("out{}", l)] = attention.out;
    outputs[fmt::format("token_importance{}", l)] = token_importance.clone();
    outputs[fmt::format("head_importance{}", l)] = head_importance.clone();
  }
  return outputs;
}

Tensors local_value_pruning(const Case& c) {
  const at::Tensor q = c.floats("Q"), k = c.floats("K"), v = c.floats("V");
  const int64_t tokens = q.size(1), keep = c.integer("value_keep");
  const MaskedAttention attention = masked_attention(q, k, v, selection_mask({}, 0, tokens, tokens), scale_of(q));
  at::Tensor kept = at::zeros(attention.probabilities.sizes(), at::kBool);
  for (int64_t h = 0; h < q.size(0); ++h)
    for (int64_t i = 0; i < tokens; ++i)
      for (const int64_t j : select_largest(floats_of(attention.probabilities[h][i].narrow(0, 0, i + 1)), std::min(keep, i + 1))) kept[h][i][j] = true;
  AttentionRequest r;
  r.policy = "02-spatten";
  r.options = {{"tokens", "1"}, {"heads", "1"}, {"value_count", fmt::format("{}", keep)}};
  return {{"prob", attention.probabilities}, {"kept", kept}, {"out", run_engine(q, k, v, r, {tokens}).out}};
}

Tensors progressive_quantization(const Case& c) {
  const at::Tensor q = c.floats("q"), keys = c.floats("K").contiguous();
  const KeyBits bits{static_cast<int>(c.integer("msb_bits")), static_cast<int>(c.integer("lsb_bits"))};
  at::Tensor k_int = at::empty(keys.sizes(), at::kLong), scale = at::empty({keys.size(0), keys.size(1)}, at::kDouble), high = at::empty(keys.sizes(), at::kLong);
  for (int64_t h = 0; h < keys.size(0); ++h)
    for (int64_t j = 0; j < keys.size(1); ++j) {
      const float* key = keys[h][j].data_ptr<float>();
      const double s = key_scale(bits, key, keys.size(2));
      scale[h][j] = s;
      for (int64_t x = 0; x < keys.size(2); ++x) {
        const int32_t k = key_integer(bits, key[x], s);
        k_int[h][j][x] = k, high[h][j][x] = high_part(bits, k);
      }
    }
  const auto probabilities = [&](const at::Tensor& k) {
    const at::Tensor scores = at::matmul((k.to(at::kDouble) * scale.unsqueeze(-1)), q.to(at::kDouble).unsqueeze(-1)).squeeze(-1);
    return at::softmax(scores * scale_of(q), -1);
  };
  const at::Tensor coarse = probabilities(high), need = std::get<0>(coarse.max(-1)) < c.number("threshold");
  return {{"k_int", k_int}, {"k_scale", scale}, {"prob_msb", coarse}, {"need_lsb", need}, {"prob", at::where(need.unsqueeze(-1), probabilities(k_int), coarse)}};
}

at::Tensor counts_of(const std::vector<double>& shares, int64_t n) {
  std::vector<int64_t> counts;
  for (double share : shares) counts.push_back(keep_count(share, n));
  return at::tensor(counts, at::kLong);
}

Tensors ties_and_schedule(const Case& c) {
  const at::Tensor importance = c.floats("importance");
  const Ids all = first_ids(importance.numel());
  const auto tokens = keep_schedule(c.integer("layers"), c.number("front_token"), c.number("token_start"), c.number("token_end"));
  const auto heads = keep_schedule(c.integer("layers"), c.number("front_head"), c.number("head_start"), c.number("head_end"));
  return {{fmt::format("top{}", c.integer("k")), tensor_of(most_important(all, floats_of(importance), c.integer("k")))},
          {"top_all", tensor_of(most_important(all, floats_of(importance), importance.numel()))},
          {"token_keep_ratio", at::tensor(tokens, at::kDouble)},
          {"head_keep_ratio", at::tensor(heads, at::kDouble)},
          {"token_keep", counts_of(tokens, c.integer("tokens"))},
          {"head_keep", counts_of(heads, c.integer("heads"))}};
}

Tensors decode_step(const Case& c) {
  at::Tensor importance = c.floats("importance");
  const auto added = static_cast<int32_t>(c.integer("new_token"));
  Ids before = first_ids(importance.numel());
  Tensors outputs;
  for (size_t l = 0; l < c.params.at("keep_tokens").size(); ++l) {
    Ids held = ids_of(c.input(fmt::format("alive{}", l))), candidates;
    held.push_back(added);
    std::set_intersection(held.begin(), held.end(), before.begin(), before.end(), std::back_inserter(candidates));
    before = most_important(candidates, floats_of(importance), c.params.at("keep_tokens")[l].get<int64_t>(), {&added, 1});
    const at::Tensor ids = tensor_of(before), prob = at::softmax(c.floats(fmt::format("logits{}", l)).index_select(1, ids), -1);
    importance.index_add_(0, ids, prob.sum(0));
    outputs[fmt::format("attended{}", l)] = ids;
    outputs[fmt::format("prob{}", l)] = prob;
    outputs[fmt::format("importance{}", l)] = importance.clone();
  }
  return outputs;
}

const Register kRegister("02-spatten", {{"two_layer_cascade", two_layer_cascade},
                                        {"local_value_pruning", local_value_pruning},
                                        {"progressive_quantization", progressive_quantization},
                                        {"ties_and_schedule", ties_and_schedule},
                                        {"decode_step", decode_step}});

}  // namespace
}  // namespace espalier::golden::spatten_cases
