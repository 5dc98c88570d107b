#include "espalier/families/resnet.h"

#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/families/family.h"
#include "espalier/families/vision_builder.h"

namespace espalier::resnet_family {
namespace {

// "layer1.0" of "layer1.0.".
std::string block_name_of(const ResNetNames& names, size_t stage, int64_t block) {
  std::string name = names.block_prefix(stage, block);
  name.pop_back();
  return name;
}

class ResNetBuilder {
 public:
  ResNetBuilder(WeightSource source, const ResNetFacts& facts)
      : b_(std::move(source)), facts_(facts), names_(*facts.names) {}

  Graph build() {
    ValueId x = stem();
    for (size_t stage = 0; stage < facts_.depths.size(); ++stage) {
      const std::string pattern = names_.stage_pattern(stage);
      const bool counted = pattern.find("{}") != std::string::npos;
      int64_t last = facts_.depths[stage];
      while (last > 0 && is_removed(stage, last - 1)) --last;
      if (counted && last > 0) b_.source().count(pattern, fmt::format("blocks of stage {}", stage + 1), last);
      for (int64_t block = 0; block < last; ++block)
        if (!is_removed(stage, block)) x = residual(x, stage, block);
    }
    const ValueId features = b_.pooled_features("pool", x);
    const ValueId logits = b_.linear(names_.head, features, free_width(facts_.classes));
    return b_.finish({logits}, 0, is_framework_buffer);
  }

 private:
  // A block whose branch was cut: nothing of it is left, because its shortcut changes nothing.
  bool is_removed(size_t stage, int64_t block) { return b_.source().is_removed(block_name_of(names_, stage, block)); }

  ValueId stem() {
    const ValueId x = b_.pictures(facts_.picture.channels, facts_.picture.height, facts_.picture.width);
    const int64_t kernel = facts_.imagenet_stem ? 7 : 3, stride = facts_.imagenet_stem ? 2 : 1;
    const ValueId conv = b_.conv(names_.stem_conv, x, {free_width(facts_.stem_width), kernel, stride, kernel / 2});
    const ValueId y = b_.relu("relu", b_.batch_norm(names_.stem_norm, conv));
    return facts_.imagenet_stem ? b_.max_pool("maxpool", y, 3, 2, 1) : y;
  }

  ValueId conv_norm(const std::string& at, size_t index, ValueId x, const ConvSpec& spec) {
    return b_.batch_norm(at + names_.norms[index], b_.conv(at + names_.convs[index], x, spec));
  }

  ValueId residual(ValueId x, size_t stage, int64_t block) {
    const std::string at = names_.block_prefix(stage, block);
    const int64_t stride = block == 0 ? facts_.strides[stage] : 1;
    if (block == 0 && facts_.sliced_shortcut) {  // fits whatever width the branch ends with
      const ValueId y = branch(x, at, stage, stride, free_width(facts_.outer[stage]));
      return joined(at, y, sliced_shortcut(x, at, stride, b_.channels(y)));
    }
    const ValueId shortcut = projects(at, stage, block, stride) ? projected(x, at, stage, stride) : x;
    return joined(at, branch(x, at, stage, stride, exactly(b_.channels(shortcut))), shortcut);
  }

  ValueId joined(const std::string& at, ValueId branch, ValueId shortcut) {
    const ValueId sum = b_.add(at + "add", branch, shortcut);
    return facts_.relu_after_sum ? b_.relu(at + "relu", sum) : sum;
  }

  bool projects(const std::string& at, size_t stage, int64_t block, int64_t stride) {
    const int64_t before = stage == 0 ? facts_.stem_width : facts_.outer[stage - 1];
    const bool configured = block == 0 && (stride != 1 || before != facts_.outer[stage]);
    return b_.source().has(at + names_.shortcut_conv + ".weight", configured);
  }

  ValueId projected(ValueId x, const std::string& at, size_t stage, int64_t stride) {
    const ValueId y = b_.conv(at + names_.shortcut_conv, x, {free_width(facts_.outer[stage]), 1, stride, 0});
    return b_.batch_norm(at + names_.shortcut_norm, y);
  }

  // Option A: every stride-th position; what the branch has more of channels is zero, half before and half after.
  ValueId sliced_shortcut(ValueId x, const std::string& at, int64_t stride, int64_t channels) {
    const int64_t more = channels - b_.channels(x);
    if (more < 0 || more % 2 != 0)
      throw UserError(
          b_.source().where(), fmt::format("output channels of '{}'", at + names_.convs[facts_.bottleneck ? 2 : 1]),
          fmt::format("the {} of the shortcut and an even number more", b_.channels(x)), fmt::format("{}", channels));
    if (stride > 1) x = b_.slice(at + "shortcut.slice", x, {2, 3}, {b_.shape(x)[2], b_.shape(x)[3]}, stride);
    return more == 0 ? x : b_.pad(at + "shortcut.pad", x, {0, more / 2, 0, 0, 0, more / 2, 0, 0});
  }

  ValueId branch(ValueId x, const std::string& at, size_t stage, int64_t stride, Width out) {
    const Width inner = free_width(facts_.inner[stage]);
    if (!facts_.bottleneck) {
      const ValueId y = b_.relu(at + "relu1", conv_norm(at, 0, x, {inner, 3, stride, 1}));
      return conv_norm(at, 1, y, {out, 3, 1, 1});
    }
    const ValueId y = b_.relu(at + "relu1", conv_norm(at, 0, x, {inner, 1}));
    ConvSpec middle{inner, 3, stride, 1, ConvSpec::kOfTensor};
    middle.fresh_group = facts_.groups;
    return conv_norm(at, 2, b_.relu(at + "relu2", conv_norm(at, 1, y, middle)), {out, 1});
  }

  VisionBuilder b_;
  const ResNetFacts& facts_;
  const ResNetNames& names_;
};

Graph build(const Json& config, const Checkpoint& checkpoint, const std::string& where) {
  const ResNetFacts facts = read_resnet_facts(config, where);
  return ResNetBuilder(WeightSource(checkpoint, config, where), facts).build();
}

Graph fresh(const Json& config, uint64_t seed, const std::string& where) {
  const ResNetFacts facts = read_resnet_facts(config, where);
  return ResNetBuilder(WeightSource(seed, config, where), facts).build();
}

Json removed_blocks(const Json& config, const Graph& graph) {
  const ResNetFacts facts = read_resnet_facts(config, "config.json");
  Json removed = Json::array();
  for (size_t stage = 0; stage < facts.depths.size(); ++stage)
    for (int64_t block = 0; block < facts.depths[stage]; ++block) {
      const std::string prefix = facts.names->block_prefix(stage, block);
      const auto& parameters = graph.parameters();
      if (std::none_of(parameters.begin(), parameters.end(), [&](const auto& parameter) { return parameter->name().starts_with(prefix); }))
        removed.push_back(block_name_of(*facts.names, stage, block));
    }
  return removed;
}

void write_config(Json& config, const Graph& graph) {
  write_module_widths(config, graph, fresh);
  if (const Json removed = removed_blocks(config, graph); !removed.empty()) espalier_block(config)["removed"] = removed;
}

const RegisterFamily registered({"resnet",
                                 {"resnet", "resnet-torchvision", "resnet-cifar", "resnet-plain"},
                                 build,
                                 write_config,
                                 no_blocks,
                                 Task::kImages,
                                 recognise_resnet,
                                 fresh});

}  // namespace
}  // namespace espalier::resnet_family
