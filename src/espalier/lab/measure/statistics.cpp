#include "espalier/lab/measure/statistics.h"

#include <ATen/Parallel.h>

#include <cmath>

#include "espalier/core/error.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

constexpr int64_t kStrip = 1024;        // Gram rows computed at once: only columns from the strip's first one on
constexpr int64_t kChunkTokens = 4096;  // bounds the fp32 copy of half-precision activations
constexpr int64_t kColumnsPerTask = 256;

void require_tokens_of(int64_t tokens, const std::string& name) {
  if (tokens == 0) user_error("{}: the calibration set is empty", name);
}

void check_width(const at::Tensor& x, int64_t width, const std::string& name) {
  if (x.dim() >= 1 && x.size(-1) == width) return;
  throw UserError(name, "width of the activations", fmt::format("{}", width),
                  x.dim() < 1 ? "a scalar" : fmt::format("{}", x.size(-1)));
}

// The strips of chunk^T chunk on and above the diagonal, added to `sum`.
void add_upper_strips(at::Tensor& sum, const at::Tensor& chunk) {
  const int64_t width = chunk.size(1);
  for (int64_t start = 0; start < width; start += kStrip) {
    const int64_t rows = std::min(kStrip, width - start);
    auto target = sum.narrow(0, start, rows).narrow(1, start, width - start);
    const auto left = chunk.narrow(1, start, rows).t(), right = chunk.narrow(1, start, width - start);
    if (sum.scalar_type() == at::kFloat) {
      target.addmm_(left, right);
    } else {
      target.add_(at::mm(left, right));
    }
  }
}

}  // namespace

at::Tensor as_tokens(const at::Tensor& x, int64_t width, const std::string& name) {
  check_width(x, width, name);
  return x.detach().reshape({-1, width}).to(at::kFloat).contiguous();
}

ColumnNorms::ColumnNorms(int64_t width, std::string name) : name_(std::move(name)), squares_(width) {}

void ColumnNorms::add(const at::Tensor& x) {
  const auto tokens = as_tokens(x, std::ssize(squares_), name_);
  const float* data = tokens.data_ptr<float>();
  const int64_t count = tokens.size(0), width = tokens.size(1);
  at::parallel_for(0, width, kColumnsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t t = 0; t < count; ++t) {
      const float* row = data + t * width;
      for (int64_t j = begin; j < end; ++j) squares_[j] += static_cast<double>(row[j]) * row[j];
    }
  });
  // Squares of finite fp32 numbers cannot overflow an fp64 sum, so only the sums need looking at.
  for (int64_t j = 0; j < width; ++j) {
    if (!std::isfinite(squares_[j])) user_error("{}: the activations of input {} are not finite", name_, j);
  }
  tokens_ += count;
}

at::Tensor ColumnNorms::norms() const {
  require_tokens_of(tokens_, name_);
  auto result = at::empty({std::ssize(squares_)}, at::kFloat);
  float* out = result.data_ptr<float>();
  for (size_t j = 0; j < squares_.size(); ++j) out[j] = static_cast<float>(std::sqrt(squares_[j]));
  return result;
}

GramAccumulator::GramAccumulator(int64_t width, std::string name)
    : name_(std::move(name)), upper_(at::zeros({width, width}, width <= kWideGram ? at::kDouble : at::kFloat)) {}

void GramAccumulator::add(const at::Tensor& x) {
  check_width(x, upper_.size(0), name_);
  const auto flat = x.detach().reshape({-1, x.size(-1)});
  for (int64_t start = 0; start < flat.size(0); start += kChunkTokens) {
    const auto chunk = flat.narrow(0, start, std::min(kChunkTokens, flat.size(0) - start));
    add_upper_strips(upper_, as_tokens(chunk, upper_.size(0), name_));
  }
  // A NaN or infinity in column j reaches G_jj, whatever the other columns hold.
  const auto bad = at::isfinite(upper_.diagonal()).logical_not().nonzero();
  if (bad.size(0)) user_error("{}: the activations of input {} are not finite", name_, bad[0][0].item<int64_t>());
  tokens_ += flat.size(0);
}

void GramAccumulator::require_tokens() const { require_tokens_of(tokens_, name_); }

at::Tensor GramAccumulator::gram() const {
  require_tokens();
  const int64_t width = upper_.size(0);
  auto full = upper_.clone();
  for (int64_t start = 0; start < width; start += kStrip) {
    const int64_t end = std::min(width, start + kStrip);
    auto block = full.slice(0, start, end).slice(1, start, end);
    block.copy_(block.triu() + block.triu(1).t());
    full.slice(0, end).slice(1, start, end).copy_(full.slice(0, start, end).slice(1, end).t());
  }
  return full;
}

at::Tensor GramAccumulator::hessian() const {
  require_tokens();
  return gram().mul_(2.0 / static_cast<double>(tokens_));
}

at::Tensor GramAccumulator::column_norms() const {
  require_tokens();
  return upper_.diagonal().sqrt().to(at::kFloat);
}

}  // namespace espalier
