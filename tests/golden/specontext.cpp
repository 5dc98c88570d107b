// 05 SpeContext: what the retrieval head chooses, attention over it through the engine, slots, the planner.
#include "../engine/attention/fixed_retrieval.h"
#include "attention_case.h"
#include "espalier/engine/attention/memory_plan.h"

namespace espalier::golden::specontext_cases {
namespace {

at::Tensor doubles(const std::vector<double>& values, at::IntArrayRef shape) { return at::tensor(values, at::kDouble).reshape(shape); }

struct Retrieved {
  std::vector<double> weights, group;  // [heads, tokens], [KV heads, tokens]
  std::vector<int64_t> indices;        // [KV heads, budget]
};

Retrieved retrieve(const Case& c, int64_t budget) {
  const at::Tensor q = c.floats("ret_q"), k = c.floats("ret_K").contiguous();
  const int64_t heads = q.size(0), kv_heads = k.size(0), tokens = k.size(1), size = k.size(2), group = heads / kv_heads;
  const at::Tensor scaled = (q / std::sqrt(static_cast<double>(size))).contiguous();
  RetrievalKeys keys(kv_heads, size, KvCodec::kF32);
  keys.reserve(tokens);
  Retrieved found;
  RetrievalScores scores;
  LargestScores largest;
  std::vector<int32_t> ids;
  for (int64_t g = 0; g < kv_heads; ++g) {
    for (int64_t t = 0; t < tokens; ++t) keys.append(g, t, k.data_ptr<float>() + (g * tokens + t) * size);
    keys.score(g, scaled.data_ptr<float>() + g * group * size, group, tokens, scores);
    for (int64_t r = 0; r < group; ++r)
      for (int64_t t = 0; t < tokens; ++t) found.weights.push_back(std::exp(static_cast<double>(scores.log_weight(r, t))));
    for (const float x : scores.group) found.group.push_back(std::exp(static_cast<double>(x)));
    select_tokens(scores.group, budget, largest, ids);
    found.indices.insert(found.indices.end(), ids.begin(), ids.end());
  }
  return found;
}

// The tokens themselves behind a prompt, one step of decoding.
Tensors group_topk(const Case& c) {
  const Retrieved found = retrieve(c, c.integer("budget"));
  const at::Tensor k = at::cat({c.floats("K"), c.floats("k_self").unsqueeze(1)}, 1), v = at::cat({c.floats("V"), c.floats("v_self").unsqueeze(1)}, 1);
  const at::Tensor q = c.floats("q"), ret_q = c.floats("ret_q"), ret_k = c.floats("ret_K");
  const int64_t heads = q.size(0), kv_heads = k.size(0), size = q.size(1), before = k.size(1) - 1;
  Oracle oracle(heads, kv_heads, size, before + 1, 1, false);
  oracle.q = rows_of(q.unsqueeze(1), before), oracle.k = rows_of(k), oracle.v = rows_of(v);
  const double scale = std::sqrt(static_cast<double>(size));
  fixed_specontext = {};
  fixed_specontext.text.q = rows_of((ret_q / scale).unsqueeze(1), before);
  fixed_specontext.text.k = rows_of(at::cat({ret_k, at::zeros({kv_heads, 1, size})}, 1));
  fixed_specontext.options.budget = c.integer("budget");
  auto run = run_sequence(oracle, ask("test-specontext"), {before, 1});
  const at::Tensor out = at::from_blob(run.out.data(), {before + 1, heads, size}, at::kFloat)[before].to(at::kDouble).clone();
  return {{"ret_weights", doubles(found.weights, {heads, before})}, {"group_weights", doubles(found.group, {kv_heads, before})},
          {"indices", integers(found.indices, {kv_heads, c.integer("budget")})}, {"out", out}};
}

Tensors ties(const Case& c) {
  const Retrieved few = retrieve(c, c.integer("budget")), all = retrieve(c, c.integer("budget_all"));
  const int64_t heads = c.input("ret_q").size(0), kv_heads = c.input("ret_K").size(0);
  return {{"ret_weights", doubles(few.weights, {heads, -1})}, {"indices", integers(few.indices, {kv_heads, -1})},
          {"indices_all", integers(all.indices, {kv_heads, -1})}};
}

Tensors elastic(const Case& c) {
  const at::Tensor slots = c.input("slots").to(at::kInt).contiguous(), now = c.input("now").to(at::kInt).contiguous();
  const int64_t rows = slots.size(0), budget = slots.size(1), positions = std::max(slots.max().item<int64_t>(), now.max().item<int64_t>()) + 1;
  std::vector<int64_t> load, evict, counts, after;
  std::vector<double> overlap;
  const auto add = [&](std::vector<int64_t>& list, const std::vector<int32_t>& ids) {
    list.insert(list.end(), ids.begin(), ids.end());
    list.resize(list.size() + static_cast<size_t>(budget) - ids.size(), -1);
  };
  for (int64_t g = 0; g < rows; ++g) {
    const int32_t *first = slots.data_ptr<int32_t>() + g * budget, *wanted = now.data_ptr<int32_t>() + g * budget;
    ElasticSlots elastic(std::vector<int32_t>(first, first + budget), positions);
    SlotChange change;
    elastic.update({wanted, static_cast<size_t>(budget)}, change);
    add(load, change.load), add(evict, change.evict);
    counts.push_back(static_cast<int64_t>(change.load.size()));
    after.insert(after.end(), elastic.tokens().begin(), elastic.tokens().end());
    overlap.push_back(1 - static_cast<double>(change.load.size()) / static_cast<double>(budget));
  }
  return {{"load", integers(load, {rows, budget})}, {"evict", integers(evict, {rows, budget})}, {"load_count", integers(counts, {rows})},
          {"slots_after", integers(after, {rows, budget})}, {"overlap", doubles(overlap, {rows})}};
}

Tensors planner(const Case& c) {
  MemoryModel m;
  m.layers = c.integer("layers"), m.kv_heads = c.integer("kv_heads"), m.groups = c.integer("gqa_groups");
  m.head_token_bytes = 4 * c.integer("head_dim");  // keys and values of two bytes
  m.requests = c.integer("requests"), m.budget = c.integer("budget");
  m.model_bytes = static_cast<uint64_t>(c.integer("bytes_llm")), m.retrieval_bytes = static_cast<uint64_t>(c.integer("bytes_dlm"));
  m.memory_bytes = static_cast<uint64_t>(c.integer("bytes_device"));
  const auto thresholds = offload_thresholds(m);
  const at::Tensor lengths = c.input("seq_len").to(at::kLong).contiguous();
  std::vector<int64_t> slow;
  for (int64_t i = 0; i < lengths.numel(); ++i) slow.push_back(layers_offloaded(thresholds, lengths[i].item<int64_t>(), slow.empty() ? 0 : slow.back()));
  return {{"thresholds", integers(thresholds, {m.layers + 1})}, {"layers_offloaded", integers(slow, {lengths.numel()})}};
}

const Register kRegister("05-specontext",
                         {{"gqa_*", group_topk}, {"mha_ties", ties}, {"elastic_*", elastic}, {"memory_*", planner}});

}  // namespace
}  // namespace espalier::golden::specontext_cases
