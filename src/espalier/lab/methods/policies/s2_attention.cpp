// S2-Attention for models that are trained with it. The pattern itself is the engine's (engine/attention/policies/).
#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/lab/methods/plugin_request.h"
#include "espalier/lab/methods/policy_reproduction.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/selected_attention.h"

namespace espalier {
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

// Blocks of 8 tokens: a band of 4 and one column in 4, on a model that was not trained with them.
Reproduction reproduce(ReproduceContext& context) {
  Reproduction found;
  found.claim = "shards that differ by head beat equal ones and a window of as many keys; with half the layers dense quality "
                "is that of dense attention";
  Json& m = found.measurements;
  const auto arm = [&](const char* name, const char* period, const char* homogeneous) {
    return run_policy(context, {kId, {{"block", "8"}, {"local_blocks", "4"}, {"vert_stride", "4"}, {"dense_period", period},
                                                    {"homogeneous", homogeneous}}}, m, name);
  };
  const double dense = run_policy(context, {"dense", {}}, m, "dense");
  const double shards = arm("shards", "0", "0"), equal = arm("equal_shards", "0", "1"), hybrid = arm("half_dense", "2", "0");
  const double window = run_policy(context, {"streaming", {{"sink", "0"}, {"window", "60"}}}, m, "window");
  found.ours = fmt::format("perplexity without training: {:.2f}, equal shards {:.2f}, a window of 60 {:.2f}; "
                           "half the layers dense {:.2f}, all {:.2f}", shards, equal, window, hybrid, dense);
  found.shows = shards < equal && shards < window && hybrid < 1.01 * dense;
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
     .reproduces = false});

}  // namespace
}  // namespace espalier
