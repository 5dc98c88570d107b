// How unequal the magnitudes of a vector are: the PQ index (Diao et al., 2023) and Gini's.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace espalier {

// 1 - d^(1/q - 1/p) · ||w||_p / ||w||_q over all d entries, with ||w||_p = (sum of |w|^p)^(1/p): 0 when they are equal,
// near 1 when few carry everything; neither scale nor copies of the vector change it. 0 for an empty or an all-zero one.
// Pass the kept entries only: zeros that count raise it. UserError naming `where`: not 0 < p < q, an entry that is not
// finite.
double pq_index(const at::Tensor& entries, double p, double q, const std::string& where);

// Gini's index of |w|: 0 when all are equal, 0 for an empty or an all-zero vector.
double gini_index(const at::Tensor& entries, const std::string& where);

void check_pq(double p, double q, const std::string& where);

// The same over pieces that are never all in memory.
class PqSums {
 public:
  PqSums(double p, double q, std::string where);
  void add(const at::Tensor& entries);
  int64_t count() const { return count_; }
  double index() const;

 private:
  double p_, q_;
  std::string where_;
  int64_t count_ = 0;
  double largest_ = 0, sum_p_ = 0, sum_q_ = 0;  // of (|w| / largest)^p and ^q: powers of large entries overflow
};

}  // namespace espalier
