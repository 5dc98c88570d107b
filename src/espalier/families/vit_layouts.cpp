#include <cmath>

#include "espalier/core/error.h"
#include "espalier/families/builder.h"
#include "espalier/families/vit.h"

namespace espalier {
namespace {

VitLayout hugging_face(const std::string& name, const std::string& prefix) {
  VitLayout l;
  l.name = name;
  l.cls = prefix + "embeddings.cls_token";
  l.distillation = prefix + "embeddings.distillation_token";
  l.positions = prefix + "embeddings.position_embeddings";
  l.patch = prefix + "embeddings.patch_embeddings.projection";
  l.encoder.block = prefix + "encoder.layer.{}.";
  l.encoder.norm1 = "layernorm_before";
  l.encoder.query = "attention.attention.query";
  l.encoder.key = "attention.attention.key";
  l.encoder.value = "attention.attention.value";
  l.encoder.out = "attention.output.dense";
  l.encoder.norm2 = "layernorm_after";
  l.encoder.up = "intermediate.dense";
  l.encoder.down = "output.dense";
  l.norm = prefix + "layernorm";
  l.head = "classifier";
  l.epsilon = 1e-12;
  l.image = image_facts({0.5, 0.5, 0.5}, {0.5, 0.5, 0.5});
  return l;
}

// DeiTForImageClassificationWithTeacher: the mean of two heads.
VitLayout with_teacher() {
  VitLayout l = hugging_face("deit-with-teacher", "deit.");
  l.head = "cls_classifier";
  l.distilled_head = "distillation_classifier";
  return l;
}

VitLayout timm() {
  VitLayout l;
  l.name = "timm";
  l.cls = "cls_token";
  l.distillation = "dist_token";
  l.positions = "pos_embed";
  l.patch = "patch_embed.proj";
  l.encoder.block = "blocks.{}.";
  l.encoder.norm1 = "norm1";
  l.encoder.packed_weight = "attn.qkv.weight";
  l.encoder.packed_bias = "attn.qkv.bias";
  l.encoder.out = "attn.proj";
  l.encoder.norm2 = "norm2";
  l.encoder.up = "mlp.fc1";
  l.encoder.down = "mlp.fc2";
  l.norm = "norm";
  l.head = "head";
  l.distilled_head = "head_dist";
  l.epsilon = 1e-6;
  l.image = imagenet_image_facts();
  return l;
}

VitLayout torchvision() {
  VitLayout l;
  l.name = "torchvision";
  l.cls = "class_token";
  l.positions = "encoder.pos_embedding";
  l.patch = "conv_proj";
  l.encoder.block = "encoder.layers.encoder_layer_{}.";
  l.encoder.norm1 = "ln_1";
  l.encoder.packed_weight = "self_attention.in_proj_weight";
  l.encoder.packed_bias = "self_attention.in_proj_bias";
  l.encoder.out = "self_attention.out_proj";
  l.encoder.norm2 = "ln_2";
  l.encoder.up = "mlp.0";
  l.encoder.down = "mlp.3";
  l.norm = "encoder.ln";
  l.head = "heads.head";
  l.epsilon = 1e-6;
  l.image = imagenet_image_facts();
  return l;
}

// Blocks around torch.nn.MultiheadAttention; values in [0, 1].
VitLayout multihead() {
  VitLayout l;
  l.name = "multihead";
  l.cls = "cls_token";
  l.positions = "pos_embed";
  l.patch = "patch_embedding.embed";
  l.encoder.block = "transformer_layers.{}.";
  l.encoder.norm1 = "norm1";
  l.encoder.packed_weight = "attention.in_proj_weight";
  l.encoder.packed_bias = "attention.in_proj_bias";
  l.encoder.out = "attention.out_proj";
  l.encoder.norm2 = "norm2";
  l.encoder.up = "mlp.0";
  l.encoder.down = "mlp.2";
  l.norm = "out_head.0";
  l.head = "out_head.1";
  l.head_size = 16;
  l.image = image_facts({}, {});
  return l;
}

// torch.nn.TransformerEncoder with its defaults: norms after the sums, ReLU.
VitLayout encoder() {
  VitLayout l;
  l.name = "encoder";
  l.cls = "cls_token";
  l.positions = "pos_embed";
  l.patch = "patch_embed.proj";
  l.encoder.block = "transformer.layers.{}.";
  l.encoder.norm1 = "norm1";
  l.encoder.packed_weight = "self_attn.in_proj_weight";
  l.encoder.packed_bias = "self_attn.in_proj_bias";
  l.encoder.out = "self_attn.out_proj";
  l.encoder.norm2 = "norm2";
  l.encoder.up = "linear1";
  l.encoder.down = "linear2";
  l.norm = "mlp_head.0";
  l.head = "mlp_head.1";
  l.encoder.norm_first = false;
  l.activation = "relu";
  l.head_size = 16;
  l.image = image_facts({0.4914, 0.4822, 0.4465}, {0.2023, 0.1994, 0.2010});
  return l;
}

// The first version of vit-pytorch: patches through a Linear layer, scores divided by the root of the width, a head of
// two layers.
VitLayout wrapped() {
  VitLayout l;
  l.name = "wrapped";
  l.cls = "cls_token";
  l.positions = "pos_embedding";
  l.patch = "patch_to_embedding";
  l.encoder.block = "transformer.layers.{}.";
  l.encoder.norm1 = "0.fn.norm";
  l.encoder.packed_weight = "0.fn.fn.to_qkv.weight";
  l.encoder.out = "0.fn.fn.to_out";
  l.encoder.norm2 = "1.fn.norm";
  l.encoder.up = "1.fn.fn.net.0";
  l.encoder.down = "1.fn.fn.net.2";
  l.hidden_head = "mlp_head.0";
  l.head = "mlp_head.2";
  l.head_size = 8;
  l.image = image_facts({0.1307}, {0.3081});
  l.scale_of_width = -0.5;
  l.listed_patches = true;
  return l;
}

int64_t root(int64_t square) { return std::llround(std::sqrt(static_cast<double>(std::max<int64_t>(square, 0)))); }

const VitLayout* layout_of(const WeightSource& source) {
  for (const VitLayout& layout : vit_layouts())
    if (source.has(layout.cls) && source.has(layout.positions) && source.has(layout.patch + ".weight") &&
        source.has(layout.head + ".weight"))
      return &layout;
  return nullptr;
}

const VitLayout& layout_named(const std::string& name, const std::string& where) {
  std::vector<std::string> names;
  for (const VitLayout& layout : vit_layouts()) {
    if (layout.name == name) return layout;
    names.push_back(layout.name);
  }
  throw UserError(where, "layout", fmt::format("one of {}", fmt::join(names, ", ")), printable(name));
}

int64_t patch_side(const Json& config, const PictureShape& picture, const std::string& where) {
  const int64_t most = std::min(picture.height, picture.width);
  if (!config.contains("patch_size") || !config["patch_size"].is_array())
    return json_int_or(config, "patch_size", where, 1, most, std::min<int64_t>(16, most));
  const auto sides = json_int_list(config, "patch_size", where, 1, most, 2, {});
  if (sides[0] != sides[1])
    throw UserError(where, "patch_size", "a square", fmt::format("[{}, {}]", sides[0], sides[1]));
  return sides[0];
}

}  // namespace

const std::vector<VitLayout>& vit_layouts() {
  static const std::vector<VitLayout> layouts{with_teacher(),
                                              hugging_face("vit", "vit."),
                                              hugging_face("deit", "deit."),
                                              hugging_face("bare", ""),
                                              timm(),
                                              torchvision(),
                                              multihead(),
                                              encoder(),
                                              wrapped()};
  return layouts;
}

VitFacts read_vit_facts(const Json& config, const WeightSource& source) {
  const std::string& where = source.where();
  VitFacts facts;
  const std::string type = json_string(config, "model_type", where);
  facts.layout =
      source.is_fresh() ? &layout_named(json_string_or(config, "layout", where, type), where) : layout_of(source);
  if (!facts.layout)
    user_error("{}: the checkpoint's tensors are named like those of no known vision transformer with a head", where);
  facts.picture = picture_shape(config, where, 224);
  facts.patch = patch_side(config, facts.picture, where);
  facts.hidden = json_int_or(config, "hidden_size", where, 1, 1 << 20, 768);
  facts.classes = class_count(config, where, 1000);
  const VitLayout& layout = *facts.layout;
  facts.distilled = !layout.distillation.empty() && source.has(layout.distillation, type == "deit");
  facts.two_heads = !layout.distilled_head.empty() && source.has(layout.distilled_head + ".weight", facts.distilled);
  facts.encoder.names = layout.encoder;
  facts.encoder.qkv_bias = json_bool_or(config, "qkv_bias", where, true);
  facts.encoder.epsilon = json_number_or(config, "layer_norm_eps", where, 1e-12);
  facts.encoder.activation = activation_kind(json_string_or(config, "hidden_act", where, "gelu"), where);
  read_encoder(facts.encoder, config, {}, facts.hidden, source);
  return facts;
}

std::optional<Json> recognise_vit(const Checkpoint& checkpoint) {
  const WeightSource source(checkpoint, Json::object(), checkpoint.path().string());
  const VitLayout* layout = layout_of(source);
  if (!layout) return std::nullopt;
  const Shape &positions = source.shape(layout->positions), &patch = source.shape(layout->patch + ".weight");
  const bool linear = patch.size() == 2;
  if (positions.size() != 3 || (patch.size() != 4 && !linear)) return std::nullopt;
  const bool distilled = !layout->distillation.empty() && source.has(layout->distillation);
  const int64_t side = root(positions[1] - (distilled ? 2 : 1)), hidden = patch[0];
  const int64_t channels = linear ? 1 : patch[1], patch_size = linear ? root(patch[1]) : patch[2];
  if (hidden % layout->head_size != 0) return std::nullopt;
  Json config = {{"model_type", distilled ? "deit" : "vit"},
                 {"layout", layout->name},
                 {"hidden_size", hidden},
                 {"num_hidden_layers", blocks_present(source.names(), layout->encoder.block)},
                 {"num_attention_heads", hidden / layout->head_size},
                 {"image_size", side * patch_size},
                 {"patch_size", patch_size},
                 {"num_channels", channels},
                 {"hidden_act", layout->activation},
                 {"layer_norm_eps", layout->epsilon},
                 {"num_labels", source.shape(layout->head + ".weight").at(0)},
                 {"espalier_image", layout->image}};
  const std::string up = block_name(layout->encoder.block, 0) + layout->encoder.up + ".weight";
  if (source.has(up)) config["intermediate_size"] = source.shape(up).at(0);
  if (layout->scale_of_width != 0)
    config["attention_scale"] = std::pow(static_cast<double>(hidden), layout->scale_of_width);
  return config;
}

}  // namespace espalier
