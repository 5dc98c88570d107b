// The PQ index of any checkpoint (42, 2023): how unequal the weights of each layer are, and how many of them must stay.
#include "espalier/lab/criteria/pq_index.h"

#include <set>

#include "espalier/core/error.h"
#include "espalier/core/progress.h"
#include "espalier/core/signals.h"
#include "espalier/graph/node_kinds.h"
#include "espalier/lab/allocation/sap_counts.h"
#include "espalier/lab/methods/study.h"
#include "espalier/lab/repair/bool_mask.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"
#include "espalier/structure/mask.h"

namespace espalier::pq_index_study {
namespace {

struct Settings {
  SapSettings sap;
  bool rows = false;
};

Settings settings_of(const StudyJob& job) {
  Settings settings;
  settings.sap.p = job.real("p", -1e6, 1e6);
  settings.sap.q = job.real("q", -1e6, 1e6);
  settings.sap.eta = job.real("eta_r", -1e6, 1e9);
  check_sap(settings.sap, "study pq-index");
  settings.rows = sap_scope("study pq-index: option scope", job.text("scope")) == SapScope::kNeuron;
  return settings;
}

// The masks beside the model, or those that are named; none: every weight counts.
std::map<std::string, WeightMask> masks_of(const StudyJob& job) {
  std::filesystem::path file = job.text("masks");
  if (file.empty()) {
    file = job.model().directory() / "mask.safetensors";
    if (!std::filesystem::exists(file)) return {};
  }
  Mask mask = Mask::load(file);
  check_fits(mask, job.model().graph, file.string());
  return std::move(mask.weights);
}

// Smallest, mean and largest index of a weight's output rows.
std::array<double, 3> of_rows(const at::Tensor& weight, const at::Tensor& keep, bool transposed, const Settings& settings, const std::string& name) {
  const at::Tensor rows = transposed ? weight.t() : weight, kept = transposed ? keep.t() : keep;
  std::array<double, 3> found{1, 0, 0};
  for (int64_t r = 0; r < rows.size(0); ++r) {
    const double index = pq_index(rows.select(0, r).masked_select(kept.select(0, r)), settings.sap.p, settings.sap.q, name);
    found[0] = std::min(found[0], index);
    found[1] += index / static_cast<double>(rows.size(0));
    found[2] = std::max(found[2], index);
  }
  return found;
}

Json run(StudyJob& job) {
  const Settings settings = settings_of(job);
  const auto masks = masks_of(job);
  const Graph& graph = job.model().graph;
  std::vector<const Node*> layers;
  std::set<std::string> taken;
  for (const auto& node : graph.nodes)
    if (is_matrix_layer(node) && taken.insert(node.params.at("weight")).second) layers.push_back(&node);
  if (layers.empty()) user_error("study pq-index: {} has no Linear layer and no convolution", job.model().path.string());
  Progress progress("PQ index", std::ssize(layers), "layer");
  PqSums all(settings.sap.p, settings.sap.q, "all layers");
  Json rows = Json::array();
  int64_t total = 0;
  for (const Node* node : layers) {
    check_interrupted();
    const std::string& name = node->params.at("weight");
    const Tensor stored = graph.parameter(name).load();
    const at::Tensor weight = to_torch(stored).to(at::kFloat);
    const auto mask = masks.find(name);
    const at::Tensor keep = mask == masks.end() ? at::ones(weight.sizes(), at::kBool) : bool_mask(mask->second), entries = weight.masked_select(keep);
    const double index = pq_index(entries, settings.sap.p, settings.sap.q, name);
    Json row = {name, weight.numel(), entries.numel(), index, gini_index(entries, name), sap_retained(entries.numel(), index, settings.sap)};
    if (settings.rows)
      for (const double value : of_rows(weight, keep, node->flag_or("transposed", false), settings, name)) row.push_back(value);
    rows.push_back(std::move(row));
    all.add(entries);
    total += weight.numel();
    progress.advance(1);
  }
  Json columns = {"layer", "weights", "alive", "pqi", "gini", "retain"};
  if (settings.rows)
    for (const char* name : {"row_least", "row_mean", "row_most"}) columns.push_back(name);
  const int64_t retained = sap_retained(all.count(), all.index(), settings.sap);
  return {{"tables",
           {{"layers", {{"columns", columns}, {"rows", rows}}},
            {"all", {{"columns", {"weights", "alive", "pqi", "retain"}}, {"rows", {{total, all.count(), all.index(), retained}}}}}}},
          {"figures", Json::array()},
          {"files", Json::array()},
          {"summary", fmt::format("PQ index {:.4f} of {} weights together: at least {} of them must stay", all.index(), all.count(), retained)}};
}

const RegisterStudy registered({"pq-index",
                                "how unequal the weights of each layer are, and how many must stay (42-pq-index-sap)",
                                {{"p", "real", "0.5", "0 < p < q", "of the index"},
                                 {"q", "real", "1", "above p", "of the index"},
                                 {"eta_r", "real", "0", "from 0", "how much of the p-th powers may go"},
                                 {"scope", "text", "layer", "global, layer, neuron", "neuron: also least, mean and most of each layer's output rows"},
                                 {"masks", "text", "", "file", "which weights are alive; empty: mask.safetensors beside the model, else all"}},
                                run});

}  // namespace
}  // namespace espalier::pq_index_study
