#include <map>

#include "espalier/core/error.h"
#include "espalier/lab/interpreter/kernel.h"
#include "espalier/lab/torch.h"

namespace espalier::compare_kernel {
namespace {

using Comparison = at::Tensor (*)(const at::Tensor& a, const at::Tensor& b);

// One entry a kind of graph/ops/compare.cpp.
const std::map<std::string, Comparison>& comparisons() {
  static const std::map<std::string, Comparison> table = {
      {"equal", [](auto& a, auto& b) { return at::eq(a, b); }},
      {"less", [](auto& a, auto& b) { return at::lt(a, b); }},
      {"less_or_equal", [](auto& a, auto& b) { return at::le(a, b); }},
      {"greater", [](auto& a, auto& b) { return at::gt(a, b); }},
      {"greater_or_equal", [](auto& a, auto& b) { return at::ge(a, b); }},
      {"and", [](auto& a, auto& b) { return at::logical_and(a, b); }},
      {"or", [](auto& a, auto& b) { return at::logical_or(a, b); }},
      {"xor", [](auto& a, auto& b) { return at::logical_xor(a, b); }},
  };
  return table;
}

const RegisterKernel registered("Compare", [](const KernelContext& c) -> std::vector<at::Tensor> {
  const auto found = comparisons().find(c.node.text("kind"));
  ESP_ASSERT(found != comparisons().end(), "comparison {}", c.node.text("kind"));
  return {found->second(c.inputs[0], c.inputs[1])};
});

}  // namespace
}  // namespace espalier::compare_kernel
