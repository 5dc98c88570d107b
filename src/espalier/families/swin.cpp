// Swin transformers (Liu et al., 2021) under Hugging Face's names and keys: image_size, patch_size, num_channels,
// embed_dim, depths, num_heads, window_size, mlp_ratio, qkv_bias, hidden_act, layer_norm_eps, num_labels. Attention is
// written out in MatMuls, because a bias and a mask are added to its scores. Blocks are numbered over all stages; patch
// merging belongs to the block after it. Tensors keep their names when branches go: the "espalier" block lists those
// ("removed"), and it has the head size ("head_size") once widths differ from the stock ones.
#include "espalier/families/swin.h"

#include <algorithm>
#include <cmath>

#include "espalier/core/error.h"
#include "espalier/families/builder.h"
#include "espalier/families/family.h"
#include "espalier/families/vision_builder.h"
#include "espalier/families/vision_config.h"

namespace espalier::swin_family {
namespace {

using List = std::vector<int64_t>;
constexpr int64_t kMostWidth = 1 << 16, kMostWindow = 32, kMostPairs = 1 << 24;

struct Facts {
  std::string prefix = "swin.", activation;
  PictureShape picture;
  int64_t patch = 4, embed = 96, window = 7, head_size = 32, classes = 1000;
  List depths, heads;
  double mlp_ratio = 4, epsilon = 1e-5;
  bool qkv_bias = true;
  int64_t width(size_t stage) const { return embed << stage; }
};

int64_t read_head_size(const Json& config, const Facts& facts, const std::string& where) {
  if (config.contains("espalier") && config["espalier"].is_object() && config["espalier"].contains("head_size"))
    return json_int(config["espalier"], "head_size", where + ": espalier", 1, kMostWidth);
  for (size_t stage = 0; stage < facts.heads.size(); ++stage)
    if (facts.width(stage) % facts.heads[stage] != 0 ||
        facts.width(stage) / facts.heads[stage] != facts.embed / facts.heads[0])
      throw UserError(where, "num_heads", "numbers that give all stages heads of one size",
                      fmt::format("{} of {} channels", facts.heads[stage], facts.width(stage)));
  return facts.embed / facts.heads[0];
}

Facts read_facts(const Json& config, const WeightSource& source, const std::string& where) {
  Facts facts;
  if (!source.has("swin.embeddings.patch_embeddings.projection.weight", true)) facts.prefix = "";
  facts.picture = picture_shape(config, where, 224);
  facts.patch = json_int_or(config, "patch_size", where, 1, 1 << 14, 4);
  facts.embed = json_int_or(config, "embed_dim", where, 1, kMostWidth, 96);
  facts.window = json_int_or(config, "window_size", where, 1, kMostWindow, 7);
  facts.depths = json_int_list(config, "depths", where, 1, 1024, 0, {2, 2, 6, 2});
  if (facts.depths.size() > 8)
    throw UserError(where, "depths", "at most 8 stages", fmt::format("{}", facts.depths.size()));
  facts.heads = json_int_list(config, "num_heads", where, 1, 4096, facts.depths.size(), {3, 6, 12, 24});
  facts.mlp_ratio = json_number_or(config, "mlp_ratio", where, 4);
  if (!(facts.mlp_ratio > 0 && facts.mlp_ratio <= 1024))
    throw UserError(where, "mlp_ratio", "a number above 0, at most 1024", fmt::format("{}", facts.mlp_ratio));
  facts.epsilon = json_number_or(config, "layer_norm_eps", where, 1e-5);
  facts.qkv_bias = json_bool_or(config, "qkv_bias", where, true);
  facts.activation = activation_kind(json_string_or(config, "hidden_act", where, "gelu"), where);
  facts.classes = class_count(config, where, 1000);
  if (json_bool_or(config, "use_absolute_embeddings", where, false))
    throw UserError(where, "use_absolute_embeddings", "false", "true");
  facts.head_size = read_head_size(config, facts, where);
  return facts;
}

std::string block_of(const Facts& facts, size_t stage, int64_t index) {
  return fmt::format("{}encoder.layers.{}.blocks.{}.", facts.prefix, stage, index);
}

int64_t round_up(int64_t size, int64_t multiple) { return (size + multiple - 1) / multiple * multiple; }

class Swin {
 public:
  Swin(WeightSource source, const Facts& facts) : b_(std::move(source)), facts_(facts) {
    b_.use_truncated_normal(0.02);
  }

  Graph build() {
    ValueId x = embeddings();
    for (size_t stage = 0; stage < facts_.depths.size(); ++stage) {
      stage_ = stage;
      for (int64_t i = 0; i < facts_.depths[stage]; ++i) x = block(x, i);
    }
    b_.set_block(next_block_);
    x = b_.layer_norm(facts_.prefix + "layernorm", x, facts_.epsilon);
    const ValueId logits = b_.linear("classifier", b_.reduce_mean("pool", x, 1), free_width(facts_.classes));
    return b_.finish({logits}, next_block_, is_framework_buffer);
  }

 private:
  ValueId embeddings() {
    const PictureShape& picture = facts_.picture;
    const std::string at = facts_.prefix + "embeddings.";
    ValueId x = b_.pictures(picture.channels, picture.height, picture.width);
    height_ = round_up(picture.height, facts_.patch);
    width_ = round_up(picture.width, facts_.patch);
    if (height_ > picture.height || width_ > picture.width)
      x = b_.pad(at + "pad", x, {0, 0, 0, 0, 0, 0, height_ - picture.height, width_ - picture.width});
    ConvSpec spec{free_width(facts_.embed), facts_.patch, facts_.patch, 0};
    spec.bias = true;
    x = b_.conv(at + "patch_embeddings.projection", x, spec);
    height_ /= facts_.patch;
    width_ /= facts_.patch;
    x = b_.transpose(at + "tokens", b_.reshape(at + "flat", x, {0, 0, -1}), {0, 2, 1});
    return b_.layer_norm(at + "norm", x, facts_.epsilon);
  }

  ValueId block(ValueId x, int64_t index) {
    const std::string at = block_of(facts_, stage_, index);
    const bool merges = stage_ > 0 && index == 0;
    const bool attends = !b_.source().is_removed(at + "attention"), mixes = !b_.source().is_removed(at + "mlp");
    if (!merges && !attends && !mixes) return x;
    b_.set_block(next_block_++);
    if (merges) x = merged(x, fmt::format("{}encoder.layers.{}.downsample.", facts_.prefix, stage_ - 1));
    if (attends) x = b_.add(at + "attention_residual", x, attention(x, at, index % 2 == 1));
    if (mixes) x = b_.add(at + "mlp_residual", x, mlp(x, at));
    return x;
  }

  // [n, h w, c] → [n, h/2 w/2, 4 c] → [n, h/2 w/2, 2 c]: the four positions of a square in the order of columns, rows.
  ValueId merged(ValueId x, const std::string& at) {
    x = b_.reshape(at + "grid", x, {0, height_, width_, -1});
    if (height_ % 2 + width_ % 2 > 0) x = b_.pad(at + "pad", x, {0, 0, 0, 0, 0, height_ % 2, width_ % 2, 0});
    height_ = (height_ + 1) / 2;
    width_ = (width_ + 1) / 2;
    x = b_.reshape(at + "squares", x, {0, height_, 2, width_, 2, -1});
    x = b_.reshape(at + "joined", b_.transpose(at + "ordered", x, {0, 1, 3, 4, 2, 5}), {0, height_ * width_, -1});
    return b_.linear(at + "reduction", b_.layer_norm(at + "norm", x, facts_.epsilon), free_width(facts_.width(stage_)),
                     false);
  }

  ValueId mlp(ValueId x, const std::string& at) {
    const int64_t width = b_.width(x);
    const auto inner = static_cast<int64_t>(facts_.mlp_ratio * static_cast<double>(width));
    ValueId y = b_.layer_norm(at + "layernorm_after", x, facts_.epsilon);
    y = b_.activation(at + "act", b_.linear(at + "intermediate.dense", y, free_width(std::max<int64_t>(inner, 1))),
                      facts_.activation);
    return b_.linear(at + "output.dense", y, exactly(width));
  }

  WindowGrid grid_of(bool shifts) const {
    const int64_t least = std::min(height_, width_), window = facts_.window;
    if (least < window)
      throw UserError(b_.where(), "window_size", fmt::format("at most the {} positions a side of every stage", least),
                      fmt::format("{}", window));
    const WindowGrid grid{round_up(height_, window), round_up(width_, window), window,
                          shifts && least > window ? window / 2 : 0};
    if (grid.height * grid.width > kMostPairs / grid.tokens())
      throw UserError(b_.where(), "image_size",
                      fmt::format("at most {} pairs of tokens that share a window", kMostPairs),
                      fmt::format("{}", grid.height * grid.width * grid.tokens()));
    return grid;
  }

  ValueId attention(ValueId x, const std::string& at, bool shifts) {
    const WindowGrid grid = grid_of(shifts);
    const int64_t width = b_.width(x);
    x = b_.layer_norm(at + "layernorm_before", x, facts_.epsilon);
    x = windowed_attention(to_windows(x, at, grid), at, grid);
    return b_.linear(at + "attention.output.dense", from_windows(x, at, grid), exactly(width));
  }

  // [n, h w, c] → [n, windows, tokens, c], after padding and rolling.
  ValueId to_windows(ValueId x, const std::string& at, const WindowGrid& grid) {
    x = b_.reshape(at + "grid", x, {0, height_, width_, -1});
    if (grid.height > height_ || grid.width > width_)
      x = b_.pad(at + "pad", x, {0, 0, 0, 0, 0, grid.height - height_, grid.width - width_, 0});
    if (grid.shift > 0) x = roll(x, at + "roll", grid, grid.shift, grid.shift);
    x = b_.reshape(at + "rows", x,
                   {0, grid.height / grid.window, grid.window, grid.width / grid.window, grid.window, -1});
    return b_.reshape(at + "windows", b_.transpose(at + "grouped", x, {0, 1, 3, 2, 4, 5}),
                      {0, grid.windows(), grid.tokens(), -1});
  }

  ValueId from_windows(ValueId x, const std::string& at, const WindowGrid& grid) {
    x = b_.reshape(at + "back.windows", x,
                   {0, grid.height / grid.window, grid.width / grid.window, grid.window, grid.window, -1});
    x = b_.reshape(at + "back.grid", b_.transpose(at + "back.rows", x, {0, 1, 3, 2, 4, 5}),
                   {0, grid.height, grid.width, -1});
    if (grid.shift > 0) x = roll(x, at + "back.roll", grid, grid.height - grid.shift, grid.width - grid.shift);
    if (grid.height > height_ || grid.width > width_) x = b_.slice(at + "back.slice", x, {1, 2}, {height_, width_});
    return b_.reshape(at + "back", x, {0, height_ * width_, -1});
  }

  ValueId roll(ValueId x, const std::string& name, const WindowGrid& grid, int64_t rows, int64_t columns) {
    x = b_.gather(name + ".rows", x, 1, rolled(grid.height, rows));
    return b_.gather(name + ".columns", x, 2, rolled(grid.width, columns));
  }

  // Heads stand before tokens: [n, windows, heads, tokens, head size], or the last two swapped.
  ValueId heads(ValueId x, const std::string& name, Width width, const List& order) {
    x = b_.linear(name, x, width, b_.source().has(name + ".bias", facts_.qkv_bias));
    return b_.transpose(name + ".ordered", b_.reshape(name + ".heads", x, {0, 0, 0, -1, facts_.head_size}), order);
  }

  int64_t query_width(const std::string& name, int64_t stock) {
    const int64_t width = b_.source().out_width(name, name + ".weight", free_width(stock));
    if (width % facts_.head_size != 0)
      throw UserError(b_.where(), fmt::format("shape of the tensor '{}.weight'", name),
                      fmt::format("whole heads of the size {}", facts_.head_size),
                      fmt::format("{} output channels", width));
    return width;
  }

  ValueId windowed_attention(ValueId x, const std::string& at, const WindowGrid& grid) {
    const std::string self = at + "attention.self.";
    const int64_t width = query_width(self + "query", facts_.heads[stage_] * facts_.head_size);
    const ValueId q = heads(x, self + "query", exactly(width), {0, 1, 3, 2, 4});
    const ValueId k = heads(x, self + "key", exactly(width), {0, 1, 3, 4, 2});
    const ValueId v = heads(x, self + "value", exactly(width), {0, 1, 3, 2, 4});
    const double factor = 1 / std::sqrt(static_cast<double>(facts_.head_size));
    const ValueId scale = b_.constant_values(self + "scale", {1}, {factor});
    ValueId scores = b_.matmul(self + "scores", b_.mul(self + "scaled", q, scale), k);
    scores = b_.add(self + "biased", scores, position_bias(self, width / facts_.head_size, grid));
    if (grid.shift > 0) {
      const Shape shape{grid.windows(), 1, grid.tokens(), grid.tokens()};
      scores = b_.add(self + "masked", scores, b_.constant_values(self + "shift_mask", shape, shift_mask(grid)));
    }
    const ValueId mixed = b_.matmul(self + "mixed", b_.softmax(self + "softmax", scores), v);
    return b_.reshape(self + "joined", b_.transpose(self + "reordered", mixed, {0, 1, 3, 2, 4}),
                      {0, 0, grid.tokens(), -1});
  }

  // [heads, tokens, tokens] from the table [rows, heads], whose rows are fixed.
  ValueId position_bias(const std::string& self, int64_t heads, const WindowGrid& grid) {
    const int64_t span = 2 * grid.window - 1;
    const ValueId table = b_.constant(self + "relative_position_bias_table", {span * span, heads}, {0});
    const ValueId rows = b_.gather(self + "bias_rows", table, 0, relative_positions(grid.window));
    return b_.reshape(self + "bias", b_.transpose(self + "bias_heads", rows, {1, 0}),
                      {-1, grid.tokens(), grid.tokens()});
  }

  VisionBuilder b_;
  const Facts& facts_;
  int64_t height_ = 0, width_ = 0;  // positions of the stage at hand
  size_t stage_ = 0;
  int next_block_ = 0;
};

Graph build(const Json& config, const Checkpoint& checkpoint, const std::string& where) {
  const WeightSource source(checkpoint, config, where);
  const Facts facts = read_facts(config, source, where);
  return Swin(source, facts).build();
}

Graph fresh(const Json& config, uint64_t seed, const std::string& where) {
  const WeightSource source(seed, config, where);
  const Facts facts = read_facts(config, source, where);
  return Swin(source, facts).build();
}

// Branches that no longer have their last projection.
Json removed_branches(const Facts& facts, const Graph& graph) {
  Json removed = Json::array();
  for (size_t stage = 0; stage < facts.depths.size(); ++stage)
    for (int64_t i = 0; i < facts.depths[stage]; ++i) {
      const std::string at = block_of(facts, stage, i);
      if (!graph.has_parameter(at + "attention.output.dense.weight")) removed.push_back(at + "attention");
      if (!graph.has_parameter(at + "output.dense.weight")) removed.push_back(at + "mlp");
    }
  return removed;
}

void check_head_size(const Facts& facts, const Graph& graph) {
  for (const Node& node : graph.nodes)
    if (node.name.ends_with("attention.self.query.heads") && node.integers("shape").back() != facts.head_size)
      throw UserError(node.name, "head size", fmt::format("{}, as in all blocks", facts.head_size),
                      fmt::format("{}", node.integers("shape").back()));
}

void write_config(Json& config, const Graph& graph) {
  Facts facts = read_facts(config, WeightSource(0, config, "config.json"), "config.json");
  if (!graph.has_parameter("swin.layernorm.weight")) facts.prefix = "";
  check_head_size(facts, graph);
  write_module_widths(config, graph, fresh);
  const Json removed = removed_branches(facts, graph);
  if (!removed.empty()) espalier_block(config)["removed"] = removed;
  if (config.contains("espalier")) config["espalier"]["head_size"] = facts.head_size;
}

std::optional<Json> recognise(const Checkpoint& checkpoint) {
  const WeightSource source(checkpoint, Json::object(), checkpoint.path().string());
  const std::string table = "swin.encoder.layers.0.blocks.0.attention.self.relative_position_bias_table";
  const std::string patch = "swin.embeddings.patch_embeddings.projection.weight";
  if (!source.has(table) || !source.has(patch) || !source.has("classifier.weight")) return std::nullopt;
  const Shape &rows = source.shape(table), &projection = source.shape(patch);
  if (rows.size() != 2 || projection.size() != 4) return std::nullopt;
  Json depths = Json::array(), heads = Json::array();
  for (int64_t stage = 0;; ++stage) {
    const std::string at = fmt::format("swin.encoder.layers.{}.blocks.", stage);
    if (!source.has(at + "0.attention.self.relative_position_bias_table")) break;
    depths.push_back(blocks_present(source.names(), at + "{}."));
    heads.push_back(source.shape(at + "0.attention.self.relative_position_bias_table").at(1));
  }
  int64_t window = 1;
  while (window < kMostWindow && (2 * window - 1) * (2 * window - 1) < rows[0]) ++window;
  return Json{{"model_type", "swin"},
              {"image_size", window == 12 ? 384 : 224},
              {"patch_size", projection[2]},
              {"num_channels", projection[1]},
              {"embed_dim", projection[0]},
              {"depths", depths},
              {"num_heads", heads},
              {"window_size", window},
              {"num_labels", source.shape("classifier.weight").at(0)},
              {"espalier_image", imagenet_image_facts()}};
}

// Names stay as they are when blocks go.
const RegisterFamily registered({"swin", {"swin"}, build, write_config, no_blocks, Task::kImages, recognise, fresh});

}  // namespace
}  // namespace espalier::swin_family
