#include "espalier/families/encoder_block.h"

#include <cmath>

#include "espalier/core/error.h"
#include "espalier/families/builder.h"

namespace espalier {
namespace {

constexpr int64_t kMostLayers = 4096;

int64_t width_of_heads(const EncoderFacts& facts, const WeightSource& source, int64_t block, int64_t head_size) {
  const EncoderNames& names = facts.names;
  const bool packed = names.query.empty();
  const std::string weight = block_name(names.block, block) + (packed ? names.packed_weight : names.query + ".weight");
  const Shape& shape = source.shape(weight);
  const int64_t width = shape.empty() ? 0 : packed ? shape[0] / 3 : shape[0];
  if (width < 1 || width % head_size != 0)
    throw UserError(source.where(), fmt::format("shape of the tensor '{}'", weight),
                    fmt::format("whole heads of the size {}", head_size), to_string(shape));
  return width;
}

ValueId attention(VisionBuilder& b, const EncoderFacts& facts, const std::string& at, const LayerPlan& plan,
                  ValueId x) {
  const EncoderNames& names = facts.names;
  const int64_t heads = plan.heads * plan.head_size, width = b.width(x);
  std::vector<ValueId> qkv;
  if (names.query.empty()) {
    const bool biased = !names.packed_bias.empty() && b.source().has(at + names.packed_bias, facts.qkv_bias);
    const std::string bias = biased ? at + names.packed_bias : "";
    const ValueId packed = b.linear(at + "qkv", x, exactly(3 * heads), at + names.packed_weight, bias);
    qkv = b.split(at + "qkv_split", packed, -1, {heads, heads, heads});
  } else {
    for (const auto* name : {&names.query, &names.key, &names.value})
      qkv.push_back(b.linear(at + *name, x, exactly(heads), b.source().has(at + *name + ".bias", facts.qkv_bias)));
  }
  const double scale =
      plan.attention_scale != 0 ? plan.attention_scale : 1 / std::sqrt(static_cast<double>(plan.head_size));
  const ValueId mixed = b.attention(at + "attention", qkv[0], qkv[1], qkv[2], {plan.head_size, scale});
  return b.linear(at + names.out, mixed, exactly(width));
}

ValueId mlp(VisionBuilder& b, const EncoderFacts& facts, const std::string& at, const LayerPlan& plan, ValueId x) {
  const int64_t width = b.width(x);
  const Width inner = facts.planned ? exactly(plan.ffn) : free_width(plan.ffn);
  const ValueId y = b.activation(at + "act", b.linear(at + facts.names.up, x, inner), facts.activation);
  return b.linear(at + facts.names.down, y, exactly(width));
}

// A norm after the sum belongs to the stream and stays when the branch goes.
ValueId encoder_block(VisionBuilder& b, const EncoderFacts& facts, int64_t index, ValueId x) {
  const std::string at = block_name(facts.names.block, index);
  const LayerPlan& plan = facts.plans[static_cast<size_t>(index)];
  const bool first = facts.names.norm_first;
  auto norm = [&](const std::string& name, ValueId y) { return b.layer_norm(at + name, y, facts.epsilon); };
  if (plan.heads > 0) {
    const ValueId branch = attention(b, facts, at, plan, first ? norm(facts.names.norm1, x) : x);
    x = b.add(at + "attention_residual", x, branch);
  }
  if (!first) x = norm(facts.names.norm1, x);
  if (plan.ffn > 0) {
    const ValueId branch = mlp(b, facts, at, plan, first ? norm(facts.names.norm2, x) : x);
    x = b.add(at + "mlp_residual", x, branch);
  }
  return first ? x : norm(facts.names.norm2, x);
}

}  // namespace

void read_encoder(EncoderFacts& facts, const Json& config, const EncoderKeys& keys, int64_t hidden,
                  const WeightSource& source) {
  const std::string& where = source.where();
  const int64_t stated = json_int_or(config, keys.layers, where, 0, kMostLayers, keys.default_layers);
  facts.layers = source.count(facts.names.block, keys.layers, stated);
  LayerPlan uniform;
  uniform.heads = uniform.kv_heads = json_int_or(config, keys.heads, where, 1, 1 << 16, 12);
  uniform.head_size = derived_head_size(hidden, uniform.heads);
  uniform.ffn = json_int_or(config, keys.ffn, where, 1, 1 << 26, 4 * hidden);
  uniform.attention_scale = json_number_or(config, "attention_scale", where, 0);
  facts.planned = config.contains("espalier");
  facts.plans = read_layer_plans(config, facts.layers, uniform, where);
  if (facts.planned || source.is_fresh()) return;
  for (int64_t i = 0; i < facts.layers; ++i) {
    LayerPlan& plan = facts.plans[static_cast<size_t>(i)];
    plan.heads = plan.kv_heads = width_of_heads(facts, source, i, plan.head_size) / plan.head_size;
  }
}

ValueId encoder_blocks(VisionBuilder& b, const EncoderFacts& facts, ValueId x) {
  const auto layers = static_cast<int>(facts.layers);
  for (int i = 0; i < layers; ++i) {
    b.set_block(i);
    x = encoder_block(b, facts, i, x);
  }
  b.set_block(layers);
  return x;
}

}  // namespace espalier
