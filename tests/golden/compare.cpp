// Comparing an output with its expectation.
#include <cmath>

#include "espalier/core/error.h"
#include "espalier/lab/torch.h"
#include "runner.h"

namespace espalier::golden {
namespace {

const char* kind_of(const at::Tensor& tensor) {
  if (tensor.scalar_type() == at::kBool) return "bool";
  return at::isIntegralType(tensor.scalar_type(), /*includeBool=*/false) ? "int64" : "number";
}

std::string shape_of(const at::Tensor& tensor) {
  return fmt::format("[{}]", fmt::join(tensor.sizes().begin(), tensor.sizes().end(), ", "));
}

bool close(double expected, double found, double rtol, double atol) {
  if (std::isnan(expected) || std::isnan(found)) return std::isnan(expected) && std::isnan(found);
  if (std::isinf(expected) || std::isinf(found)) return expected == found;
  return std::fabs(expected - found) <= atol + rtol * std::fabs(expected);
}

// A scalar may come as [] or as [1].
bool same_shape(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() || (a.numel() == 1 && b.numel() == 1 && a.dim() <= 1 && b.dim() <= 1);
}

}  // namespace

std::string difference(const at::Tensor& expected, const at::Tensor& found, double rtol, double atol) {
  if (!found.defined()) return "no tensor was produced";
  if (!same_shape(expected, found))
    return fmt::format("shape {} expected, {} found", shape_of(expected), shape_of(found));
  const std::string kind = kind_of(expected);
  if (kind != kind_of(found)) return fmt::format("{} expected, {} found", kind, kind_of(found));
  const bool exact = kind != "number";
  const auto a = expected.to(at::kDouble).contiguous(), b = found.to(at::kDouble).contiguous();
  int64_t wrong = 0, first = -1;
  for (int64_t i = 0; i < a.numel(); ++i) {
    if (close(a.data_ptr<double>()[i], b.data_ptr<double>()[i], exact ? 0 : rtol, exact ? 0 : atol)) continue;
    if (wrong++ == 0) first = i;
  }
  if (wrong == 0) return "";
  return fmt::format("{} of {} elements differ; element {}: {:.9g} expected, {:.9g} found", wrong, a.numel(), first,
                     a.data_ptr<double>()[first], b.data_ptr<double>()[first]);
}

}  // namespace espalier::golden
