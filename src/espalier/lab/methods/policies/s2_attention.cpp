// S2-Attention for models that are trained with it. The pattern itself is the engine's (engine/attention/policies/).
#include <cmath>

#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/lab/measure/spread.h"
#include "espalier/lab/methods/plugin_request.h"
#include "espalier/lab/methods/policies/s2_arms.h"
#include "espalier/lab/methods/reproduce.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/selected_attention.h"

namespace espalier::s2_attention_reproduction {
namespace {

constexpr const char* kId = "36-s2-attention";

std::vector<OptionSpec> options() {
  std::vector<OptionSpec> list;
  for (const auto& option : find_policy(kId).options) list.push_back({option.name, option.type, option.value, option.range, option.doc});
  return list;
}

// What differs from the defaults: to the policy a default that is given counts as a choice (of two that exclude each other).
AttentionRequest request_of(const OptionValues& values) {
  AttentionRequest request;
  request.policy = kId;
  for (const auto& option : options())
    if (values.text(option.name) != option.value) request.options[option.name] = values.text(option.name);
  return request;
}

class S2Training : public Plugin {
 public:
  S2Training(const Model& model, const AttentionRequest& request) : attention_(model, request) {}
  std::string id() const override { return kId; }
  const Observer* observer() override { return attention_.observer(); }
  const Observer* lasting_observer() override { return attention_.observer(); }

  void before_training(Training&) override {
    for (const auto& note : attention_.notes()) inform("{}: {}", kId, note);
  }

  void on_batch(Training&, TrainingBatch& batch) override { tokens_ = batch.inputs.size(1); }

  // Pairs of a query and a key up to it that are seen, a share of all, by layer.
  Json findings() const override {
    const auto all = static_cast<double>(tokens_ * (tokens_ + 1) / 2);
    Json shares = Json::array();
    for (int layer = 0; layer < attention_.layers(); ++layer) {
      const at::Tensor& mask = attention_.mask(layer, tokens_);
      shares.push_back(mask.defined() ? mask.sum().item<double>() / (all * static_cast<double>(mask.size(0))) : 1.0);
    }
    return {{"tokens", tokens_}, {"seen_pairs", shares}, {"notes", attention_.notes()}};
  }

 private:
  SelectedAttention attention_;
  int64_t tokens_ = 1;  // of a batch's texts
};

std::unique_ptr<Plugin> plugin(const PluginRequest& request) {
  if (request.sparsity) user_error("{}: --sparsity: its options say what is seen; leave it out", kId);
  if (request.model.task != Task::kText) user_error("{}: {} is no language model", kId, request.model.path.string());
  return std::make_unique<S2Training>(request.model, request_of(request.options));
}

// Blocks of 4 tokens in texts of 32: a band of 2, and each fourth block. What is copied stands 16 blocks back; two layers with
// a window of 7 blocks, which are a few more than the shards', reach 12 back. Each arm has the same three starts and texts.
constexpr int kSeeds = 3;

struct Arm {
  std::vector<double> nats, right;  // by seed
};

Arm arm_of(const std::map<std::string, std::string>& pattern, Json& measurement) {
  Arm arm;
  std::vector<double> texts;
  double seen = 1;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const CopyArm one = train_to_copy(pattern, {}, seed);
    texts.insert(texts.end(), one.nats.begin(), one.nats.end());
    arm.nats.push_back(spread_of(one.nats).mean), arm.right.push_back(one.right), seen = one.seen;
  }
  const Spread all = spread_of(texts);
  const double margin = 1.96 * std::sqrt(all.variance / static_cast<double>(texts.size()));
  measurement = {{"nats", arm.nats}, {"right", arm.right}, {"nats_ci95", {all.mean - margin, all.mean + margin}}, {"seen_pairs", seen}};
  return arm;
}

// In each seed, not on average alone.
bool below(const Arm& a, const Arm& b) {
  for (size_t s = 0; s < a.nats.size(); ++s)
    if (a.nats[s] >= b.nats[s]) return false;
  return true;
}

Reproduction reproduce(ReproduceContext&) {
  Reproduction found;
  found.claim = "trained to use far context, shards that differ by head beat equal ones of the same density, half the layers dense beat shards "
                "everywhere, and a window of as many blocks is worst";
  Json& m = found.measurements;
  const auto shards = [](const char* period, const char* homogeneous) {
    return std::map<std::string, std::string>{{"block", "4"}, {"local_blocks", "2"}, {"vert_stride", "4"}, {"dense_period", period}, {"homogeneous", homogeneous}};
  };
  const Arm different = arm_of(shards("0", "0"), m["shards"]), equal = arm_of(shards("0", "1"), m["equal_shards"]);
  const Arm hybrid = arm_of(shards("2", "0"), m["half_dense"]);
  // No block of so short a text is a column.
  const Arm window = arm_of({{"block", "4"}, {"local_blocks", "7"}, {"vert_stride", "128"}, {"head_offset", "1"}, {"dense_period", "0"}}, m["window"]);
  const auto text = [](const Arm& arm) { return fmt::format("{:.3f} nats ({:.0f} % right)", spread_of(arm.nats).mean, 100 * spread_of(arm.right).mean); };
  found.ours = fmt::format("copies of 64 tokens, mean of {} trainings: {}, equal shards {}, half the layers dense {}, a window of as many blocks {}", kSeeds,
                           text(different), text(equal), text(hybrid), text(window));
  found.shows = below(different, equal) && below(hybrid, different) && below(equal, window);
  return found;
}

const RegisterMethod registered(
    {.id = kId,
     .name = "S2-Attention",
     .year = 2024,
     .kind = "AttentionPolicy",
     .taxonomy = {{"kv"}, "specific", {"during"}, "labelled", "fixed heterogeneous pattern", "", "local", "one-shot", "full", "", {"llm"}},
     .needs = {"data", "gradients", "training"},
     .options = options(),
     .default_of = "",
     .of = {},
     .plugin = plugin,
     .reproduce = reproduce,
     .reproduces = true});

}  // namespace
}  // namespace espalier::s2_attention_reproduction
