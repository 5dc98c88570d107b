// What loads but should be known: numbers that are not finite, and tensors of nothing but zeros.
#pragma once

#include <cstdint>
#include <string>

#include "espalier/core/tensor.h"
#include "espalier/io/checkpoint.h"

namespace espalier {

struct ValueCounts {
  uint64_t nan = 0, infinite = 0, denormal = 0;  // denormal in the tensor's own type
  bool all_zero = false;                         // and not empty
};

ValueCounts count_values(const Tensor& tensor);  // integers only set all_zero

struct ValueReport {
  uint64_t nan = 0, infinite = 0, denormal = 0, all_zero_tensors = 0;
  std::string first_non_finite, first_denormal, first_all_zero;  // tensor names, "" if none

  bool finite() const { return nan + infinite == 0; }
  std::string text() const;  // one line, "" if there is nothing to report
};

// Reads every weight once, giving the pages back.
ValueReport inspect_values(const Checkpoint& checkpoint);

}  // namespace espalier
