// 35 PreCropping (2022): layer densities chosen at initialisation, realised by narrower layers, before any training.
#include <algorithm>
#include <cmath>

#include "espalier/core/choice.h"
#include "espalier/core/ranking.h"
#include "espalier/graph/operator.h"
#include "espalier/lab/allocation/channel_classes.h"
#include "espalier/lab/allocation/channel_widths.h"
#include "espalier/lab/allocation/water_filling.h"
#include "espalier/lab/criteria/masks.h"
#include "espalier/lab/criteria/synflow_graph.h"
#include "espalier/lab/measure/accuracy.h"
#include "espalier/lab/measure/layer_columns.h"
#include "espalier/lab/methods/reproduce.h"
#include "espalier/lab/methods/structures/channel_methods.h"
#include "espalier/lab/methods/structures/removal_report.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/fresh_weights.h"
#include "espalier/lab/training/image_classifier.h"

namespace espalier::precropping_method {
namespace {

enum class DensitySource { kExpectation, kSynFlow, kUniform };
constexpr std::pair<const char*, DensitySource> kSources[] = {
    {"expectation", DensitySource::kExpectation}, {"synflow", DensitySource::kSynFlow}, {"uniform", DensitySource::kUniform}};
constexpr const char* kId = "35-precropping";

const Node& node_of(const Graph& graph, NodeId n) { return graph.nodes[static_cast<size_t>(n)]; }

// What the cropped net may cost in all; absent: unlimited.
CostBudget total_budget(const PruneJob& job, const Model& original) {
  const Size dense = model_size(original.graph, original);
  const bool flops_first = job.settings().of == "flops";
  const double first = 1 - job.sparsity();
  std::optional<double> second;
  if (const std::string text = job.option_text("also"); !text.empty()) {
    check_share(job.option_real("also"), "35-precropping: option also");
    second = 1 - job.option_real("also");
  }
  const auto of = [](std::optional<double> share, double dense_cost) { return share ? std::optional(*share * dense_cost) : std::nullopt; };
  const std::optional<double> main = first;
  return {of(flops_first ? second : main, static_cast<double>(dense.params)), of(flops_first ? main : second, dense.flops)};
}

// The layers whose density counts, with their costs; the rest is taken off the budget.
struct Layers {
  std::vector<NodeId> nodes;
  LayerCosts costs;
  double other_params = 0, other_flops = 0;
};

bool gives_output(const Graph& graph, const Node& node) {
  return std::count(graph.outputs.begin(), graph.outputs.end(), node.outputs[0]) > 0;
}

// flops_scale: from this forward's FLOPs to those that sizes are told in (of text: a token).
Layers layers_of(const Graph& graph, double all_flops) {
  Layers layers;
  std::set<std::string> taken;
  const double scale = all_flops / std::max(1.0, total_cost(graph).flops);
  layers.other_params = static_cast<double>(graph.parameter_count());
  layers.other_flops = all_flops;
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    if (!is_weighted_layer(node) || gives_output(graph, node) || !taken.insert(node.params.at("weight")).second) continue;
    layers.nodes.push_back(static_cast<NodeId>(n));
    layers.costs.params.push_back(static_cast<double>(graph.parameter_of(node, "weight").count()));
    layers.costs.flops.push_back(cost_of(graph, node).flops * scale);
    layers.other_params -= layers.costs.params.back();
    layers.other_flops -= layers.costs.flops.back();
  }
  return layers;
}

CostBudget layer_budget(const Layers& layers, const CostBudget& total) {
  // The classifier gets smaller with its inputs, so a budget below the rest as it is now may still be met.
  constexpr double kLeast = 0.01;
  const auto left = [](std::optional<double> budget, double other, const std::vector<double>& costs) -> std::optional<double> {
    if (!budget) return std::nullopt;
    return std::max(*budget - other, kLeast * weighted_sum(costs, std::vector<double>(costs.size(), 1.0)));
  };
  return {left(total.params, layers.other_params, layers.costs.params), left(total.flops, layers.other_flops, layers.costs.flops)};
}

std::vector<double> synflow_densities(const PruneJob& job, const Graph& graph, const Layers& layers, const CostBudget& budget) {
  if (!budget.params) throw UserError(kId, "option density", "expectation for a budget of FLOPs alone", "synflow");
  std::vector<at::Tensor> weights;
  double total = 0;
  for (NodeId n : layers.nodes) {
    weights.push_back(to_torch(graph.parameter_of(node_of(graph, n), "weight").load()));
    total += static_cast<double>(weights.back().numel());
  }
  const int64_t rounds = job.option_int("rounds");
  if (job.trial()) return std::vector<double>(layers.nodes.size(), std::min(1.0, *budget.params / total));
  return iterate_synflow(weights, std::min(1.0, *budget.params / total), rounds, graph_synapses(graph, layers.nodes)).density;
}

std::vector<double> densities_of(const PruneJob& job, const Graph& graph, const Layers& layers, const CostBudget& budget) {
  switch (choice_from_name("35-precropping: option density", job.option_text("density"), kSources)) {
    case DensitySource::kExpectation:
      return fill_densities(layers.costs, budget).density;
    case DensitySource::kSynFlow:
      return synflow_densities(job, graph, layers, budget);
    case DensitySource::kUniform:  // the control: every width by one factor, which the budget's correction finds
      return std::vector<double>(layers.nodes.size(), std::pow(1 - job.sparsity(), 2));
  }
  bug(__FILE__, __LINE__, "a source of densities without a rule");
}

// {layer name: density} of another method.
std::vector<double> densities_from_file(const Graph& graph, const Layers& layers, const std::string& path) {
  const Json given = read_json(path);
  std::vector<double> density;
  for (NodeId n : layers.nodes) {
    const std::string& name = node_of(graph, n).name;
    const auto found = given.find(name);
    if (found == given.end()) user_error("{}: no density of the layer {}", path, name);
    const double value = found->is_number() ? found->get<double>() : std::numeric_limits<double>::quiet_NaN();
    if (!(value >= 0 && value <= 1)) throw UserError(path, name, "a density in [0, 1]", found->dump());
    density.push_back(value);
  }
  return density;
}

struct WidthChoice {
  std::vector<ChannelClass> classes;
  std::vector<double> factors;  // of each class, for t = 1
};

// Blockwise: shared widths stay, and inner ones take the density of every layer that touches them.
WidthChoice width_choice(const Graph& graph, const Coupling& coupling, const Layers& layers, const std::vector<double>& density, bool blockwise) {
  std::map<NodeId, double> density_of;
  for (size_t l = 0; l < layers.nodes.size(); ++l) {
    const LayerShape shape = layer_shape(graph, node_of(graph, layers.nodes[l]));  // a density of 0 would stay 0 whatever t is
    density_of[layers.nodes[l]] = std::max(density[l], 1 / static_cast<double>(shape.groups * shape.outputs));
  }
  const auto own = [&](const std::vector<NodeId>& nodes) {
    std::vector<double> values;
    for (NodeId n : nodes)
      if (const auto found = density_of.find(n); found != density_of.end()) values.push_back(found->second);
    return values;
  };
  WidthChoice choice{channel_classes(graph, coupling), {}};
  for (const auto& its : choice.classes) {
    if (!blockwise) {
      choice.factors.push_back(width_factor(own(its.producers)));
      continue;
    }
    std::vector<NodeId> touching = its.producers;
    touching.insert(touching.end(), its.consumers.begin(), its.consumers.end());
    const bool shared = its.producers.size() > 1 || its.partly_frozen;
    choice.factors.push_back(shared ? 1.0 : std::min(1.0, std::pow(width_factor(own(touching)), 2)));
  }
  return choice;
}

// Kept sets lie evenly, so that channels that a Split sends two ways stay on both.
std::vector<int32_t> cropped(const Coupling& coupling, const WidthChoice& choice, double t, int64_t multiple) {
  std::vector<int32_t> removed;
  for (size_t c = 0; c < choice.classes.size(); ++c) {
    const ChannelClass& its = choice.classes[c];
    const int64_t width = scaled_width(its.width(), std::min(1.0, t * choice.factors[c]), multiple);
    for (int64_t set = 0, kept = 0; set < its.width(); ++set) {
      const bool keep = kept < width && kept * its.width() / width == set;
      kept += keep;
      if (!keep) removed.push_back(its.sets[static_cast<size_t>(set)]);
    }
  }
  return choose_removals(coupling, removed, std::ssize(removed), {});
}

bool within(const Size& size, const CostBudget& budget) {
  return (!budget.params || static_cast<double>(size.params) <= *budget.params) && (!budget.flops || size.flops <= *budget.flops);
}

// The widest net of factors t · factor that the budget allows.
Graph crop_to_budget(const PruneJob& job, const Model& wide, const Coupling& coupling, const WidthChoice& choice, const CostBudget& budget, RemovalReport& report, double& t) {
  const int64_t multiple = std::max<int64_t>(1, job.settings().align);
  const auto at = [&](double factor) {
    Graph graph = wide.graph.clone();
    cut(graph, coupling, cuts_without(coupling, cropped(coupling, choice, factor, multiple)));
    return graph;
  };
  const Size least = model_size(at(0), wide), dense = model_size(job.graph(), job.model());
  if (!within(least, budget))
    throw UserError(kId, "budget", fmt::format("at least {:.4f} of the parameters and {:.4f} of the FLOPs, which one channel in every layer needs (align {})",
                                               static_cast<double>(least.params) / static_cast<double>(dense.params), least.flops / dense.flops, multiple),
                    fmt::format("--sparsity {:g} of {}", job.sparsity(), job.settings().of));
  double smallest = 1;
  for (double factor : choice.factors) smallest = std::min(smallest, factor);
  double low = 0, high = 1 / std::max(smallest, 1e-9);
  if (within(model_size(at(high), wide), budget)) low = high;
  constexpr int kHalvings = 40;
  for (int i = 0; i < kHalvings && low < high; ++i) {
    const double middle = (low + high) / 2;
    (within(model_size(at(middle), wide), budget) ? low : high) = middle;
  }
  t = low;
  report.add(coupling, cuts_without(coupling, cropped(coupling, choice, low, multiple)));
  return at(low);
}

// The same architecture, every width but the classes' w times as large, with fresh weights.
Model widened(const Model& model, double w, uint64_t seed) {
  if (!model.family || !model.family->fresh) user_error("{}: widen needs a family that can be built with other widths; this model comes from a file of its own graph", kId);
  Graph shapes = model.graph.clone();
  for (const auto& node : model.graph.nodes) {
    if (!is_weighted_layer(node) || gives_output(model.graph, node)) continue;
    Shape shape = model.graph.parameter_of(node, "weight").shape();
    const size_t axis = 1 - input_axis(node);
    shape[axis] = static_cast<int64_t>(std::llround(static_cast<double>(shape[axis]) * w));
    shapes.parameter_of(node, "weight").assign(Tensor(model.graph.parameter_of(node, "weight").dtype(), shape));
  }
  Model wide;
  wide.path = model.path;
  wide.family = model.family;
  wide.task = model.task;
  wide.context_length = model.context_length;
  wide.vocab_size = model.vocab_size;
  wide.dtype = model.dtype;
  wide.example_inputs = model.example_inputs;
  wide.config = model.config;
  model.family->write_config(wide.config, shapes);
  wide.graph = model.family->fresh(wide.config, seed, model.path.string());
  return wide;
}

void prune(PruneJob& job) {
  const double widen = job.option_real("widen");
  if (!(widen >= 1 && widen <= 16)) throw UserError(kId, "option widen", "1 to 16", fmt::format("{}", widen));
  const CostBudget budget = total_budget(job, job.model());
  std::optional<Model> wider;
  if (widen > 1) wider = widened(job.model(), widen, job.settings().seed);
  Model& base = wider ? *wider : job.model();
  SetRemoval removal;
  removal.coupling.protect = job.settings().protect;
  const Coupling coupling = coupling_for(job, removal.coupling, base.graph);
  if (!coupling.unknown_operators.empty()) user_error("{}: what these operators do with channels is unknown, so no width can be chosen: {}", kId, fmt::join(coupling.unknown_operators, ", "));
  Graph costed = base.graph.clone();
  infer_shapes(costed, costing_shapes(base));
  const Layers layers = layers_of(costed, model_size(base.graph, base).flops);
  const CostBudget of_layers = layer_budget(layers, budget);
  const std::string file = job.option_text("densities");
  const auto density = file.empty() ? densities_of(job, costed, layers, of_layers) : densities_from_file(costed, layers, file);
  const WidthChoice choice = width_choice(base.graph, coupling, layers, density, job.option_flag("blockwise"));
  if (choice.classes.empty()) user_error("{}: every width of the model is frozen", kId);
  RemovalReport report;
  double t = 1;
  Graph graph = crop_to_budget(job, base, coupling, choice, budget, report, t);
  if (!job.trial()) initialise_weights(graph, job.settings().seed);
  const double share = share_gone(job, graph);
  if (wider) job.model().config = wider->config;
  job.graph() = std::move(graph);
  report.write(job);
  Json widths = Json::object(), densities = Json::object();
  for (const auto& its : choice.classes) {
    const Node& first = node_of(costed, its.producers[0]);
    widths[its.label] = {{"before", its.width()}, {"channels", job.graph().parameter(first.params.at("weight")).shape()[1 - input_axis(first)]}};
  }
  for (size_t l = 0; l < density.size(); ++l) densities[node_of(costed, layers.nodes[l]).name] = density[l];
  job.findings()["densities"] = densities;
  job.findings()["widths"] = widths;
  job.findings()["factor"] = t;
  job.reached(share);
}

// One way to spend the budget, trained: top-1 is the mean of the seeds.
struct Arm {
  double top1 = 0;
  int64_t params = 0;
  double flops = 0;  // of Conv and Linear layers, masked ones by the share of their weights that is left
};

using Masks = std::map<std::string, WeightMask>;

double flops_under(const Model& model, const Masks& masks) {
  Graph shaped = model.graph.clone();
  infer_shapes(shaped, costing_shapes(model));
  double flops = 0;
  for (const auto& node : shaped.nodes) {
    if (!is_weighted_layer(node)) continue;
    const auto mask = masks.find(node.params.at("weight"));
    const double gone = mask == masks.end() ? 0 : static_cast<double>(mask->second.removed()) / static_cast<double>(mask->second.count());
    flops += (1 - gone) * cost_of(shaped, node).flops;
  }
  return flops;
}

int64_t params_under(const Graph& graph, const Masks& masks) {
  int64_t params = graph.parameter_count();
  for (const auto& [name, mask] : masks) params -= mask.removed();
  return params;
}

// What SynFlow keeps of the weights as they are, of such a density that `flops` are left.
Masks synflow_masks(const Model& model, double flops) {
  constexpr int64_t kRounds = 100;
  constexpr int kTries = 8;
  constexpr double kTolerance = 0.005;
  Graph shaped = model.graph.clone();
  infer_shapes(shaped, costing_shapes(model));
  const Layers layers = layers_of(shaped, model_size(model.graph, model).flops);
  std::vector<at::Tensor> weights;
  for (NodeId n : layers.nodes) weights.push_back(to_torch(shaped.parameter_of(node_of(shaped, n), "weight").load()));
  const double dense = flops_under(model, {});
  Masks masks;
  double density = flops / dense;
  for (int attempt = 0; attempt < kTries; ++attempt) {
    const auto kept = iterate_synflow(weights, density, kRounds, graph_synapses(shaped, layers.nodes)).keep;
    for (size_t l = 0; l < kept.size(); ++l)
      masks[node_of(shaped, layers.nodes[l]).params.at("weight")] = WeightMask(shaped.parameter_of(node_of(shaped, layers.nodes[l]), "weight").shape(), mask_bytes(kept[l].contiguous()));
    const double left = flops_under(model, masks);
    if (std::fabs(left / flops - 1) < kTolerance) break;
    density = std::pow(density, std::log(flops / dense) / std::log(left / dense));  // FLOPs go like a power of the density
  }
  return masks;
}

// prepare: makes the net, with fresh weights, of the model and says what stays zero.
Arm train_arm(const ReproduceContext& context, const std::function<Masks(Model& model, uint64_t seed)>& prepare) {
  constexpr int kSeeds = 2;
  Arm arm;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    Model model = load_model(context.vision_model);
    const Masks masks = prepare(model, seed);
    ClassifierTraining training;
    training.epochs = 0;
    training.steps = 300;
    training.batch = 64;
    training.weight_decay = 5e-4;
    training.warmup = 20;
    training.seed = seed;
    train_classifier(model.graph, *ImageDataset::open(context.vision_train), {}, model.image, training, masks);
    arm.top1 += measure_accuracy(model.graph, *ImageDataset::open(context.vision_test), model.image).top1.value / kSeeds;
    arm.params = params_under(model.graph, masks);
    arm.flops = flops_under(model, masks);
  }
  return arm;
}

Arm crop_and_train(const ReproduceContext& context, const std::string& density) {
  return train_arm(context, [&](Model& model, uint64_t seed) {
    JobSettings settings{.sparsity = 0.7, .of = "params", .options = {{"density", density}}, .align = 1, .seed = seed};
    PruneJob job(find_method(kId), model, {}, settings, nullptr, 0);
    prune(job);
    return Masks();
  });
}

Arm mask_and_train(const ReproduceContext& context, double flops) {
  return train_arm(context, [&](Model& model, uint64_t seed) {
    initialise_weights(model.graph, seed);
    return synflow_masks(model, flops);
  });
}

Json to_json(const Arm& arm) { return {{"top1", arm.top1}, {"params", arm.params}, {"flops", arm.flops}}; }

Reproduction reproduce(ReproduceContext& context) {
  if (context.vision_model.empty()) user_error("reproduce: 35-precropping needs an embedded model of pictures, and there is none");
  const Arm ours = crop_and_train(context, "expectation"), synflow = crop_and_train(context, "synflow"), uniform = crop_and_train(context, "uniform");
  const Arm masked = mask_and_train(context, ours.flops);
  const auto told = [](const Arm& arm) { return fmt::format("{:.1f} % ({} parameters, {:.2f} MFLOPs)", 100 * arm.top1, arm.params, arm.flops / 1e6); };
  constexpr double kMargin = 0.005;
  return {"at initialisation only layer densities matter: nets cropped to the density that a data-free proxy asks for train at least as well as evenly narrower ones and as single weights masked by SynFlow at equal FLOPs",
          fmt::format("top-1 after the same 300 steps of training from scratch, 30 % of the parameters, mean of 2 seeds: expectation {}, SynFlow {}, one factor for all widths {}; SynFlow's masks on single weights {}",
                      told(ours), told(synflow), told(uniform), told(masked)),
          ours.top1 >= uniform.top1 - kMargin && ours.top1 >= masked.top1 - kMargin,
          {{"expectation", to_json(ours)}, {"synflow", to_json(synflow)}, {"uniform", to_json(uniform)}, {"masked", to_json(masked)}}};
}

const RegisterMethod registered(
    {.id = "35-precropping",
     .name = "PreCropping",
     .year = 2022,
     .kind = "OneShot",
     .taxonomy = {{"channel"}, "universal", {"before"}, "none", "layer density (expected SynFlow)", "", "global", "one-shot", "full", "", {"cnn", "detector"}},
     .needs = {},
     .options = {{"density", "text", "expectation", "expectation, synflow, uniform", "where layer densities come from; uniform: one factor for all widths, a control"},
                 {"densities", "text", "", "file", "instead: a JSON object of layer names and densities, of any other method"},
                 {"rounds", "int", "100", "> 0", "of SynFlow"},
                 {"also", "real", "", "[0, 1)", "a second budget: the share of FLOPs to remove (of parameters with --of flops)"},
                 {"blockwise", "flag", "false", "true, false", "residual nets: the width of the stages stays, only inner layers get narrower"},
                 {"widen", "real", "1", "1 to 16", "PreConfig: crop a net of so many times the width, to the budget of the one given"}},
     .default_of = "params",
     .of = {"flops"},
     .prune = prune,
     .reproduce = reproduce});

}  // namespace
}  // namespace espalier::precropping_method
