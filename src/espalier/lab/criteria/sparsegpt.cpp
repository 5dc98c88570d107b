#include "espalier/lab/criteria/sparsegpt.h"

#include <ATen/Parallel.h>

#include "espalier/core/error.h"
#include "espalier/core/ranking.h"
#include "espalier/lab/repair/obs_factor.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

constexpr int64_t kRowsPerTask = 64;

// The columns [begin, begin + width), whose masks are chosen together.
struct Block {
  int64_t begin = 0, width = 0;
  at::Tensor factor;            // U_bb, the block's part of U on the diagonal, fp32 [width, width]
  std::vector<float> per_unit;  // 1 / U_jj

  int64_t end() const { return begin + width; }
};

struct Pass {
  at::Tensor weight, keep;  // fp32 and bool [out, in]
  at::Tensor factor;        // R, fp32 [in, in]
  at::Tensor owed;          // sum of y_k R_k over the finished blocks k, fp32 [out, in]
  SparseGptOptions options;
  std::string name;

  int64_t rows() const { return weight.size(0); }
  int64_t inputs() const { return weight.size(1); }
  float* weights_at(int64_t row, int64_t column) { return weight.data_ptr<float>() + row * inputs() + column; }
  std::span<uint8_t> keep_at(int64_t row, const Block& block) {
    return mask_bytes(keep).subspan(row * inputs() + block.begin, block.width);
  }
};

void check_options(const SparseGptOptions& options, int64_t inputs, const std::string& name) {
  check_pattern({.sparsity = options.sparsity, .n_of_m = options.n_of_m, .block = options.run}, inputs, name);
  const int64_t step = options.n_of_m ? options.n_of_m->m : options.run;
  if (options.block < 1 || options.block % step) {
    throw UserError(name, "block", fmt::format("a positive multiple of {}", step), fmt::format("{}", options.block));
  }
}

Block make_block(const Pass& pass, int64_t begin) {
  Block block{begin, std::min(pass.options.block, pass.inputs() - begin), {}, {}};
  const auto r = pass.factor.slice(0, begin, block.end()).slice(1, begin, block.end()).to(at::kDouble);
  const auto identity = at::eye(block.width, at::kDouble);
  block.factor = at::linalg_solve_triangular(r, identity, /*upper=*/true).to(at::kFloat).contiguous();
  const auto diagonal = r.diagonal().to(at::kFloat).contiguous();  // U_jj = 1 / R_jj
  const auto values = float_span(diagonal);
  block.per_unit.assign(values.begin(), values.end());
  return block;
}

// (w / U_jj)^2: what removing the weight costs, given the columns that are still to come.
void score(const float* weights, const float* per_unit, std::span<float> out) {
  for (size_t j = 0; j < out.size(); ++j) {
    const float scaled = weights[j] * per_unit[j];
    out[j] = scaled * scaled;
  }
}

// The floor(s * rows * width) cheapest weights over all rows of the block, or as many runs of a row by their sums.
void choose_block_mask(Pass& pass, const Block& block) {
  at::Tensor scores = at::empty({pass.rows(), block.width}, at::kFloat);
  float* first = scores.data_ptr<float>();
  at::parallel_for(0, pass.rows(), kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      score(pass.weights_at(r, block.begin), block.per_unit.data(), {first + r * block.width, static_cast<size_t>(block.width)});
  });
  const Pattern whole_block{pass.options.sparsity, Scope::kLayer, std::nullopt, pass.options.run};
  pass.keep.slice(1, block.begin, block.end()).copy_(keep_mask(scores, whole_block, pass.name));
}

// The columns of one row: each removed weight is set to 0 and its error spread over the rest of the block.
void prune_row(float* weights, std::span<uint8_t> keep, const Block& block, const std::optional<NOfM>& n_of_m) {
  const int64_t width = block.width;
  const float* factor = block.factor.data_ptr<float>();
  std::vector<float> scores(n_of_m ? n_of_m->m : 0);
  for (int64_t j = 0; j < width; ++j) {
    if (n_of_m && j % n_of_m->m == 0) {
      score(weights + j, &block.per_unit[j], scores);
      keep_n_of_m(scores, n_of_m->n, n_of_m->m, keep.subspan(j, n_of_m->m));
    }
    if (keep[j]) continue;
    const float error = weights[j] * block.per_unit[j];
    const float* u = factor + j * width;
    weights[j] = 0;
    for (int64_t i = j + 1; i < width; ++i) weights[i] -= error * u[i];
  }
}

void prune_block(Pass& pass, const Block& block) {
  auto columns = pass.weight.slice(1, block.begin, block.end());
  const auto original = columns.clone();
  columns.add_(at::mm(pass.owed.slice(1, block.begin, block.end()), block.factor));
  if (!pass.options.n_of_m) choose_block_mask(pass, block);
  at::parallel_for(0, pass.rows(), kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      prune_row(pass.weights_at(r, block.begin), pass.keep_at(r, block), block, pass.options.n_of_m);
    }
  });
  if (block.end() == pass.inputs()) return;
  auto owed = pass.owed.slice(1, block.end());
  owed.addmm_(original - columns, pass.factor.slice(0, block.begin, block.end()).slice(1, block.end()));
}

// Dead inputs get a unit diagonal, so that the factor exists, and zero weights.
at::Tensor revive_dead_inputs(const at::Tensor& hessian, at::Tensor& weight) {
  const auto dead = hessian.diagonal() == 0;
  if (!dead.any().item<bool>()) return hessian;
  weight.masked_fill_(dead, 0);
  auto revived = hessian.clone();
  revived.diagonal().masked_fill_(dead, 1);
  return revived;
}

}  // namespace

int64_t sparsegpt_removal(int64_t rows, int64_t inputs, const SparseGptOptions& options, const std::string& name) {
  check_options(options, inputs, name);
  if (options.n_of_m) return rows * inputs / options.n_of_m->m * (options.n_of_m->m - options.n_of_m->n);
  int64_t removed = 0;
  for (int64_t begin = 0; begin < inputs; begin += options.block)
    removed += options.run * removal_count(options.sparsity, rows * std::min(options.block, inputs - begin) / options.run);
  return removed;
}

SparseGptResult sparsegpt(const at::Tensor& weight, const at::Tensor& hessian, const SparseGptOptions& options,
                          const std::string& name) {
  at::NoGradGuard no_grad;
  Pass pass{as_matrix(weight).clone(), {}, {}, {}, options, name};
  const int64_t inputs = pass.inputs();
  check_options(options, inputs, name);
  if (hessian.dim() != 2 || hessian.size(0) != inputs || hessian.size(1) != inputs) {
    throw UserError(name, "Hessian", fmt::format("[{0}, {0}]", inputs), fmt::format("{} elements", hessian.numel()));
  }
  if (!at::isfinite(pass.weight).all().item<bool>()) user_error("{}: the weights are not finite", name);
  pass.keep = at::ones(pass.weight.sizes(), at::kBool);
  pass.owed = at::zeros_like(pass.weight);
  pass.factor = upper_factor(revive_dead_inputs(hessian, pass.weight), options.damp, name).to(at::kFloat).contiguous();
  for (int64_t begin = 0; begin < inputs; begin += options.block) prune_block(pass, make_block(pass, begin));
  return {pass.weight, pass.keep};
}

}  // namespace espalier
