#include "espalier/lab/criteria/masks.h"

#include <ATen/Parallel.h>

#include "espalier/core/error.h"
#include "espalier/core/ranking.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

at::Tensor all_kept(at::IntArrayRef sizes) { return at::ones(sizes, at::kBool); }

at::Tensor floats(const at::Tensor& scores) { return scores.detach().to(at::kFloat).contiguous(); }

void sum_blocks(std::span<const float> scores, int64_t block, std::span<float> sums) {
  for (size_t i = 0; i < sums.size(); ++i) {
    double sum = 0;
    for (const float score : scores.subspan(i * static_cast<size_t>(block), static_cast<size_t>(block))) sum += double{score};
    sums[i] = static_cast<float>(sum);
  }
}

void select_row(std::span<const float> scores, const Pattern& pattern, std::span<uint8_t> keep) {
  if (pattern.n_of_m) return keep_n_of_m(scores, pattern.n_of_m->n, pattern.n_of_m->m, keep);
  Cut cut = find_cut(scores, removal_count(pattern.sparsity, std::ssize(scores)));
  apply_cut(cut, scores, keep);
}

at::Tensor keep_rows(const RowScores& scores, const Pattern& pattern, const std::string& name) {
  auto mask = all_kept({scores.rows, scores.cols});
  const auto keep = mask_bytes(mask);
  at::parallel_for(0, scores.rows, 1 + 65536 / (1 + scores.cols), [&](int64_t begin, int64_t end) {
    std::vector<float> row(scores.cols);
    for (int64_t r = begin; r < end; ++r) {
      scores.fill(r, row);
      check_no_nan(row, name);
      select_row(row, pattern, keep.subspan(r * scores.cols, scores.cols));
    }
  });
  return mask;
}

// What `scores` gives, summed over blocks of a row.
RowScores summed(const RowScores& scores, int64_t block) {
  const auto fill = [&scores, block](int64_t row, std::span<float> out) {
    std::vector<float> whole(static_cast<size_t>(scores.cols));
    scores.fill(row, whole);
    sum_blocks(whole, block, out);
  };
  return {scores.rows, scores.cols / block, fill};
}

at::Tensor keep_layer(const at::Tensor& scores, double sparsity, const std::string& name) {
  return keep_units(scores, removal_count(sparsity, scores.numel()), name);
}

}  // namespace

void check_pattern(const Pattern& pattern, int64_t inputs, const std::string& where) {
  if (!pattern.n_of_m) {
    check_share(pattern.sparsity, where);
    if (pattern.block < 1 || inputs % pattern.block)
      throw UserError(where, "inputs", fmt::format("a multiple of {} for blocks", pattern.block), fmt::format("{}", inputs));
    return;
  }
  const auto [n, m] = *pattern.n_of_m;
  if (n < 1 || n >= m) throw UserError(where, "pattern n:m", "1 <= n < m", fmt::format("{}:{}", n, m));
  if (inputs % m) throw UserError(where, "inputs", fmt::format("a multiple of {}", m), fmt::format("{}", inputs));
}

at::Tensor as_matrix(const at::Tensor& weight) {
  return weight.detach().reshape({weight.size(0), -1}).to(at::kFloat).contiguous();
}

std::span<const float> float_span(const at::Tensor& tensor) {
  ESP_ASSERT(tensor.scalar_type() == at::kFloat && tensor.is_contiguous());
  return {tensor.data_ptr<float>(), static_cast<size_t>(tensor.numel())};
}

std::span<uint8_t> mask_bytes(const at::Tensor& mask) {
  static_assert(sizeof(bool) == 1);
  ESP_ASSERT(mask.scalar_type() == at::kBool && mask.is_contiguous());
  return {reinterpret_cast<uint8_t*>(mask.data_ptr<bool>()), static_cast<size_t>(mask.numel())};
}

at::Tensor block_sums(const at::Tensor& scores, int64_t block) {
  const at::Tensor held = floats(scores);
  const int64_t cols = held.size(-1) / block;
  at::Tensor sums = at::empty({held.size(0), cols}, at::kFloat);
  for (int64_t r = 0; r < held.size(0); ++r)
    sum_blocks({held.data_ptr<float>() + r * held.size(1), static_cast<size_t>(cols * block)}, block,
               {sums.data_ptr<float>() + r * cols, static_cast<size_t>(cols)});
  return sums;
}

at::Tensor of_blocks(const at::Tensor& mask, int64_t block) { return mask.repeat_interleave(block, 1); }

at::Tensor keep_mask(const RowScores& scores, const Pattern& pattern, const std::string& name) {
  check_pattern(pattern, scores.cols, name);
  if (!pattern.n_of_m && pattern.block > 1)
    return of_blocks(keep_mask(summed(scores, pattern.block), {pattern.sparsity, pattern.scope}, name), pattern.block);
  if (pattern.n_of_m || pattern.scope == Scope::kRow) return keep_rows(scores, pattern, name);
  auto all = at::empty({scores.rows, scores.cols}, at::kFloat);
  at::parallel_for(0, scores.rows, 16, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      scores.fill(r, {all.data_ptr<float>() + r * scores.cols, static_cast<size_t>(scores.cols)});
    }
  });
  return keep_layer(all, pattern.sparsity, name);
}

at::Tensor keep_mask(const at::Tensor& scores, const Pattern& pattern, const std::string& name) {
  const auto held = floats(scores);
  const bool by_row = pattern.n_of_m || pattern.scope == Scope::kRow || pattern.block > 1;
  const int64_t cols = by_row ? held.size(-1) : held.numel();
  check_pattern(pattern, cols, name);
  if (!by_row) return keep_layer(held, pattern.sparsity, name);
  const float* data = held.data_ptr<float>();
  const auto copy_row = [=](int64_t r, std::span<float> out) { std::copy_n(data + r * cols, cols, out.begin()); };
  return keep_mask(RowScores{cols ? held.numel() / cols : 0, cols, copy_row}, pattern, name).reshape(scores.sizes());
}

at::Tensor keep_units(const at::Tensor& scores, int64_t remove, const std::string& name) {
  const auto held = floats(scores);
  const auto values = float_span(held);
  check_no_nan(values, name);
  ESP_ASSERT(remove >= 0 && remove <= std::ssize(values), "{} of {}", remove, values.size());
  auto mask = all_kept(scores.sizes());
  Cut cut = find_cut(values, remove);
  apply_cut(cut, values, mask_bytes(mask));
  return mask;
}

at::Tensor removal_order(const at::Tensor& scores, const std::string& name) {
  const auto held = floats(scores);
  check_no_nan(float_span(held), name);
  const auto order = ascending_order(float_span(held));
  return at::tensor(order, at::kLong);
}

}  // namespace espalier
