// 43 DIMAP (2024): weights of a vision transformer ranked inside functional modules (query-key-value, projections, MLPs) by
// the share of their own layer's norm that goes with them. No data.
#include <algorithm>
#include <set>

#include "espalier/core/choice.h"
#include "espalier/core/ranking.h"
#include "espalier/graph/modules.h"
#include "espalier/lab/allocation/module_ranking.h"
#include "espalier/lab/criteria/dimap_scores.h"
#include "espalier/lab/methods/job.h"
#include "espalier/lab/methods/picture_arm.h"
#include "espalier/lab/torch.h"

namespace espalier::dimap_method {
namespace {

enum class ModuleScope { kModule, kModel, kLayer };
constexpr std::pair<const char*, ModuleScope> kScopes[] = {{"module", ModuleScope::kModule}, {"model", ModuleScope::kModel}, {"layer", ModuleScope::kLayer}};

struct Module {
  std::string name;
  std::vector<NodeId> nodes;
  std::vector<LayerWeights> layers;
  int64_t total = 0;
};

class Modules {
 public:
  explicit Modules(const PruneJob& job) : job_(job) {
    const TransformerModules found = find_modules(job.graph());
    add("QKV-M", found.qkv);
    add("PRJ-M", found.projection);
    add("MLP-M", found.mlp);
    if (modules_.empty())
      user_error("43-dimap: no layer matches a module: looked for Linear layers that make queries, keys or values of an attention (QKV-M), "
                 "that read its output (PRJ-M), or that lie in a feed-forward branch behind an activation (MLP-M){}",
                 job.settings().protect.empty() ? "" : ", not protected");
    regroup(choice_from_name("43-dimap: option scope", job.option_text("scope"), kScopes));
  }

  const std::vector<Module>& list() const { return modules_; }
  int64_t total() const {
    int64_t sum = 0;
    for (const auto& module : modules_) sum += module.total;
    return sum;
  }
  int64_t removed_at(double ratio) const {
    int64_t sum = 0;
    for (const auto& module : modules_) sum += removal_count(ratio, module.total);
    return sum;
  }

 private:
  void add(const std::string& name, const std::vector<NodeId>& nodes) {
    Module module{name, {}, {}, 0};
    for (NodeId n : nodes) {
      const Node& node = job_.graph().nodes[static_cast<size_t>(n)];
      if (job_.is_protected(node.name) || !taken_.insert(node.params.at("weight")).second) continue;
      append(module, n);
    }
    if (!module.nodes.empty()) modules_.push_back(std::move(module));
  }

  void append(Module& module, NodeId n) const {
    const Node& node = job_.graph().nodes[static_cast<size_t>(n)];
    const int64_t size = job_.graph().parameter_of(node, "weight").count();
    module.nodes.push_back(n);
    module.layers.push_back({node.params.at("weight"), size, [this, n] { return job_.stored_weight(n); }});
    module.total += size;
  }

  void regroup(ModuleScope scope) {
    if (scope == ModuleScope::kModule) return;
    std::vector<NodeId> all;
    for (const auto& module : modules_) all.insert(all.end(), module.nodes.begin(), module.nodes.end());
    std::sort(all.begin(), all.end());
    modules_.clear();
    for (NodeId n : all) {
      if (modules_.empty() || scope == ModuleScope::kLayer)
        modules_.push_back({scope == ModuleScope::kModel ? "model" : job_.graph().nodes[static_cast<size_t>(n)].name, {}, {}, 0});
      append(modules_.back(), n);
    }
  }

  const PruneJob& job_;
  std::vector<Module> modules_;
  std::set<std::string> taken_;
};

using ModuleCuts = std::vector<ModuleCut>;

ModuleCuts rank(const Modules& modules, double ratio) {
  ModuleCuts cuts;
  for (const auto& module : modules.list()) cuts.push_back(rank_module(module.layers, ratio, dimap_scores));
  return cuts;
}

// Share of the model's FLOPs that go when a pruned Linear costs its density; what attention multiplies stays dense.
class FlopsShare {
 public:
  FlopsShare(const PruneJob& job, const Modules& modules) : modules_(modules) {
    Graph graph = job.graph().clone();
    infer_shapes(graph, costing_shapes(job.model()));
    total_ = total_cost(graph).flops;
    for (const auto& module : modules.list())
      for (NodeId n : module.nodes) flops_.push_back(cost_of(graph, graph.nodes[static_cast<size_t>(n)]).flops);
  }

  // removed: of every layer of every module in turn, the share that goes.
  double of(const std::vector<double>& removed) const {
    double gone = 0;
    for (size_t i = 0; i < removed.size(); ++i) gone += removed[i] * flops_[i];
    return total_ > 0 ? gone / total_ : 0;
  }
  double at(double ratio) const {
    std::vector<double> removed;
    const ModuleCuts cuts = rank(modules_, ratio);
    for (size_t m = 0; m < cuts.size(); ++m)
      for (size_t l = 0; l < cuts[m].layer_removed.size(); ++l)
        removed.push_back(static_cast<double>(cuts[m].layer_removed[l]) / static_cast<double>(std::max<int64_t>(1, modules_.list()[m].layers[l].size)));
    return of(removed);
  }
  double uniform(double ratio) const { return of(std::vector<double>(flops_.size(), ratio)); }
  double all() const { return uniform(1); }

 private:
  const Modules& modules_;
  double total_ = 0;
  std::vector<double> flops_;
};

template <typename Share>
double ratio_for(double target, int halvings, Share share) {
  double low = 0, high = 1;
  for (int i = 0; i < halvings; ++i) {
    const double middle = (low + high) / 2;
    (share(middle) < target ? low : high) = middle;
  }
  return high;
}

[[noreturn]] void out_of_reach(const PruneJob& job, double best) {
  throw UserError("43-dimap", "--sparsity", fmt::format("less than {:.4f} of {}, which is what the modules hold; all else stays", best, job.settings().of),
                  fmt::format("{:g}", job.sparsity()));
}

double ratio_of(const PruneJob& job, const Modules& modules) {
  if (!job.option_text("ratio").empty()) {
    if (job.sparsity() != 0) user_error("43-dimap: give --sparsity (of the whole model) or --set ratio (of each module), not both");
    check_share(job.option_real("ratio"), "43-dimap: option ratio");
    return job.option_real("ratio");
  }
  if (job.settings().of == "flops") {
    const FlopsShare flops(job, modules);
    if (job.sparsity() >= flops.all()) out_of_reach(job, flops.all());
    return ratio_for(job.sparsity(), job.trial() ? 40 : 16, [&](double ratio) { return job.trial() ? flops.uniform(ratio) : flops.at(ratio); });
  }
  const auto params = static_cast<double>(job.graph().parameter_count());
  const double held = static_cast<double>(modules.total()) / params;
  if (job.sparsity() >= held) out_of_reach(job, held);
  return std::min(ratio_for(job.sparsity(), 60, [&](double ratio) { return static_cast<double>(modules.removed_at(ratio)) / params; }), 1 - 1e-12);
}

void apply(PruneJob& job, const Modules& modules, const ModuleCuts& cuts) {
  const auto apply_block = [&](int block) {
    for (size_t m = 0; m < cuts.size(); ++m) {
      const Module& module = modules.list()[m];
      for (size_t l = 0; l < module.nodes.size(); ++l) {
        if (job.graph().nodes[static_cast<size_t>(module.nodes[l])].block != block) continue;
        job.mask_stored(module.nodes[l], module_cut_mask(module.layers[l].load(), cuts[m].cuts[l], dimap_scores, module.layers[l].name));
      }
    }
  };
  Json state = Json::object();
  job.for_each_block_without_data([&](int block, Json&) { apply_block(block); }, state);
  for (int outside : {-1, job.graph().block_count}) apply_block(outside);
}

Json tables(const Modules& modules, const ModuleCuts& cuts, double ratio) {
  const auto density = [](int64_t removed, int64_t size) { return size ? 1 - static_cast<double>(removed) / static_cast<double>(size) : 1.0; };
  Json by_module = Json::array(), by_layer = Json::array();
  for (size_t m = 0; m < cuts.size(); ++m) {
    const Module& module = modules.list()[m];
    by_module.push_back({{"module", module.name}, {"layers", module.layers.size()}, {"size", module.total}, {"removed", cuts[m].removed},
                         {"density", density(cuts[m].removed, module.total)}, {"threshold", cuts[m].threshold}});
    for (size_t l = 0; l < module.layers.size(); ++l)
      by_layer.push_back({{"layer", module.layers[l].name}, {"module", module.name}, {"size", module.layers[l].size}, {"removed", cuts[m].layer_removed[l]},
                          {"density", density(cuts[m].layer_removed[l], module.layers[l].size)}});
  }
  return {{"ratio", ratio}, {"modules", by_module}, {"layers", by_layer}};
}

void prune(PruneJob& job) {
  const Modules modules(job);
  const double ratio = ratio_of(job, modules);
  const auto params = static_cast<double>(job.graph().parameter_count());
  const bool flops = job.settings().of == "flops";
  if (job.trial()) return job.reached(flops ? FlopsShare(job, modules).uniform(ratio) : static_cast<double>(modules.removed_at(ratio)) / params);
  const ModuleCuts cuts = rank(modules, ratio);
  job.reached(flops ? FlopsShare(job, modules).at(ratio) : static_cast<double>(modules.removed_at(ratio)) / params);
  job.findings() = tables(modules, cuts, ratio);
  apply(job, modules, cuts);
}

Reproduction reproduce(ReproduceContext& context) {
  const auto top1 = [&](const std::string& method, double ratio, const std::string& scope) {
    PictureArmRequest arm{.method = method, .calibrate = false};
    if (scope.empty()) arm.sparsity = ratio;
    else arm.options = {{"ratio", fmt::format("{}", ratio)}, {"scope", scope}};
    return picture_arm(context, context.vision_transformer, arm).top1;
  };
  const double dense = dense_accuracy(context, context.vision_transformer);
  const double ours = top1("43-dimap", 0.5, "module"), layer = top1("43-dimap", 0.5, "layer");
  const double global = top1("24-global-mp", 0.5, ""), random = top1("random", 0.5, "");
  const double ours_at_80 = top1("43-dimap", 0.8, "module"), layer_at_80 = top1("43-dimap", 0.8, "layer");
  return {"without data or fine-tuning, weights ranked by relative distortion inside modules are worth more than by uniform or global magnitude (Swin-T at 50 %: 71.4 against 6.0 % uniform)",
          fmt::format("top-1 of the embedded vision transformer ({:.2f} % dense) with 50 % of the weights removed: DIMAP {:.2f} %, uniform magnitude {:.2f} %, global magnitude {:.2f} %, random {:.2f} %; "
                      "with 80 %: DIMAP {:.2f} %, uniform {:.2f} %",
                      100 * dense, 100 * ours, 100 * layer, 100 * global, 100 * random, 100 * ours_at_80, 100 * layer_at_80),
          ours >= layer && layer >= random && ours >= global,
          {{"dense", dense}, {"dimap", ours}, {"uniform_magnitude", layer}, {"global_magnitude", global}, {"random", random},
           {"at_80", {{"dimap", ours_at_80}, {"uniform_magnitude", layer_at_80}}}}};
}

const RegisterMethod registered(
    {.id = "43-dimap",
     .name = "DIMAP",
     .year = 2024,
     .kind = "OneShot",
     .taxonomy = {{"weight"}, "specific", {"after"}, "none", "magnitude (relative distortion)", "", "group", "one-shot", "full", "", {"vit", "llm"}},
     .needs = {},
     .options = {{"ratio", "real", "", "[0, 1)", "instead of --sparsity, which is a share of the whole model: the share that each module loses"},
                 {"scope", "text", "module", "module, model, layer", "what is ranked together; model: all three modules as one; layer: plain magnitude in each layer"}},
     .default_of = "params",
     .of = {"flops"},
     .prune = prune,
     .reproduce = reproduce});

}  // namespace
}  // namespace espalier::dimap_method
