#include "espalier/lab/repair/obs.h"

#include "espalier/core/error.h"
#include "espalier/lab/torch.h"

namespace espalier {

at::Tensor obs_saliency(const at::Tensor& w, const at::Tensor& inverse) {
  return w.to(inverse.scalar_type()).square() / (2 * inverse.diagonal());
}

ObsStep obs_remove(const at::Tensor& w, const at::Tensor& inverse, int64_t q) {
  ESP_ASSERT(w.dim() == 1 && q >= 0 && q < w.size(0), "weight {} of {}", q, w.size(0));
  const auto column = inverse.select(1, q), row = inverse.select(0, q);
  const double pivot = inverse[q][q].item<double>();
  ESP_ASSERT(pivot > 0, "weight {} was removed before", q);
  auto updated = w.to(inverse.scalar_type());
  updated = updated - column * (updated[q].item<double>() / pivot);
  updated[q] = 0;
  auto next = inverse - at::outer(column, row) / pivot;
  next.select(0, q).zero_();
  next.select(1, q).zero_();
  return {updated, next};
}

at::Tensor obs_remove_columns(const at::Tensor& w, const at::Tensor& inverse, const at::Tensor& columns) {
  if (columns.numel() == 0) return w.clone();
  const auto rows_of_inverse = inverse.index_select(0, columns);
  const auto lower = at::linalg_cholesky(rows_of_inverse.index_select(1, columns));
  const auto removed = w.index_select(1, columns).to(inverse.scalar_type());
  const auto multipliers = at::cholesky_solve(removed.t(), lower).t();
  auto updated = (w.to(inverse.scalar_type()) - multipliers.matmul(rows_of_inverse)).to(w.scalar_type());
  updated.index_fill_(1, columns, 0);
  return updated;
}

double output_error(const at::Tensor& w, const at::Tensor& w_new, const at::Tensor& gram) {
  const auto change = w.to(at::kDouble) - w_new.to(at::kDouble);
  return (change.matmul(gram.to(at::kDouble)) * change).sum().item<double>();
}

}  // namespace espalier
