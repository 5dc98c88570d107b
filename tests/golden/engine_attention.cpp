#include "engine_attention.h"

#include <cmath>

#include "espalier/lab/torch.h"

namespace espalier::golden {
namespace {

// [heads, tokens, size] → [tokens, heads · size]
at::Tensor token_rows(const at::Tensor& x) { return x.to(at::kFloat).transpose(0, 1).flatten(1).contiguous(); }

}  // namespace

EngineRun run_engine(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionRequest& request,
                     const std::vector<int64_t>& forwards, const std::function<void(const AttentionSequence&)>& after) {
  AttentionLayer layer;
  layer.heads = q.size(0), layer.kv_heads = k.size(0), layer.head_size = q.size(2);
  layer.scale = 1 / std::sqrt(static_cast<double>(layer.head_size));
  const at::Tensor q_rows = token_rows(q), k_rows = token_rows(k), v_rows = token_rows(v);
  at::Tensor out = at::zeros_like(q_rows);
  EngineRun run;
  run.sequence = std::make_unique<AttentionSequence>(std::make_shared<const std::vector<AttentionLayer>>(1, layer), request, q.size(1));
  Team team(1);
  int64_t done = 0;
  for (const int64_t n : forwards) {
    AttentionInput in;
    in.q_stride = in.out_stride = q_rows.size(1), in.k_stride = in.v_stride = k_rows.size(1);
    in.q = q_rows.data_ptr<float>() + done * in.q_stride, in.k = k_rows.data_ptr<float>() + done * in.k_stride;
    in.v = v_rows.data_ptr<float>() + done * in.v_stride, in.out = out.data_ptr<float>() + done * in.out_stride, in.tokens = n;
    run.sequence->begin_forward(n, 1);
    team.run([&](int rank) { run.sequence->attend(0, in, {&team, rank}); });
    run.sequence->end_forward();
    if (after) after(*run.sequence);
    done += n;
  }
  run.out = out.unflatten(1, {layer.heads, layer.head_size}).transpose(0, 1).contiguous();
  return run;
}

}  // namespace espalier::golden
