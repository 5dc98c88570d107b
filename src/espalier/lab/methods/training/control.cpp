#include "espalier/lab/methods/training/control.h"

#include <algorithm>

#include "espalier/core/choice.h"
#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/graph/operator.h"
#include "espalier/lab/training/fresh_model.h"

namespace espalier {
namespace {

constexpr double kCap = 2;
constexpr int64_t kFinetuneShare = 4;       // a quarter: 40 of 160 epochs
constexpr double kFinetuneRate = 1.0 / 100;  // the rate after two drops

const std::pair<const char*, Counted> kCounts[] = {{"layers", Counted::kLayers}, {"all", Counted::kAll}};
const std::pair<const char*, bool> kFans[] = {{"fan_out", true}, {"fan_in", false}};

bool begins_anew(const std::string& control) { return control != "finetune"; }

int64_t multiply_adds(const Model& model, Counted counted) {
  Graph graph = model.graph.clone();
  infer_shapes(graph, costing_shapes(model));
  return layer_multiply_adds(graph, counted);
}

void check_pair(const Model& dense, const Model& pruned) {
  for (const auto& parameter : pruned.graph.parameters()) {
    const std::string& name = parameter->name();
    if (!dense.graph.has_parameter(name))
      user_error("control: {} is no cut of {}: that has no parameter {}", pruned.path.string(), dense.path.string(), name);
    const Shape &whole = dense.graph.parameter(name).shape(), &cut = parameter->shape();
    bool within = whole.size() == cut.size();
    for (size_t axis = 0; within && axis < cut.size(); ++axis) within = cut[axis] <= whole[axis];
    if (!within) throw UserError("control", name, fmt::format("at most the dense model's {}", to_string(whole)), to_string(cut));
  }
}

}  // namespace

std::vector<OptionSpec> control_option_specs(const std::string& control, Task task) {
  std::vector<OptionSpec> specs = {{"count", "text", "layers", "layers, all", "multiply-adds: of layers, or one more a value for biases, norms and activations"}};
  if (!begins_anew(control) || task != Task::kImages) return specs;
  specs.push_back({"init", "text", "fan_out", "fan_out, fan_in", "initial weights: He's normal by the outputs or the inputs"});
  specs.push_back({"norm_scale", "real", "1", "from 0", "initial scale of batch norms; the released networks' is 0.5"});
  return specs;
}

ControlSettings control_settings(const OptionValues& values) {
  const auto where = [&](const char* option) { return fmt::format("{}: option {}", values.owner(), option); };
  ControlSettings settings{.counted = choice_from_name(where("count"), values.text("count"), kCounts)};
  if (values.all().count("init")) settings.initial = {choice_from_name(where("init"), values.text("init"), kFans), values.real("norm_scale", 0, 1e3)};
  return settings;
}

Json ControlPlan::to_json(const std::string& control) const {
  return {{"arm", control}, {"dense multiply-adds", dense_macs}, {"multiply-adds", pruned_macs}, {"epochs", epochs}, {"steps", steps}, {"share of the dense training", share}};
}

ControlPlan plan_control(const std::string& control, const Model& dense, const Model& pruned, TrainOptions& options, Counted counted) {
  check_pair(dense, pruned);
  ControlPlan plan{begins_anew(control), multiply_adds(dense, counted), multiply_adds(pruned, counted), 0, 0, 1};
  if (plan.pruned_macs == plan.dense_macs)
    inform("control: both models have {} multiply-adds (masks save none of them), so equal budgets are equal epochs", plan.dense_macs);
  const int64_t before = options.steps > 0 ? options.steps : options.epochs;
  for (int64_t* length : {&options.epochs, &options.steps}) {
    if (*length == 0) continue;
    if (control == "finetune") *length = std::max<int64_t>(1, *length / kFinetuneShare);
    if (control == "scratch-b") *length = scratch_b_epochs(*length, plan.dense_macs, plan.pruned_macs, kCap);
    if (control == "scratch-b-uncapped") *length = scratch_b_epochs(*length, plan.dense_macs, plan.pruned_macs);
  }
  if (control == "finetune") options.learning_rate *= kFinetuneRate, options.schedule = RateSchedule::kConstant, options.warmup = 0;
  const int64_t after = options.steps > 0 ? options.steps : options.epochs;
  plan.epochs = options.epochs, plan.steps = options.steps;
  plan.share = static_cast<double>(after) / static_cast<double>(before) * static_cast<double>(plan.pruned_macs) / static_cast<double>(plan.dense_macs);
  return plan;
}

void initialise_control(Model& model, uint64_t seed, const InitialWeights& initial) {
  if (model.task != Task::kImages) return initialise_decoder(model.graph, seed);
  initialise_weights(model.graph, seed, initial);
}

}  // namespace espalier
