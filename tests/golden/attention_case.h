// The rows of a golden case through a sequence of the engine, under an attention policy.
#pragma once

#include "../engine/attention/recorder.h"
#include "espalier/lab/torch.h"
#include "runner.h"

namespace espalier::golden {

// x [heads, tokens, size] behind the first `before` rows, which stay 0: [tokens, heads · size].
inline std::vector<float> rows_of(const at::Tensor& x, int64_t before = 0) {
  const auto list = x.transpose(0, 1).to(at::kFloat).contiguous();
  std::vector<float> rows(static_cast<size_t>(before * x.size(0) * x.size(2)), 0.0f);
  rows.insert(rows.end(), list.data_ptr<float>(), list.data_ptr<float>() + list.numel());
  return rows;
}

struct AttentionCase {
  Oracle oracle;
  int64_t queries, first;  // of Q; the position of its first row
  Recording recording;
  Run run;

  // Q, K and V of the case; fewer rows of Q than of K are the last ones. base: of rotary positions, 0: none.
  explicit AttentionCase(const Case& c, double base = 0)
      : oracle(c.input("Q").size(0), c.input("K").size(0), c.input("Q").size(2), c.input("K").size(1), 1, false), queries(c.input("Q").size(1)),
        first(oracle.tokens - queries) {
    const int64_t size = oracle.layer.head_size;
    for (int64_t i = 0; base > 0 && i < size / 2; ++i)
      oracle.layer.inverse_frequency.push_back(std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(size)));
    oracle.q = rows_of(c.input("Q"), first), oracle.k = rows_of(c.input("K")), oracle.v = rows_of(c.input("V"));
  }

  void attend(const AttentionRequest& request) {
    run = run_recorded(oracle, request, first > 0 ? std::vector<int64_t>{first, queries} : std::vector<int64_t>{queries}, recording);
  }

  // [tokens, heads, …] by token, as [heads, queries, …].
  at::Tensor last_rows(std::vector<float>& rows, at::IntArrayRef shape) const {
    const auto all = at::from_blob(rows.data(), shape, at::kFloat).narrow(0, first, queries);
    return all.transpose(0, 1).to(at::kDouble).contiguous();
  }
  at::Tensor out() { return last_rows(run.out, {oracle.tokens, oracle.layer.heads, oracle.layer.head_size}); }
  at::Tensor log_sum_exp() { return last_rows(recording.log_sum_exp, {oracle.tokens, oracle.layer.heads}); }
};

inline at::Tensor integers(const std::vector<int64_t>& values, at::IntArrayRef shape) { return at::tensor(values, at::kLong).reshape(shape); }

}  // namespace espalier::golden
