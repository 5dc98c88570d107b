// The rows of a weight as the numbers that a precision can hold.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "espalier/core/tensor.h"
#include "espalier/engine/weight_matrix.h"

namespace espalier {

class WeightCodes {
 public:
  // weight: floating, [rows, columns]; UserError naming `name` if it is not, or on a group that is none of 0, 32, 64, 128.
  WeightCodes(const Tensor& weight, Precision precision, int64_t group, std::string name);

  // Row `row` rounded to the precision (int8: the integers, -127 … 127), then zeros up to the next multiple of 64.
  // UserError on a number that int8 has no scale for. Valid until the next call.
  std::span<const float> read(int64_t row);
  // Scales of the row read last, ceil(columns / group) or one; empty unless int8.
  std::span<const float> scales() const { return scales_; }
  // Writes numbers of read() in the precision's own bytes.
  void write(const float* codes, int64_t count, std::byte* target) const;

 private:
  void quantize(int64_t row);

  Tensor weight_;
  Precision precision_;
  int64_t group_;  // columns a scale, the whole row's for 0
  std::string name_;
  std::vector<float> row_, scales_;
};

}  // namespace espalier
