// Activation: an elementwise function named by the attribute `kind`: silu, gelu (erf), gelu_tanh, relu, quick_gelu.
#include "espalier/graph/operator.h"

namespace espalier {
namespace {

Cost cost(const NodeView& view) { return elementwise_cost(view, 8); }
void couple(Coupler& coupler, const NodeView&) { coupler.pass_through(); }

const RegisterOperator registered({"Activation", same_as_input, cost, couple});

}  // namespace
}  // namespace espalier
