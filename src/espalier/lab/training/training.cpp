#include "espalier/lab/training/training.h"

#include <cmath>
#include <set>

#include "espalier/core/error.h"
#include "espalier/structure/coupling.h"
#include "espalier/graph/node_kinds.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/optimiser.h"
#include "espalier/lab/training/trainer.h"
#include "espalier/lab/training/training_task.h"

namespace espalier {
namespace {

// Parameters that gradients do not change: running statistics, masks of norms, and numbers of the arithmetic that an
// importer found as scalars.
struct Fixed {
  std::set<std::string> statistics, others;

  explicit Fixed(const Graph& graph) {
    for (const auto& node : graph.nodes) {
      for (const auto& [role, name] : node.params) {
        if (is_statistic(node, role)) statistics.insert(name);
        if (role == "mask" || (node.op == "Constant" && graph.parameter(name).count() == 1)) others.insert(name);
      }
    }
  }
};

}  // namespace

Training::Training(const Graph& graph, TrainingTask& task, const TrainOptions& options)
    : graph_(graph), task_(task), options_(options), weights_(graph) {
  const Fixed fixed(graph);
  for (const auto& parameter : graph.parameters()) {
    const std::string& name = parameter->name();
    at::Tensor value = weights_.get(name);
    if (!value.is_floating_point() || fixed.others.count(name)) continue;
    value = value.detach().clone();
    weights_.set(name, value);
    if (fixed.statistics.count(name)) {
      statistics_.emplace_back(name, value);
    } else {
      names_.push_back(name);
      entries_[name].value = value.set_requires_grad(true);
    }
  }
  interpreter_ = std::make_unique<Interpreter>(graph, weights_);
  interpreter_->train_batch_norms(options.batch_momentum);
  steps_ = planned_steps(options, steps_an_epoch());
}

Training::~Training() = default;

int64_t Training::steps_an_epoch() const {
  return std::max<int64_t>(1, task_.batches_an_epoch() / options_.accumulate);
}

double Training::learning_rate() const { return learning_rate_at(options_, step_, steps_); }

Rng Training::rng(const std::string& stream) const {
  return Rng(options_.seed, fmt::format("training/{}/{}", stream, steps_run_));
}

Training::Entry& Training::entry(const std::string& name) {
  const auto found = entries_.find(name);
  ESP_ASSERT(found != entries_.end(), "{} is not trained", name);
  return found->second;
}

const Training::Entry& Training::entry(const std::string& name) const {
  const auto found = entries_.find(name);
  ESP_ASSERT(found != entries_.end(), "{} is not trained", name);
  return found->second;
}

at::Tensor& Training::value(const std::string& name) { return entry(name).value; }
at::Tensor Training::gradient(const std::string& name) { return entry(name).value.grad(); }
void Training::restore_weight(const std::string& parameter) { weights_.set(parameter, entry(parameter).value); }
bool Training::is_frozen(const std::string& name) const { return entry(name).frozen; }

std::vector<std::string> Training::prunable() const {
  std::set<std::string> matrices, others;
  for (const auto& node : graph_.nodes)
    for (const auto& [role, name] : node.params)
      (is_matrix_layer(node) && role == "weight" ? matrices : others).insert(name);
  std::vector<std::string> result;
  for (const auto& name : names_)
    if (matrices.count(name) && !others.count(name)) result.push_back(name);
  return result;
}

at::Tensor Training::mask(const std::string& name) const {
  const at::Tensor& keep = entry(name).keep;
  return keep.defined() ? keep.to(at::kBool) : at::Tensor();
}

void Training::apply_mask(Entry& entry) {
  if (!entry.keep.defined()) return;
  at::NoGradGuard no_gradients;
  entry.value.mul_(entry.keep);
  if (!optimiser_) return;
  for (auto& buffer : optimiser_->gathered(entry.value)) buffer.mul_(entry.keep);
}

void Training::set_mask(const std::string& name, const at::Tensor& keep) {
  Entry& masked = entry(name);
  if (!keep.defined()) {
    masked.keep = at::Tensor();
    return;
  }
  if (keep.sizes() != masked.value.sizes())
    throw UserError("training", "mask of " + name, to_string(masked.value.sizes().vec()), to_string(keep.sizes().vec()));
  masked.keep = keep.to(at::kFloat);
  apply_mask(masked);
}

void Training::forget(const std::string& name, const at::Tensor& where) {
  for (auto& buffer : optimiser_->gathered(entry(name).value)) buffer.masked_fill_(where, 0);
}

double Training::density() const {
  int64_t kept = 0, all = 0;
  for (const auto& name : prunable()) {
    const Entry& one = entry(name);
    all += one.value.numel();
    kept += one.keep.defined() ? at::count_nonzero(one.keep).item<int64_t>() : one.value.numel();
  }
  return all == 0 ? 1 : static_cast<double>(kept) / static_cast<double>(all);
}

void Training::add_trained(const std::string& name, at::Tensor value, double weight_decay, double rate_factor) {
  ESP_ASSERT(!optimiser_ && !entries_.count(name), "{} is added too late or twice", name);
  names_.push_back(name);
  Entry& added = entries_[name];
  added.value = value.detach().clone().set_requires_grad(true);
  added.weight_decay = weight_decay;
  added.rate_factor = rate_factor;
  added.added = true;
}

void Training::freeze(const std::string& name) {
  ESP_ASSERT(!optimiser_, "{} is frozen too late", name);
  entry(name).frozen = true;
  entry(name).value.set_requires_grad(false);
}

void Training::start() {
  std::vector<TrainOptimiser::Slot> slots;
  for (const auto& name : names_) {
    Entry& one = entry(name);
    apply_mask(one);
    if (!one.added) {
      one.weight_decay = one.value.dim() > 1 || options_.decay_vectors ? options_.weight_decay : 0;
      for (const auto& group : options_.groups) {
        if (!matches_pattern(name, group.pattern)) continue;
        one.rate_factor = group.rate_factor;
        if (group.weight_decay >= 0) one.weight_decay = group.weight_decay;
        if (group.rate_factor == 0) freeze(name);
        break;
      }
    }
    if (!one.frozen) slots.push_back({name, one.value, one.weight_decay, one.rate_factor});
  }
  if (slots.empty()) user_error("training: every parameter is frozen, so there is nothing to train");
  optimiser_ = std::make_unique<TrainOptimiser>(options_, std::move(slots));
  if (options_.average > 0)
    for (const auto& name : names_) averages_[name] = entry(name).value.detach().clone();
}

// Removed weights get no gradient, so that neither they nor their momentum ever move.
void Training::mask_gradients() {
  for (auto& [name, one] : entries_)
    if (one.keep.defined() && one.value.grad().defined()) one.value.mutable_grad().mul_(one.keep);
}

double Training::clip_gradients() {
  std::vector<at::Tensor> norms;
  for (const auto& name : names_) {
    const Entry& one = entry(name);
    if (!one.value.grad().defined()) continue;
    norms.push_back((one.keep.defined() ? one.value.grad() * one.keep : one.value.grad()).norm());
  }
  const double norm = norms.empty() ? 0 : at::stack(norms).norm().item<double>();
  if (norm > options_.clip)
    for (auto& [name, one] : entries_)
      if (one.value.grad().defined()) one.value.mutable_grad().mul_(options_.clip / (norm + 1e-6));
  return norm;
}

void Training::update() {
  optimiser_->step(learning_rate());
  at::NoGradGuard no_gradients;
  for (auto& [name, average] : averages_) average.lerp_(entry(name).value, 1 - options_.average);
}

void Training::record(const std::string& name, double value) {
  const int64_t at = steps_run_ + (in_step_ ? 1 : 0);
  for (auto metric = metrics_.rbegin(); metric != metrics_.rend() && metric->step == at; ++metric) {
    if (metric->name != name) continue;
    metric->value = value;
    return;
  }
  metrics_.push_back({at, name, value});
}

StateStore Training::snapshot() const {
  StateStore store;
  for (const auto& name : names_) store.tensors["weight/" + name] = entry(name).value;
  for (const auto& [name, value] : statistics_) store.tensors["statistic/" + name] = value;
  for (const auto& [name, value] : averages_) store.tensors["average/" + name] = value;
  store.put("optimiser", optimiser_->save());
  store.values["step"] = step_ + (in_step_ ? 1 : 0);
  return store.clone();
}

void Training::restore(const StateStore& store, bool fresh_optimiser) {
  at::NoGradGuard no_gradients;
  for (const auto& name : names_) entry(name).value.copy_(store.tensor("weight/" + name));
  for (auto& [name, value] : statistics_) value.copy_(store.tensor("statistic/" + name));
  for (auto& [name, value] : averages_) value.copy_(store.tensor("average/" + name));
  if (fresh_optimiser) {
    optimiser_->forget_all();
  } else {
    optimiser_->load(store.part("optimiser"));
  }
  step_ = store.values.at("step").get<int64_t>();
  for (auto& [name, one] : entries_) apply_mask(one);
}

StateStore Training::state() const {
  StateStore store;
  store.put("training", snapshot());
  for (const auto& [name, one] : entries_)
    if (one.keep.defined()) store.tensors["mask/" + name] = one.keep.to(at::kBool);
  Json metrics = Json::array();
  for (const auto& metric : metrics_) metrics.push_back({metric.step, metric.name, metric.value});
  store.values["run"] = {{"steps_run", steps_run_}, {"data_order", data_order_}, {"loss", last_loss_}, {"metrics", metrics}};
  return store;
}

void Training::load(const StateStore& store) {
  for (auto& [name, one] : entries_) one.keep = at::Tensor();
  for (const auto& [name, keep] : store.part("mask").tensors) entry(name).keep = keep.to(at::kFloat);
  restore(store.part("training"));
  const Json& run = store.values.at("run");
  steps_run_ = run.at("steps_run").get<int64_t>();
  data_order_ = run.at("data_order").get<uint64_t>();
  last_loss_ = run.at("loss").get<double>();
  metrics_.clear();
  for (const auto& metric : run.at("metrics"))
    metrics_.push_back({metric.at(0).get<int64_t>(), metric.at(1).get<std::string>(), metric.at(2).get<double>()});
}

void Training::store(Graph& graph, bool averaged) const {
  const auto assign = [&](const std::string& name, const at::Tensor& value) {
    Parameter& parameter = graph.parameter(name);
    parameter.assign(from_torch(value, parameter.dtype()));
  };
  for (const auto& name : names_) {
    const Entry& one = entry(name);
    if (one.added) continue;
    const at::Tensor value = averaged && averages_.count(name) ? averages_.at(name) : one.value.detach();
    assign(name, one.keep.defined() ? value * one.keep : value);
  }
  for (const auto& [name, value] : statistics_) assign(name, value);
}

Graph Training::result(bool averaged) const {
  Graph graph = graph_.clone();
  store(graph, averaged);
  return graph;
}

uint64_t Training::optimiser_bytes() const { return optimiser_->state_bytes(); }

}  // namespace espalier
