// Cosines and sines of the rotations that one forward needs, as the laboratory's interpreter takes them: fp32 angles.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "espalier/engine/attention/sequence.h"
#include "espalier/engine/kernels.h"

namespace espalier {

class RotaryRows {
 public:
  // Frequencies that layers share are computed once.
  explicit RotaryRows(std::span<const AttentionLayer> layers);

  // Row t belongs to position(t), a function of int64_t.
  template <typename Position>
  void prepare(int64_t rows, const Position& position) {
    resize(rows);
    for (int64_t t = 0; t < rows; ++t) fill(t, position(t));
  }
  // Rows 0 … rows-1 for the positions of the same number, keeping those that are there.
  void extend(int64_t rows);

  // x[0, 2·pairs) of a head becomes its rotation by row t; nothing for layers without rotation.
  void rotate(int layer, int64_t t, float* x) const;
  bool rotates(int layer) const { return set_of_[static_cast<size_t>(layer)] >= 0; }

 private:
  struct Set {
    std::vector<float> frequency;
    float scale = 1;
    std::vector<float> table;  // [rows, 2, pairs]
  };
  void resize(int64_t rows);
  void fill(int64_t t, int64_t position);

  const VectorKernels& kernels_;
  std::vector<Set> sets_;
  std::vector<int> set_of_;  // by layer; -1: none
  int64_t rows_ = 0;
};

}  // namespace espalier
