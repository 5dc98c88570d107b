// Cutting what the user names: sets of coupling groups, indices of parameter dims, or a stored mask.
#include <algorithm>
#include <charconv>

#include "espalier/core/error.h"
#include "espalier/lab/measure/probe.h"
#include "espalier/lab/methods/structures/channel_methods.h"
#include "espalier/lab/torch.h"
#include "espalier/structure/mask.h"

namespace espalier::cut_method {
namespace {

std::vector<std::string> split_list(const std::string& text, char separator) {
  std::vector<std::string> parts;
  for (size_t start = 0; start <= text.size();) {
    const size_t end = std::min(text.find(separator, start), text.size());
    if (end > start) parts.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return parts;
}

int64_t index_of(const std::string& text, const std::string& entry) {
  int64_t value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0)
    throw UserError("cut", "option remove", fmt::format("numbers of at least 0 behind the colon of '{}'", printable(entry)), printable(text));
  return value;
}

std::vector<std::string> labels_of(const Coupling& coupling) {
  std::vector<std::string> labels;
  for (const auto& group : coupling.groups) labels.push_back(group.label);
  return labels;
}

// "conv1.weight@0": the indices are of that dim; else the name is a group's label and the indices are its sets.
void mark(const Coupling& coupling, const std::string& name, const std::vector<int64_t>& indices, std::set<int32_t>& gone) {
  if (const CouplingGroup* group = coupling.find(name)) {
    for (int64_t set : indices) {
      if (set >= group->set_count) throw UserError("cut", name, fmt::format("sets 0 to {}", group->set_count - 1), fmt::format("{}", set));
      gone.insert(group->canonical[static_cast<size_t>(set)]);
    }
    return;
  }
  const size_t at = name.rfind('@');
  const auto sets = at == std::string::npos ? std::vector<int32_t>() : coupling.canonical_sets(name.substr(0, at), static_cast<size_t>(index_of(name.substr(at + 1), name)));
  if (sets.empty())
    throw UserError("cut", "option remove", "a group's label (`inspect` lists them) or PARAMETER@AXIS with something to cut",
                    fmt::format("'{}'{}", printable(name), did_you_mean(name, labels_of(coupling))));
  for (int64_t index : indices) {
    if (index >= std::ssize(sets)) throw UserError("cut", name, fmt::format("indices 0 to {}", sets.size() - 1), fmt::format("{}", index));
    if (sets[static_cast<size_t>(index)] < 0) user_error("cut: {}: index {} is frozen: something else of the model needs it", name, index);
    gone.insert(sets[static_cast<size_t>(index)]);
  }
}

void cut_named(PruneJob& job, const std::string& list) {
  const Coupling coupling = coupling_for(job, coupling_options(job), job.graph());
  std::set<int32_t> gone;
  for (const auto& entry : split_list(list, ';')) {
    const size_t colon = entry.rfind(':');
    if (colon == std::string::npos) throw UserError("cut", "option remove", "NAME:1,2,5;NAME:0", printable(entry));
    std::vector<int64_t> indices;
    for (const auto& number : split_list(entry.substr(colon + 1), ',')) indices.push_back(index_of(number, entry));
    mark(coupling, entry.substr(0, colon), indices, gone);
  }
  if (gone.empty()) user_error("cut: the option remove names nothing");
  carry_out(job, coupling, cuts_without(coupling, {gone.begin(), gone.end()}));
}

void cut_by_mask(PruneJob& job, const std::string& file) {
  const Mask mask = Mask::load(file);
  check_fits(mask, job.graph(), file);
  Graph graph = job.graph().clone();
  shrink(graph, mask, job.model().family ? job.model().family->block_prefix(graph) : "");
  for (const auto& unit : mask.units) {
    std::vector<int64_t> gone;
    for (size_t set = 0; set < unit.keep.size(); ++set)
      if (!unit.keep[set]) gone.push_back(static_cast<int64_t>(set));
    if (!gone.empty()) job.note_removed({{"unit", name_of(unit.kind)}, {"node", unit.label}, {"indices", gone}});
  }
  for (const auto& branch : mask.branches)
    job.note_removed({{"unit", "sublayer"}, {"node", fmt::format("blocks.{}.{}", branch.block, name_of(branch.kind))}, {"indices", {0}}});
  int64_t zeros = 0;
  for (const auto& [name, weights] : mask.weights) {
    zeros += weights.removed();
    job.note_removed({{"unit", "weight"}, {"node", name}, {"count", weights.removed()}});
  }
  const double gone = share_gone(job, graph);
  const double all = static_cast<double>(job.graph().parameter_count());
  job.graph() = std::move(graph);
  job.reached(gone + static_cast<double>(zeros) / all);
}

void prune(PruneJob& job) {
  const std::string list = job.option_text("remove"), mask = job.option_text("mask");
  if (list.empty() == mask.empty()) user_error("cut: give either --set remove=NAME:1,2,5;NAME:0 or --set mask=FILE");
  if (job.sparsity() != 0) user_error("cut: it removes what remove or mask names; leave --sparsity out, or choose a method that ranks");
  if (mask.empty()) return cut_named(job, list);
  cut_by_mask(job, mask);
}

std::vector<OptionSpec> options() {
  std::vector<OptionSpec> all = set_removal_options(
      "global", {{"remove", "text", "", "NAME:1,2,5;NAME:0", "NAME: a coupling group and the numbers of its sets, or PARAMETER@AXIS and indices of it"},
                 {"mask", "text", "", "file", "a stored mask (mask.safetensors) of this model: its units and branches are cut, its weights become zero"}});
  std::erase_if(all, [](const OptionSpec& option) {
    return option.name != "remove" && option.name != "mask" && option.name != "group-conv" && option.name != "split";
  });
  return all;
}

// What is cut is what a mask of the same sets hides.
Reproduction reproduce(ReproduceContext& context) {
  Model model = load_model(context.model_path);
  const Coupling coupling = find_coupling(model.graph);
  const CouplingGroup* heads = coupling.find(GroupKind::kHeads, 0);
  const CouplingGroup* neurons = coupling.find(GroupKind::kNeurons, 1);
  ESP_ASSERT(heads && neurons, "the embedded model has heads and neurons");
  Mask mask = Mask::for_model(model.graph);
  for (const CouplingGroup* group : {heads, neurons}) {
    std::vector<uint8_t> keep(static_cast<size_t>(group->set_count), 1);
    keep[0] = 0;
    mask.remove_units(*group, keep);
  }
  const Graph masked = apply_mask(model.graph, mask);
  JobSettings settings;
  settings.of = "params";
  settings.options = {{"remove", fmt::format("{}:0;{}:0", heads->label, neurons->label)}};
  const int64_t before = model.graph.parameter_count();
  PruneJob job(find_method("cut"), model, {}, settings, nullptr, 0);
  job.method().prune(job);
  const auto inputs = probe_inputs(model, 0);
  const double difference = (run_graph(masked, inputs)[0] - run_graph(model.graph, inputs)[0]).abs().max().item<double>();
  return {"a physical cut computes what the masked model does", fmt::format("largest difference of the logits: {:.2g}; {} of {} parameters left", difference, model.graph.parameter_count(), before),
          difference < 1e-4 && model.graph.parameter_count() < before, {{"difference", difference}, {"params", model.graph.parameter_count()}, {"params_before", before}}};
}

const RegisterMethod registered({.id = "cut",
                                 .name = "Cut by name or mask",
                                 .year = 0,
                                 .kind = "OneShot",
                                 .taxonomy = {{"any"}, "universal", {"any"}, "none", "", "", "group", "one-shot", "none", "", {"any"}},
                                 .needs = {},
                                 .options = options(),
                                 .default_of = "params",
                                 .of = {},
                                 .prune = prune,
                                 .reproduce = reproduce});

}  // namespace
}  // namespace espalier::cut_method
