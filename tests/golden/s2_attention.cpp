#include "attention_case.h"
#include "espalier/engine/attention/block_attention.h"
#include "espalier/engine/attention/policies/s2_pattern.h"

namespace espalier::golden::s2_attention_cases {
namespace {

at::Tensor truth(bool value) { return at::full({1}, value, at::kBool); }

// [heads, blocks, blocks]
at::Tensor mask_of(int64_t heads, int64_t blocks, const std::function<bool(int64_t, int64_t, int64_t)>& sees) {
  auto mask = at::zeros({heads, blocks, blocks}, at::kBool);
  auto cells = mask.accessor<bool, 3>();
  for (int64_t h = 0; h < heads; ++h)
    for (int64_t i = 0; i < blocks; ++i)
      for (int64_t j = 0; j <= i; ++j) cells[h][i][j] = sees(h, i, j);
  return mask;
}

bool efficient(const at::Tensor& mask) {
  const auto cells = mask.accessor<bool, 3>();
  return cache_efficient(mask.size(0), mask.size(1), [&](int64_t g, int64_t i, int64_t j) { return cells[g][i][j]; });
}

Tensors attend(const Case& c) {
  AttentionCase rows(c);
  const auto text = [&](const char* name, int64_t otherwise) { return std::to_string(c.integer_or(name, otherwise)); };
  const int64_t block = c.integer("block"), heads = rows.oracle.layer.heads, group = heads / rows.oracle.layer.kv_heads;
  rows.attend(ask("36-s2-attention", {{"block", text("block", 0)}, {"local_blocks", text("local_blocks", 0)}, {"vert_stride", text("vert_stride", 0)},
                                      {"head_offset", text("head_offset", 0)}, {"dense_kv_heads", text("dense_kv_heads", 0)}, {"dense_period", "0"}}));
  const auto mask = mask_of(heads, (rows.oracle.tokens + block - 1) / block, [&](int64_t h, int64_t i, int64_t j) {
    const auto& ids = rows.recording.of(0, h / group, i * block).selection.ids;
    return std::binary_search(ids.begin(), ids.end(), static_cast<int32_t>(j));
  });
  return {{"block_mask", mask}, {"out", rows.out()}, {"lse", rows.log_sum_exp()}, {"kv_efficient", truth(efficient(mask))}};
}

Tensors patterns(const Case& c) {
  const int64_t blocks = c.integer("block_count");
  Tensors outputs;
  for (const std::string name : {"het", "homo", "dense1", "few"}) {
    if (!c.params.contains(name)) continue;
    const Json& p = c.params.at(name);
    const auto field = [&](const char* key, int64_t otherwise) { return json_int_or(p, key, c.where(), 0, 1 << 20, otherwise); };
    StridedShards shards;
    shards.heads = shards.kv_heads = field("heads", 1);
    shards.local_blocks = field("local", 1), shards.vert_stride = field("stride", 1), shards.dense_kv_heads = field("dense_kv_heads", 0);
    shards.head_offset = c.integer_or("head_offset", 0), shards.homogeneous = name == "homo";
    const BlockPattern pattern(shards);
    outputs[name] = mask_of(shards.heads, blocks, [&](int64_t g, int64_t i, int64_t j) { return pattern.sees(g, i, j); });
  }
  outputs["het_union"] = outputs.at("het").any(0);
  outputs["het_kept_blocks"] = outputs.at("het").sum(2);
  return outputs;
}

Tensors efficiency(const Case& c) {
  Tensors outputs;
  for (const auto& [name, mask] : c.inputs) outputs[name] = truth(efficient(mask));
  return outputs;
}

// A part is the state of rows that have seen one key of weight 1.
Tensors merge(const Case& c) {
  const auto out = c.floats("out_parts").contiguous(), lse = c.floats("lse_parts").contiguous();
  const int64_t parts = out.size(0), rows = lse[0].numel(), size = out.size(3), width = (size + 15) / 16 * 16;
  BlockRows state;
  state.reserve(width);
  auto merged = at::zeros_like(out[0]), merged_lse = at::zeros_like(lse[0]);
  for (int64_t first = 0; first < rows; first += kBlockRows) {
    const int64_t count = std::min(kBlockRows, rows - first);
    state.start(count, width);
    for (int64_t p = 0; p < parts; ++p) {
      std::vector<float> part(static_cast<size_t>(count * (width + 2)), 0.0f);
      for (int64_t r = 0; r < count; ++r) {
        part[static_cast<size_t>(r)] = lse.data_ptr<float>()[p * rows + first + r], part[static_cast<size_t>(count + r)] = 1;
        std::copy_n(out.data_ptr<float>() + (p * rows + first + r) * size, size, part.data() + 2 * count + r * width);
      }
      state.merge(part.data());
    }
    for (int64_t r = 0; r < count; ++r) {
      state.write(r, size, merged.data_ptr<float>() + (first + r) * size);
      merged_lse.data_ptr<float>()[first + r] = state.log_sum_exp(r);
    }
  }
  return {{"out", merged.to(at::kDouble)}, {"lse", merged_lse.to(at::kDouble)}};
}

const Register kRegister("36-s2-attention", {{"gqa_attention*", attend}, {"patterns", patterns}, {"kv_efficiency_check", efficiency}, {"merge_partitions*", merge}});

}  // namespace
}  // namespace espalier::golden::s2_attention_cases
