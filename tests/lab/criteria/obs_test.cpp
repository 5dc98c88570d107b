#include "espalier/lab/repair/obs.h"

#include "espalier/lab/repair/obs_factor.h"
#include "espalier/lab/torch.h"
#include "tests/support.h"

namespace espalier {
namespace {

struct Problem {
  at::Tensor x, w, gram, inverse;  // fp64; the inverse of (2/N) X^T X without damping
};

Problem make_problem(uint64_t seed) {
  at::manual_seed(seed);
  const auto x = at::randn({60, 9}, at::kDouble).matmul(at::randn({9, 9}, at::kDouble));
  const auto gram = x.t().matmul(x);
  return {x, at::randn({3, 9}, at::kDouble), gram, damped_inverse(gram * (2.0 / 60), 0, "layer")};
}

// min over v with v_Q = 0 of ||X (w - v)||, solved by normal equations on the survivors.
at::Tensor least_squares(const Problem& p, const at::Tensor& w, const std::vector<int64_t>& survivors) {
  const auto index = at::tensor(survivors, at::kLong);
  const auto xs = p.x.index_select(1, index);
  const auto solution = at::linalg_solve(xs.t().matmul(xs), xs.t().matmul(p.x.matmul(w)).unsqueeze(1)).squeeze(1);
  return at::zeros_like(w).index_copy(0, index, solution);
}

TEST(Obs, OneWeightEqualsLeastSquares) {
  const auto p = make_problem(1);
  const auto w = p.w[0];
  const auto [updated, next] = obs_remove(w, p.inverse, 4);
  EXPECT_TRUE(at::allclose(updated, least_squares(p, w, {0, 1, 2, 3, 5, 6, 7, 8}), 1e-8, 1e-10));
  EXPECT_EQ(updated[4].item<double>(), 0);
  // Half of w' H w with H = (2/N) G is what the saliency predicts.
  const double predicted = obs_saliency(w, p.inverse)[4].item<double>();
  EXPECT_NEAR(output_error(w.unsqueeze(0), updated.unsqueeze(0), p.gram) / 60, predicted, 1e-8 * predicted);
}

TEST(Obs, DownDatedInverseIsTheInverseOfTheRest) {
  const auto p = make_problem(2);
  const auto next = obs_remove(p.w[0], p.inverse, 3).inverse;
  const auto rest = at::tensor(std::vector<int64_t>{0, 1, 2, 4, 5, 6, 7, 8}, at::kLong);
  const auto h = (p.gram * (2.0 / 60)).index_select(0, rest).index_select(1, rest);
  EXPECT_TRUE(at::allclose(next.index_select(0, rest).index_select(1, rest), at::linalg_inv(h), 1e-6, 1e-9));
  EXPECT_TRUE((next[3] == 0).all().item<bool>());
}

TEST(Obs, SetRemovalEqualsJointLeastSquares) {
  const auto p = make_problem(3);
  const auto updated = obs_remove_columns(p.w, p.inverse, at::tensor(std::vector<int64_t>{7, 2, 5}, at::kLong));
  for (int64_t row = 0; row < 3; ++row) {
    EXPECT_TRUE(at::allclose(updated[row], least_squares(p, p.w[row], {0, 1, 3, 4, 6, 8}), 1e-7, 1e-9));
    for (const int64_t q : {2, 5, 7}) EXPECT_EQ(updated[row][q].item<double>(), 0);
  }
}

TEST(Obs, OneByOneEqualsAtOnce) {
  const auto p = make_problem(4);
  at::Tensor w = p.w[0], inverse = p.inverse;
  for (const int64_t q : {1, 8, 3})
    std::tie(w, inverse) = [&] {
      auto step = obs_remove(w, inverse, q);
      return std::pair(step.w, step.inverse);
    }();
  const auto at_once = obs_remove_columns(p.w, p.inverse, at::tensor(std::vector<int64_t>{1, 3, 8}, at::kLong));
  EXPECT_TRUE(at::allclose(w, at_once[0], 1e-7, 1e-9));
}

TEST(Obs, UpperFactorIsTheInverseOfTheCholeskyFactorOfTheInverse) {
  at::manual_seed(5);
  for (const int64_t n : {1, 5, 300}) {
    const auto x = at::randn({2 * n, n}, at::kDouble);
    const auto h = x.t().matmul(x);
    const auto r = upper_factor(h, 0.01, "layer");
    EXPECT_TRUE(at::allclose(r.matmul(r.t()), damped_hessian(h, 0.01, "layer"), 1e-10, 1e-8)) << n;
    const auto u = at::linalg_cholesky(damped_inverse(h, 0.01, "layer")).t();
    EXPECT_TRUE(at::allclose(at::linalg_inv(r), u, 1e-6, 1e-10)) << n;
  }
}

}  // namespace
}  // namespace espalier
