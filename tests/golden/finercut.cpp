#include "espalier/lab/allocation/greedy_search.h"
#include "espalier/lab/measure/distance.h"
#include "espalier/lab/torch.h"
#include "runner.h"

namespace espalier::golden::finercut_cases {
namespace {

// h <- h + tanh(h W_k) for every k that is not removed; logits = h U.
at::Tensor toy_logits(const Case& c, const std::vector<int>& removed) {
  auto h = c.floats("x");
  const auto w = c.floats("W");
  for (int64_t k = 0; k < w.size(0); ++k) {
    if (std::find(removed.begin(), removed.end(), k) == removed.end()) h = h + h.matmul(w[k]).tanh();
  }
  return h.matmul(c.floats("U"));
}

DistanceOf toy_distance(const Case& c) {
  const Metric metric = metric_from_name(c.text_or("metric", "js"));
  const auto reference = toy_logits(c, {});
  return [&c, metric, reference](const std::vector<int>& removed, double) {
    return distance(metric, reference, toy_logits(c, removed));
  };
}

int candidates_of(const Case& c) { return static_cast<int>(c.input("W").size(0)); }

std::vector<int64_t> longs(const std::vector<int>& values) { return {values.begin(), values.end()}; }

Tensors distances(const Case& c) {
  const auto reference = c.floats("ref_logits"), logits = c.floats("logits");
  Tensors outputs;
  for (const std::string name : {"norm", "angular", "kl", "js"}) {
    outputs[name] = scalar(distance(metric_from_name(name), reference, logits));
  }
  outputs["js_mixture_target"] = scalar(distance(Metric::kJsCode, reference, logits));
  return outputs;
}

Tensors distances_edge(const Case& c) {
  Tensors outputs;
  for (const std::string name : {"norm", "angular", "kl", "js"}) {
    for (const std::string other : {"same", "opposite"}) {
      outputs[name + "_" + other] = scalar(distance(metric_from_name(name), c.floats("ref_logits"), c.floats(other)));
    }
  }
  return outputs;
}

Tensors greedy(const Case& c) {
  GreedyOptions options;
  options.budget.remove = static_cast<int>(c.integer("remove"));
  if (c.params.contains("protect_front")) {
    const int blocks = static_cast<int>(c.integer("blocks"));
    options.front = protect_front(c.number("protect_front"), blocks, candidates_of(c) / std::max(1, blocks));
  } else {
    options.front.excluded = static_cast<int>(c.integer_or("front_excluded", 0));
  }
  const auto result = greedy_search(candidates_of(c), options, toy_distance(c));
  return {{"removed", at::tensor(longs(result.removed), at::kLong)},
          {"distance", at::tensor(result.distance, at::kDouble)},
          {"front_excluded", scalar(int64_t{options.front.excluded})},
          {"returns_after", scalar(int64_t{options.front.returns_after})}};
}

Tensors one_shot(const Case& c) {
  const RemovalBudget budget{static_cast<int>(c.integer("remove")), {}};
  const ProtectedFront front{static_cast<int>(c.integer_or("front_excluded", 0))};
  const auto found = one_shot_search(candidates_of(c), budget, front, toy_distance(c));
  return {{"distance_each", at::tensor(found.distance_each, at::kDouble)},
          {"removed", at::tensor(longs(found.result.removed), at::kLong)}};
}

const Register kRegister("26-finercut", {{"distances", distances},
                                         {"distances_edge_identical_and_opposite", distances_edge},
                                         {"greedy_norm", greedy},
                                         {"greedy_angular", greedy},
                                         {"greedy_kl", greedy},
                                         {"greedy_js", greedy},
                                         {"greedy_js_front_protected", greedy},
                                         {"greedy_js_front_returns", greedy},
                                         {"one_shot_js", one_shot}});

}  // namespace
}  // namespace espalier::golden::finercut_cases
