#include "espalier/core/error.h"
#include "espalier/lab/allocation/sap_counts.h"
#include "espalier/lab/criteria/pq_index.h"
#include "espalier/lab/torch.h"
#include "runner.h"

namespace espalier::golden::pq_index_sap_cases {
namespace {

std::vector<double> list_of(const Case& c, const std::string& key) {
  std::vector<double> values;
  for (const Json& value : c.params.at(key)) values.push_back(value.get<double>());
  return values;
}

SapSettings settings_of(const Case& c, SapScope scope) {
  SapSettings settings{c.number("p"), c.number("q"), c.number_or("eta", 0), c.number_or("gamma", 1), c.number_or("beta", 0.9), scope};
  check_sap(settings, c.where());
  return settings;
}

at::Tensor column(const std::vector<double>& values) { return at::tensor(values, at::kDouble); }
at::Tensor column(const std::vector<int64_t>& values) { return at::tensor(values, at::kLong); }

Tensors index_pairs(const Case& c) {
  std::vector<double> of_x, of_heavy;
  for (const Json& pair : c.params.at("pairs")) {
    const double p = pair.at(0).get<double>(), q = pair.at(1).get<double>();
    of_x.push_back(pq_index(c.input("x"), p, q, c.name));
    of_heavy.push_back(pq_index(c.input("heavy"), p, q, c.name));
  }
  return {{"pqi_x", column(of_x)},
          {"pqi_heavy", column(of_heavy)},
          {"gini", column(std::vector<double>{gini_index(c.input("x"), c.name), gini_index(c.input("heavy"), c.name)})}};
}

Tensors extremes(const Case& c) {
  std::vector<double> values;
  for (const char* name : {"constant", "one_hot", "zeros"}) values.push_back(pq_index(c.input(name), c.number("p"), c.number("q"), c.name));
  return {{"pqi", column(values)}, {"one_hot_limit", scalar(values[1])}};
}

Tensors scale_and_clone(const Case& c) {
  const at::Tensor& x = c.input("x");
  std::vector<double> values;
  for (const at::Tensor& of : {x, x * c.input("scale"), at::cat({x, x})}) values.push_back(pq_index(of, c.number("p"), c.number("q"), c.name));
  return {{"pqi", column(values)}};
}

Tensors one_tensor(const Case& c, SapScope scope) {
  const at::Tensor mask = c.input("mask_in").clone();
  const auto groups = sap_round({c.input("W")}, {mask}, settings_of(c, scope), c.name);
  std::vector<double> index, rate;
  std::vector<int64_t> alive, retained, removed;
  for (const SapGroup& group : groups) {
    index.push_back(group.count.index);
    rate.push_back(group.count.rate);
    alive.push_back(group.count.alive);
    retained.push_back(group.count.retained);
    removed.push_back(group.count.removed);
  }
  return {{"pqi", column(index)}, {"rate", column(rate)},       {"d", column(alive)},
          {"retain", column(retained)}, {"removed", column(removed)}, {"mask_out", mask}};
}

Tensors layer_scope(const Case& c) { return one_tensor(c, SapScope::kLayer); }
Tensors neuron_scope(const Case& c) { return one_tensor(c, SapScope::kNeuron); }

Tensors global_scope(const Case& c) {
  LayerTensors weights, masks;
  while (c.has_input(fmt::format("W{}", weights.size()))) {
    weights.push_back(c.input(fmt::format("W{}", weights.size())));
    const std::string mask = fmt::format("mask_in_{}", masks.size());
    masks.push_back(c.has_input(mask) ? c.input(mask).clone() : at::ones(weights.back().sizes(), at::kBool));
  }
  const auto groups = sap_round(weights, masks, settings_of(c, SapScope::kGlobal), c.name);
  const SapCount& count = groups.at(0).count;
  Tensors outputs{{"pqi", scalar(count.index)}, {"d", scalar(count.alive)}, {"rate", scalar(count.rate)},
                  {"retain", scalar(count.retained)}, {"removed", scalar(count.removed)}};
  for (size_t l = 0; l < masks.size(); ++l) outputs[fmt::format("mask_out_{}", l)] = masks[l];
  return outputs;
}

Tensors count_table(const Case& c) {
  const auto etas = list_of(c, "eta"), gammas = list_of(c, "gamma");
  std::vector<int64_t> removed, retained;
  for (const double eta : etas) {
    SapSettings settings{c.number("p"), c.number("q"), eta, 1, c.number("beta")};
    retained.push_back(sap_retained(c.integer("d"), c.number("pqi"), settings));
    for (const double gamma : gammas) {
      settings.gamma = gamma;
      removed.push_back(sap_count(c.integer("d"), c.number("pqi"), settings).removed);
    }
  }
  const auto rows = static_cast<int64_t>(etas.size()), columns = static_cast<int64_t>(gammas.size());
  return {{"removed", column(removed).view({rows, columns})}, {"retain", column(retained)}};
}

const Register kRegister("42-pq-index-sap", {{"index_pairs", index_pairs},
                                             {"extremes", extremes},
                                             {"scale_and_clone", scale_and_clone},
                                             {"layer_scope", layer_scope},
                                             {"neuron_scope", neuron_scope},
                                             {"global_scope", global_scope},
                                             {"count_table", count_table},
                                             {"ties", layer_scope}});

}  // namespace
}  // namespace espalier::golden::pq_index_sap_cases
