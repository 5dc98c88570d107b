#include "attention_case.h"

namespace espalier::golden::hip_cases {
namespace {

Tensors run(const Case& c) {
  AttentionCase rows(c);
  const auto text = [&](const char* name) { return std::to_string(c.integer(name)); };
  rows.attend(ask("29-hip", {{"budget", text("k")}, {"block_q", text("block_q")}, {"block_k", text("block_k")}, {"window", text("window")},
                             {"sink", text("sink")}, {"query_stride", text("query_stride")}, {"dense_layers", "0"},
                             {"representative", c.text_or("representative", "center")}}));
  const int64_t heads = rows.oracle.layer.heads, block_k = c.integer("block_k"), block_q = c.integer("block_q");
  const int64_t wanted = (c.integer("k") + block_k - 1) / block_k, blocks = (rows.queries + block_q - 1) / block_q;
  std::vector<int64_t> indices, counts;
  for (int64_t h = 0; h < heads; ++h) {
    for (int64_t m = 0; m < blocks; ++m) {
      const Choice& choice = rows.recording.of(0, h, rows.first + m * block_q);
      std::vector<int64_t> ids(choice.selection.ids.begin(), choice.selection.ids.end());
      const int64_t searched = std::max<int64_t>(0, choice.position + choice.rows - c.integer("window"));
      if (choice.selection.kind == Selection::Kind::kAll)
        for (int64_t b = 0; b * block_k < searched; ++b) ids.push_back(b);
      ids.resize(static_cast<size_t>(wanted), -1);
      indices.insert(indices.end(), ids.begin(), ids.end());
    }
    for (int64_t i = rows.first; i < rows.oracle.tokens; ++i) {
      int64_t seen = 0;
      for (int64_t j = 0; j <= i; ++j) seen += sees(rows.recording.of(0, h, i).selection, i, j);
      counts.push_back(seen);
    }
  }
  return {{"block_indices", integers(indices, {heads, blocks, wanted})}, {"n_keys", integers(counts, {heads, rows.queries})}, {"out", rows.out()}};
}

const Register kRegister("29-hip", {{"prefill_*", run}, {"decode_*", run}, {"all_keys_equal", run}});

}  // namespace
}  // namespace espalier::golden::hip_cases
