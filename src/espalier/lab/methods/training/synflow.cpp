// Baseline SynFlow (2020): before training and without data, rounds that remove the weights through which least flows.
#include "espalier/core/error.h"
#include "espalier/lab/criteria/synflow_graph.h"
#include "espalier/lab/methods/training/sparse_training.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/start_masks.h"

namespace espalier::synflow_method {
namespace {

constexpr const char* kId = "synflow";

NodeId reader_of(const Graph& graph, const std::string& weight) {
  for (size_t n = 0; n < graph.nodes.size(); ++n)
    if (graph.nodes[n].has_param("weight") && graph.nodes[n].params.at("weight") == weight) return static_cast<NodeId>(n);
  ESP_ASSERT(false, "no layer reads {}", weight);
}

std::unique_ptr<Plugin> plugin(const PluginRequest& request) {
  const double sparsity = sparsity_of(kId, request);
  for (const auto& node : request.model.graph.nodes)
    if (node.op == "Embedding") user_error("{}: {} reads token ids, so an input of ones means nothing; snip and grasp look at data", kId, node.name);
  const int64_t rounds = request.options.integer("rounds", 1, 100'000);
  const auto masks = [=](Training& training, const PrunableWeights& weights) {
    const Graph graph = training.result();
    std::vector<NodeId> layers;
    for (const auto& name : weights.names()) layers.push_back(reader_of(graph, name));
    return iterate_synflow(weights.values(training), 1 - sparsity, rounds, graph_synapses(graph, layers)).keep;
  };
  return make_start_masks({kId, request.options.text("exclude"), masks});
}

Reproduction reproduce(ReproduceContext& context) {
  return against_a_fixed_mask(context, kId, 460, {}, "a mask by the flow through the network, taken without data before training, beats a random one");
}

const RegisterMethod registered({.id = kId,
                                 .name = "SynFlow",
                                 .year = 2020,
                                 .kind = "Plugin",
                                 .taxonomy = {{"weight"}, "specific", {"before"}, "none", "synaptic flow", "", "global", "iterative", "full", "", {"cnn", "vit", "llm"}},
                                 .needs = {"training"},
                                 .options = {{"rounds", "int", "100", "> 0", "of removal"},
                                             {"exclude", "text", "", "patterns with ; between", "weights that stay dense"}},
                                 .default_of = "params",
                                 .of = {},
                                 .plugin = plugin,
                                 .reproduce = reproduce});

}  // namespace
}  // namespace espalier::synflow_method
