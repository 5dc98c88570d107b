#include "attention_case.h"
#include "espalier/engine/attention/policies/longheads.h"

namespace espalier::golden::longheads_cases {
namespace {

AttentionRequest request(const Case& c, int64_t chunks) {
  return ask("28-longheads", {{"chunk", std::to_string(c.integer("chunk"))}, {"attention", std::to_string(chunks * c.integer("chunk"))},
                              {"allow_extrapolation", "1"}});
}

Tensors representation(const Case& c) {
  AttentionCase rows(c, c.number("rope_base"));
  const int64_t chunk = c.integer("chunk"), heads = rows.oracle.layer.heads, size = rows.oracle.layer.head_size;
  std::vector<at::Tensor> means, vectors;  // chunk by chunk
  recorded_run.at_end_of_chunk = [&](AttentionPolicy& policy, PagedKvCache& cache, int, int64_t length) {
    for (int64_t h = 0; h < heads; ++h) {
      const auto made = dynamic_cast<LongHeads&>(policy).represent(cache, 0, h, length / chunk - 1);
      means.push_back(at::tensor(made.mean)), vectors.push_back(at::tensor(made.vector));
    }
  };
  rows.attend(request(c, 4));
  recorded_run.at_end_of_chunk = nullptr;
  const auto by_head = [&](const std::vector<at::Tensor>& list) {
    return at::stack(list).reshape({-1, heads, size}).transpose(0, 1).to(at::kDouble).contiguous();
  };
  return {{"mean_out", by_head(means)}, {"rep", by_head(vectors)}};
}

Tensors attend(const Case& c) {
  AttentionCase rows(c, c.number("rope_base"));
  rows.attend(request(c, c.integer("chunks_attended")));
  const int64_t position = c.integer("position"), chunk = c.integer("chunk"), heads = rows.oracle.layer.heads, size = rows.oracle.layer.head_size;
  const auto& policy = dynamic_cast<const LongHeads&>(*rows.recording.policy);
  std::vector<double> scores;
  std::vector<int64_t> selected;
  int64_t chunks = 0;
  for (int64_t h = 0; h < heads; ++h) {
    const float* q = rows.oracle.q.data() + (position * heads + h) * size;
    for (int64_t j = 0; j < rows.oracle.tokens / chunk; ++j) scores.push_back(static_cast<double>(policy.score(0, h, j, q)));
    // A prompt's first queries are not asked: they see everything.
    const Selection chosen = position >= policy.needs().select_from ? rows.recording.of(0, h, position).selection : Selection();
    std::vector<int64_t> ids(chosen.ids.begin(), chosen.ids.end());
    for (int64_t j = 0; chosen.kind == Selection::Kind::kAll && j <= position / chunk; ++j) ids.push_back(j);
    chunks = static_cast<int64_t>(ids.size());
    selected.insert(selected.end(), ids.begin(), ids.end());
  }
  return {{"chunk_scores", at::tensor(scores, at::kDouble).reshape({heads, -1})},
          {"selected", integers(selected, {heads, chunks})},
          {"n_keys", scalar((chunks - 1) * chunk + position % chunk + 1)},
          {"out", rows.out().select(1, position)}};
}

const Register kRegister("28-longheads", {{"chunk_representation*", representation}, {"select_and_attend*", attend}, {"gqa_*", attend}, {"short_*", attend}});

}  // namespace
}  // namespace espalier::golden::longheads_cases
