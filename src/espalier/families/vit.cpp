#include "espalier/families/vit.h"

#include "espalier/core/error.h"
#include "espalier/families/family.h"

namespace espalier::vit_family {
namespace {

constexpr double kDeviation = 0.02;

class VitBuilder {
 public:
  VitBuilder(WeightSource source, const VitFacts& facts)
      : b_(std::move(source)), facts_(facts), layout_(*facts.layout) {
    b_.use_truncated_normal(kDeviation);
  }

  Graph build() {
    const ValueId x = encoder_blocks(b_, facts_.encoder, embeddings());
    const auto layers = static_cast<int>(facts_.encoder.layers);
    return b_.finish({head(x)}, layers, is_framework_buffer);
  }

 private:
  // [n, c, h, w] → [n, patches, width]
  ValueId patches() {
    const PictureShape& picture = facts_.picture;
    const ValueId x = b_.pictures(picture.channels, picture.height, picture.width);
    return layout_.listed_patches ? listed_patches(x) : convolved_patches(x);
  }

  ValueId convolved_patches(ValueId x) {
    ConvSpec spec{free_width(facts_.hidden), facts_.patch, facts_.patch, 0};
    spec.bias = b_.source().has(layout_.patch + ".bias", true);
    const ValueId grid = b_.conv(layout_.patch, x, spec);
    return b_.transpose(layout_.patch + ".tokens", b_.reshape(layout_.patch + ".flat", grid, {0, 0, -1}), {0, 2, 1});
  }

  // The elements of a patch in the order row, column, channel.
  ValueId listed_patches(ValueId x) {
    const PictureShape& picture = facts_.picture;
    const int64_t rows = picture.height / facts_.patch, columns = picture.width / facts_.patch;
    const std::string at = layout_.patch;
    const ValueId grid = b_.reshape(at + ".grid", x, {0, picture.channels, rows, facts_.patch, columns, facts_.patch});
    const ValueId ordered = b_.transpose(at + ".ordered", grid, {0, 2, 4, 3, 5, 1});
    return b_.linear(at, b_.reshape(at + ".list", ordered, {0, rows * columns, -1}), free_width(facts_.hidden));
  }

  // Tokens that stand before the patches come from a table [1, tokens, width] that the positions are added to: the
  // class token is padded with zeros to all positions, the patches at the front, and all three are added. So the batch
  // may have any size.
  ValueId embeddings() {
    ValueId x = patches();
    const int64_t width = b_.width(x), patches = b_.shape(x)[1], extra = facts_.distilled ? 2 : 1;
    ValueId table = b_.constant(layout_.positions, {1, patches + extra, width}, {0, 1});
    auto put = [&](const std::string& token, int64_t at) {
      const ValueId one = b_.constant(token, {1, 1, width});
      const ValueId padded = b_.pad(token + ".padded", one, {0, at, 0, 0, patches + extra - 1 - at, 0});
      table = b_.add(token + ".placed", table, padded);
    };
    put(layout_.cls, 0);
    if (facts_.distilled) put(layout_.distillation, 1);
    x = b_.pad(layout_.patch + ".padded", x, {0, extra, 0, 0, 0, 0});
    return b_.add("embeddings", x, table);
  }

  // The class token's logits, or the mean of both tokens' where each has a head.
  ValueId head(ValueId x) {
    if (!layout_.norm.empty()) x = b_.layer_norm(layout_.norm, x, facts_.encoder.epsilon);
    ValueId features = b_.pick("cls", x, 1, 0);
    if (!layout_.hidden_head.empty()) {
      features = b_.linear(layout_.hidden_head, features, free_width(2 * b_.width(features)));
      features = b_.activation(layout_.hidden_head + ".act", features, facts_.encoder.activation);
    }
    const ValueId logits = b_.linear(layout_.head, features, free_width(facts_.classes));
    if (!facts_.two_heads) return logits;
    const ValueId second = b_.linear(layout_.distilled_head, b_.pick("distilled", x, 1, 1), exactly(b_.width(logits)));
    return b_.mul("mean", b_.add("both", logits, second), b_.constant_values("half", {1}, {0.5}));
  }

  VisionBuilder b_;
  const VitFacts& facts_;
  const VitLayout& layout_;
};

Graph build_from(const WeightSource& source, const Json& config) {
  const VitFacts facts = read_vit_facts(config, source);
  return VitBuilder(source, facts).build();
}

Graph build(const Json& config, const Checkpoint& checkpoint, const std::string& where) {
  return build_from(WeightSource(checkpoint, config, where), config);
}

Graph fresh(const Json& config, uint64_t seed, const std::string& where) {
  return build_from(WeightSource(seed, config, where), config);
}

const VitLayout& layout_of(const Graph& graph) {
  for (const VitLayout& layout : vit_layouts())
    if (graph.has_parameter(layout.patch + ".weight") && graph.has_parameter(layout.head + ".weight")) return layout;
  bug(__FILE__, __LINE__, "a vision transformer of no layout");
}

void write_config(Json& config, const Graph& graph) {
  const int64_t hidden = graph.parameter(layout_of(graph).cls).shape().at(2);
  write_widths(config, graph, {"num_hidden_layers", "num_attention_heads", "", "", "intermediate_size", "hidden_size"},
               hidden);
}

const RegisterFamily registered({"vit",
                                 {"vit", "deit"},
                                 build,
                                 write_config,
                                 [](const Graph& graph) { return layout_of(graph).encoder.block; },
                                 Task::kImages,
                                 recognise_vit,
                                 fresh});

}  // namespace
}  // namespace espalier::vit_family
