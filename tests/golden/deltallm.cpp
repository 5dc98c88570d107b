// 22 DeltaLLM: differences and exact regions by the engine's own parts, outputs through its cache and kernel.
#include "engine_attention.h"
#include "espalier/core/error.h"
#include "espalier/core/ranking.h"
#include "espalier/engine/attention/delta_rows.h"
#include "espalier/engine/attention/policy.h"
#include "espalier/lab/torch.h"
#include "runner.h"

namespace espalier::golden::deltallm_cases {
namespace {

constexpr int64_t kPage = 32;

std::vector<DeltaRows> rows_of(const at::Tensor& k, double threshold) {
  const at::Tensor keys = k.to(at::kFloat).contiguous();
  std::vector<DeltaRows> heads(static_cast<size_t>(keys.size(0)), DeltaRows(keys.size(2), kPage));
  for (int64_t g = 0; g < keys.size(0); ++g)
    for (int64_t t = 0; t < keys.size(1); ++t) heads[static_cast<size_t>(g)].append(keys[g][t].data_ptr<float>(), static_cast<float>(threshold));
  return heads;
}

at::Tensor table(const std::vector<DeltaRows>& heads, const at::Tensor& like, void (DeltaRows::*read)(int64_t, float*) const) {
  at::Tensor rows = at::empty(like.sizes(), at::kFloat);
  for (int64_t g = 0; g < like.size(0); ++g)
    for (int64_t t = 0; t < like.size(1); ++t) (heads[static_cast<size_t>(g)].*read)(t, rows[g][t].data_ptr<float>());
  return rows;
}

AttentionRequest request(const Case& c) {
  AttentionRequest r;
  r.policy = "22-deltallm";
  r.options = {{"threshold", fmt::format("{}", c.number("threshold"))}, {"sink", fmt::format("{}", c.integer("sink"))}};
  return r;
}

Tensors prefill(const Case& c) {
  const at::Tensor q = c.floats("Q"), k = c.floats("K");
  const int64_t tokens = q.size(1), group = q.size(0) / k.size(0);
  const auto heads = rows_of(k, c.number("threshold"));
  NearRegion near;
  near.sink = c.integer("sink"), near.block = round_half_even(c.number("window_scale") * static_cast<double>(tokens));
  at::Tensor exact = at::zeros({tokens, tokens}, at::kBool);
  for (int64_t i = 0; i < tokens; ++i)
    for (int64_t j = 0; j <= i; ++j) exact[i][j] = near.near(i, j);
  const at::Tensor hat = table(heads, k, &DeltaRows::approximation);
  const auto against = [&](const at::Tensor& keys) { return at::matmul(q, keys.repeat_interleave(group, 0).transpose(1, 2)); };
  const at::Tensor scores = at::where(exact, against(k), against(hat)) / std::sqrt(static_cast<double>(q.size(2)));
  AttentionRequest r = request(c);
  r.options["scale"] = fmt::format("{}", c.number("window_scale"));
  const auto run = run_engine(q, k, c.input("V"), r, {tokens});
  const Json report = run.sequence->policy().report();
  return {{"block", scalar(report.at("block").get<int64_t>())},
          {"delta", table(heads, k, &DeltaRows::difference)},
          {"k_hat", hat},
          {"exact_mask", exact},
          {"scores_causal", scores.tril()},
          {"out", run.out},
          {"sparsity", scalar(report.at("sparsity").get<double>())},
          {"effective_sparsity", scalar(report.at("effective_sparsity").get<double>())}};
}

Tensors decode(const Case& c) {
  const at::Tensor k = c.floats("K"), q = c.floats("Q_decode");
  const int64_t first = c.integer("prefill"), steps = q.size(1);
  AttentionRequest r = request(c);
  r.options["decode_window"] = fmt::format("{}", c.integer("decode_window"));
  std::vector<int64_t> forwards(static_cast<size_t>(steps), 1);
  forwards.insert(forwards.begin(), first);
  // The prompt's own outputs are not asked for.
  const at::Tensor all = at::cat({at::zeros({q.size(0), first, q.size(2)}), q}, 1);
  const auto run = run_engine(all, k, c.input("V"), r, forwards);
  std::vector<at::Tensor> references;
  for (int64_t s = 0; s < steps; ++s) {
    std::vector<at::Tensor> heads;
    for (const DeltaRows& rows : rows_of(k.narrow(1, 0, first + s + 1), c.number("threshold"))) heads.push_back(at::tensor(rows.reference()));
    references.push_back(at::stack(heads));
  }
  return {{"delta", table(rows_of(k, c.number("threshold")), k, &DeltaRows::difference)},
          {"reference_after_step", at::stack(references)},
          {"out", run.out.narrow(1, first, steps)}};
}

const Register kRegister("22-deltallm", {{"gqa_prefill", prefill}, {"tie_at_threshold", prefill}, {"threshold_zero_is_exact", prefill}, {"decode", decode}});

}  // namespace
}  // namespace espalier::golden::deltallm_cases
