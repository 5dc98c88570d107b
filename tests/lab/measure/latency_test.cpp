#include "espalier/lab/measure/latency.h"

#include <gtest/gtest.h>

#include "espalier/core/assets.h"
#include "espalier/graph/operator.h"
#include "espalier/structure/surgery.h"

namespace espalier {
namespace {

TEST(Latency, TheEngineIsTimedWhereItCanRunTheGraph) {
  Model model = load_model(resolve_model("espalier-fashion-cnn"));
  EXPECT_STREQ(timing_place(model), "engine");
  EXPECT_STREQ(timing_place(load_model(resolve_model("espalier-tiny"))), "interpreter");
  model.graph.nodes.front().op = "Opaque";
  EXPECT_STREQ(timing_place(model), "interpreter");
}

// Without three of four channels of every layer hardly anything is left to do.
TEST(Latency, ACutNetworkTakesLessTime) {
  const Model model = load_model(resolve_model("espalier-fashion-cnn"));
  Graph graph = model.graph.clone();
  for (size_t i = 0; i < find_coupling(model.graph).groups.size(); ++i) {
    const Coupling coupling = find_coupling(graph);
    std::vector<int64_t> kept;
    for (int64_t set = 0; set < coupling.groups[i].set_count; set += 4) kept.push_back(set);
    cut(graph, coupling, coupling.groups[i].id, kept);
  }
  EXPECT_LT(ForwardTimer(model).ratio_of(graph, {.most_rounds = 15}).value, 0.9);
}

}  // namespace
}  // namespace espalier
