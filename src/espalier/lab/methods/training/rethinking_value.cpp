#include "espalier/lab/methods/training/rethinking_value.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>

#include "espalier/core/assets.h"
#include "espalier/core/error.h"
#include "espalier/core/ranking.h"
#include "espalier/graph/node_kinds.h"
#include "espalier/graph/operator.h"
#include "espalier/io/image_dataset.h"
#include "espalier/lab/allocation/channel_classes.h"
#include "espalier/lab/criteria/masks.h"
#include "espalier/lab/measure/accuracy.h"
#include "espalier/lab/measure/spread.h"
#include "espalier/lab/methods/reproduce.h"
#include "espalier/lab/methods/structures/channel_removal.h"
#include "espalier/lab/methods/study.h"
#include "espalier/lab/methods/training/control.h"
#include "espalier/lab/methods/training/picture_training.h"
#include "espalier/lab/methods/training/scale_pruning.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/fresh_weights.h"
#include "espalier/lab/training/picture_task.h"
#include "espalier/lab/training/small_networks.h"

namespace espalier {
namespace {

constexpr const char* kRethinking = "16-rethinking-value";

}  // namespace

int64_t layer_multiply_adds(const Graph& graph, Counted counted) {
  double flops = 0;
  int64_t others = 0;
  for (const auto& node : graph.nodes) {
    if (is_matrix_layer(node)) flops += cost_of(graph, node).flops;
    const bool one_each = is_matrix_layer(node) ? node.has_param("bias") : is_norm(node) || node.op == "Activation";
    if (one_each && counted == Counted::kAll) others += element_count(graph.values[static_cast<size_t>(node.outputs[0])].shape);
  }
  return std::llround(flops / 2) + others;
}

int64_t scratch_b_epochs(int64_t epochs, int64_t dense_macs, int64_t pruned_macs, std::optional<double> cap) {
  if (pruned_macs < 1) throw UserError(kRethinking, "multiply-adds of the pruned model", "at least 1", fmt::format("{}", pruned_macs));
  const auto equal = static_cast<int64_t>(static_cast<double>(epochs) * static_cast<double>(dense_macs) / static_cast<double>(pruned_macs));
  return cap ? std::min(equal, static_cast<int64_t>(*cap * static_cast<double>(epochs))) : equal;
}

std::vector<int64_t> drop_epochs(int64_t epochs, const std::vector<double>& shares) {
  std::vector<int64_t> drops;
  for (double share : shares) drops.push_back(static_cast<int64_t>(share * static_cast<double>(epochs)));
  return drops;
}

at::Tensor filter_l1(const at::Tensor& weight) { return weight.flatten(1).abs().sum(1); }

std::vector<int64_t> highest_l1_filters(const at::Tensor& weight, int64_t keep) {
  const at::Tensor scores = filter_l1(weight).to(at::kFloat).contiguous();
  return select_largest(float_span(scores), keep);
}

GuidedDensities guided_densities(const std::vector<std::vector<int64_t>>& stages, const std::vector<int64_t>& sizes, const std::vector<int64_t>& kept) {
  GuidedDensities found;
  found.layer.resize(sizes.size(), 1);
  double all = 0, all_kept = 0;
  for (const auto& stage : stages) {
    double size = 0, left = 0;
    for (int64_t layer : stage) {
      size += static_cast<double>(sizes.at(static_cast<size_t>(layer)));
      left += static_cast<double>(kept.at(static_cast<size_t>(layer)));
    }
    found.stage.push_back(left / size);
    for (int64_t layer : stage) found.layer[static_cast<size_t>(layer)] = left / size;
    all += size, all_kept += left;
  }
  found.uniform = all_kept / all;
  return found;
}

ControlVerdict control_verdict(const std::vector<double>& scratch, const std::vector<double>& finetune, double margin) {
  for (const auto* arm : {&scratch, &finetune})
    if (arm->size() < 2) throw UserError(kRethinking, "seeds", "at least 2 of each arm for a verdict", fmt::format("{}", arm->size()));
  const Spread s = spread_of(scratch), f = spread_of(finetune);
  ControlVerdict verdict{s.mean, f.mean, std::sqrt(s.variance), std::sqrt(f.variance), s.mean - f.mean, 0, "undecided"};
  verdict.standard_error = std::sqrt(s.variance / static_cast<double>(scratch.size()) + f.variance / static_cast<double>(finetune.size()));
  if (verdict.difference >= -margin) {
    verdict.text = "scratch at least equal";
  } else if (std::abs(verdict.difference) > 2 * verdict.standard_error) {
    verdict.text = "inherited weights help";
  }
  return verdict;
}

namespace {

// The study's L1 pruner: every layer whose channels are its own loses this share of its filters, the smallest.
void cut_by_l1(Graph& graph, double share) {
  const Coupling coupling = find_coupling(graph);
  std::vector<int32_t> gone;
  for (const auto& its : channel_classes(graph, coupling)) {
    const Node& node = graph.nodes[static_cast<size_t>(its.producers[0])];
    if (its.producers.size() > 1 || its.partly_frozen || node.op != "Conv") continue;
    const at::Tensor weight = to_torch(graph.parameter_of(node, "weight").load());
    const auto sets = coupling.canonical_sets(node.params.at("weight"), 0);
    const auto kept = highest_l1_filters(weight, weight.size(0) - std::min(removal_count(share, weight.size(0)), weight.size(0) - 1));
    for (size_t filter = 0; filter < sets.size(); ++filter)
      if (!std::binary_search(kept.begin(), kept.end(), static_cast<int64_t>(filter))) gone.push_back(sets[filter]);
  }
  cut(graph, coupling, cuts_without(coupling, gone));
}

struct ArmSettings {
  int64_t batch = 64;
  ControlSettings control;
  bool every_epoch = false;  // measures after each, for the best
};

struct ControlRun {
  ControlPlan plan;
  double accuracy = 0, best = 0;  // percent: after the last epoch, after any
  double multiply_adds = 0;       // of all forwards of the training
  double seconds = 0;
};

double best_accuracy(const TrainResult& result, double last) {
  for (const Metric& metric : result.metrics)
    if (metric.name == "accuracy") last = std::max(last, 100 * metric.value);
  return last;
}

// Trains a copy of the pruned model as the arm says; `options` are the dense model's.
ControlRun run_control(const std::string& arm, const Model& dense, const Model& pruned, const ImageDataset& train_set, const ImageDataset& test_set,
                       TrainOptions options, const ArmSettings& settings) {
  const auto begin = std::chrono::steady_clock::now();
  Model model = copy_of(pruned);
  ControlRun run{plan_control(arm, dense, pruned, options, settings.control.counted)};
  if (run.plan.fresh) initialise_control(model, options.seed, settings.control.initial);
  PictureTask task(model.graph, train_set, {}, model.image, {.batch = settings.batch, .seed = options.seed}, settings.every_epoch ? &test_set : nullptr);
  options.evaluate_every = settings.every_epoch;
  Plugins none;
  const TrainResult result = train(model.graph, task, options, none);
  run.accuracy = 100 * measure_accuracy(model.graph, test_set, model.image).top1.value;
  run.best = best_accuracy(result, run.accuracy);
  run.multiply_adds = static_cast<double>(run.plan.pruned_macs) * static_cast<double>(result.steps_run * settings.batch);
  run.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return run;
}

Json verdict_json(const ControlVerdict& verdict) {
  return {{"difference", verdict.difference}, {"standard error", verdict.standard_error}, {"verdict", verdict.text}};
}

std::vector<std::string> arms_of(const StudyJob& job) {
  static const std::vector<std::string> kArms{"finetune", "scratch-e", "scratch-b"};
  std::vector<std::string> arms;
  const std::string list = job.text("arms");
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find(',', begin), list.size());
    arms.push_back(list.substr(begin, end - begin));
    if (!std::count(kArms.begin(), kArms.end(), arms.back()))
      throw UserError(kRethinking, "option arms", fmt::format("{}, with commas between", fmt::join(kArms, ", ")), "'" + printable(arms.back()) + "'");
    begin = end + 1;
  }
  return arms;
}

// Every arm with every seed, and what follows.
Json run_arms(StudyJob& job) {
  const Model& dense = job.model();
  if (!job.has("pruned")) user_error("study {}: option pruned: missing: the model that was cut from {}", kRethinking, dense.path.string());
  if (dense.task != Task::kImages) user_error("study {}: {} is no classifier of pictures; train --control takes others, one run at a time", kRethinking, dense.path.string());
  const std::vector<std::string> arms = arms_of(job);
  const ArmSettings settings{job.integer("batch", 1, 65536), control_settings(job.options()), true};
  const Model pruned = load_model(resolve_model(job.text("pruned")));
  const auto train_set = ImageDataset::open(resolve_data(job.data().empty() ? kEmbeddedPictures : job.data()));
  const auto test_set = ImageDataset::open(resolve_data(job.has("eval") ? job.text("eval") : kEmbeddedTestPictures));
  TrainOptions options;
  options.epochs = job.integer("epochs", 1, 1 << 20);
  options.learning_rate = job.real("lr", 1e-9, 1e3), options.weight_decay = 1e-4, options.schedule = RateSchedule::kSteps;
  const int64_t seeds = job.integer("seeds", 2, 1000);
  std::map<std::string, std::vector<double>> accuracy;
  std::ofstream lines(job.out() / "runs.jsonl");
  Json rows = Json::array();
  int64_t dense_macs = 0;
  for (const std::string& arm : arms) {
    ControlRun last;
    for (int64_t seed = 0; seed < seeds; ++seed) {
      options.seed = job.seed() + static_cast<uint64_t>(seed);
      last = run_control(arm == "scratch-b" && job.text("cap") == "none" ? "scratch-b-uncapped" : arm, dense, pruned, *train_set, *test_set, options, settings);
      accuracy[arm].push_back(last.accuracy);
      Json line = last.plan.to_json(arm);
      line.update({{"seed", options.seed}, {"accuracy", last.accuracy}, {"best accuracy", last.best}, {"training multiply-adds", last.multiply_adds}, {"seconds", last.seconds}});
      lines << line.dump() << "\n";
    }
    const Spread spread = spread_of(accuracy[arm]);
    dense_macs = last.plan.dense_macs;
    rows.push_back({arm, spread.mean, std::sqrt(spread.variance), pruned.graph.parameter_count(), last.plan.pruned_macs, last.plan.epochs, last.plan.share});
  }
  const double before = 100 * measure_accuracy(dense.graph, *test_set, dense.image).top1.value;
  rows.push_back({"dense", before, nullptr, dense.graph.parameter_count(), dense_macs, options.epochs, 1});
  Json result = {{"tables", {{"arms", {{"columns", {"arm", "accuracy", "deviation", "params", "multiply-adds", "epochs", "share of the dense training"}}, {"rows", rows}}}}},
                 {"summary", "without both finetune and scratch-b there is no verdict"}};
  if (!accuracy.count("finetune") || !accuracy.count("scratch-b")) return result;
  const ControlVerdict verdict = control_verdict(accuracy["scratch-b"], accuracy["finetune"], job.real("margin", 0, 100));
  result["verdict"] = verdict_json(verdict);
  result["summary"] = fmt::format("scratch-b is {:+.2f} points from fine-tuning (standard error {:.2f}): {}", verdict.difference, verdict.standard_error, verdict.text);
  return result;
}

std::vector<OptionSpec> study_options() {
  std::vector<OptionSpec> options = {{"pruned", "text", "", "MODEL", "the model that was cut from MODEL"},
                                     {"eval", "text", "", "DATA", "held-out pictures; empty: the embedded ones"},
                                     {"arms", "text", "finetune,scratch-e,scratch-b", "of these, with commas between", "what is trained; a verdict needs the first and the last"},
                                     {"seeds", "int", "5", "at least 2", "runs of every arm"},
                                     {"epochs", "int", "160", "> 0", "of the dense model's training"},
                                     {"lr", "real", "0.1", "> 0", "its rate, which falls to a tenth at a half and at three quarters"},
                                     {"batch", "int", "64", "> 0", "pictures"},
                                     {"cap", "text", "2", "2, none", "scratch-b takes at most so many times the epochs"},
                                     {"margin", "real", "0.2", "from 0", "points that scratch may be worse and still count as equal"}};
  for (OptionSpec& option : control_option_specs("scratch-b", Task::kImages)) options.push_back(std::move(option));
  return options;
}

const RegisterStudy study({.id = kRethinking,
                           .summary = "is a pruned classifier better than its shape trained from scratch? Arms with equal budgets, seeds, a verdict",
                           .options = study_options(),
                           .run = run_arms});

constexpr uint64_t kSeeds = 3;

TrainOptions dense_options(uint64_t seed) {
  TrainOptions options;
  options.epochs = 8, options.learning_rate = 0.1, options.weight_decay = 5e-4, options.schedule = RateSchedule::kSteps, options.seed = seed;
  options.evaluate_every = 0;
  return options;
}

// The dense network, trained beside the plugin if there is one, which may cut `pruned`, its copy.
std::pair<Model, Model> trained_and_pruned(const ImageDataset& pictures, uint64_t seed, std::unique_ptr<Plugin> plugin) {
  Model dense = small_convnet(seed);
  PictureTask task(dense.graph, pictures, {}, dense.image, {.batch = 64, .seed = seed});
  Plugins plugins;
  if (plugin) plugins.push_back(std::move(plugin));
  train(dense.graph, task, dense_options(seed), plugins);
  Model pruned = copy_of(dense);
  for (auto& one : plugins) one->finish(pruned);
  return {std::move(dense), std::move(pruned)};
}

struct Arms {
  double dense = 0, share = 0;  // accuracy in percent; compute of scratch-b as a share of the dense training's
  std::map<std::string, std::vector<double>> accuracy;
  ControlVerdict verdict;
  double scratch_e() const { return spread_of(accuracy.at("scratch-e")).mean; }
  bool holds() const { return verdict.difference >= -0.5 && verdict.scratch_mean >= scratch_e() - 0.3; }
  std::string text() const {
    return fmt::format("fine-tuned {:.2f} % ({:.2f}), from scratch for as many epochs {:.2f} %, for as much compute ({:.3f} of the dense training) {:.2f} % ({:.2f}); dense {:.2f} %; {} "
                       "({:+.2f} ± {:.2f})",
                       verdict.finetune_mean, verdict.finetune_std, scratch_e(), share, verdict.scratch_mean, verdict.scratch_std, dense, verdict.text, verdict.difference,
                       verdict.standard_error);
  }
  Json json() const {
    return {{"dense", dense}, {"finetune", verdict.finetune_mean}, {"scratch-e", scratch_e()}, {"scratch-b", verdict.scratch_mean}, {"share", share},
            {"difference", verdict.difference}, {"standard error", verdict.standard_error}};
  }
};

// Half of the filters, by L1 after the training, or of the channels by the scales of the norms that it penalised.
Arms arms_of_pruner(const ReproduceContext& context, bool slimming) {
  constexpr double kHalf = 0.5, kPenalty = 0.01;  // as in the reproduction of network-slimming
  const auto train_set = ImageDataset::open(context.vision_train), test_set = ImageDataset::open(context.vision_test);
  Arms arms;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    auto plugin = slimming ? make_scale_pruning({.id = "network-slimming", .source = ScalePruning::Source::kEnd, .strength = kPenalty, .share = kHalf}) : nullptr;
    auto [dense, pruned] = trained_and_pruned(*train_set, seed, std::move(plugin));
    if (!slimming) cut_by_l1(pruned.graph, kHalf);
    arms.dense += percent_right(context, dense) / kSeeds;
    for (const char* arm : {"finetune", "scratch-e", "scratch-b-uncapped"}) {
      const ControlRun run = run_control(arm, dense, pruned, *train_set, *test_set, dense_options(seed + 10), {});
      arms.accuracy[arm].push_back(run.accuracy);
      arms.share = run.plan.share;
    }
  }
  arms.verdict = control_verdict(arms.accuracy["scratch-b-uncapped"], arms.accuracy["finetune"]);
  return arms;
}

Reproduction reproduce_rethinking(ReproduceContext& context) {
  const Arms l1 = arms_of_pruner(context, false), slimming = arms_of_pruner(context, true);
  return {"a network of the pruned shape trained from scratch under the dense model's budget is as good as the pruned and fine-tuned one, or better",
          fmt::format("a small convolutional network on the embedded pictures, mean of {} seeds (deviation). Half of the filters by L1, widths given: {}. Half of the channels by network "
                      "slimming, which chooses the widths: {}",
                      kSeeds, l1.text(), slimming.text()),
          l1.holds() && slimming.holds() && std::abs(l1.share - 1) < 0.02, {{"l1", l1.json()}, {"slimming", slimming.json()}}};
}

const RegisterMethod rethinking_value(
    {.id = kRethinking,
     .name = "Train from scratch",
     .year = 2019,
     .kind = "Study",
     .taxonomy = {{"channel", "weight"}, "universal", {"before"}, "labelled", "given by another method", "", "local", "one-shot", "full", "", {"cnn", "vit", "llm"}},
     .needs = {"data", "gradients", "training"},
     .options = {},
     .default_of = "params",
     .of = {},
     .reproduce = reproduce_rethinking});

}  // namespace
}  // namespace espalier
