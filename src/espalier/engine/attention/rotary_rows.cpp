#include "espalier/engine/attention/rotary_rows.h"

#include <cmath>

namespace espalier {

RotaryRows::RotaryRows(std::span<const AttentionLayer> layers) : kernels_(vector_kernels()) {
  for (const AttentionLayer& layer : layers) {
    if (layer.inverse_frequency.empty()) {
      set_of_.push_back(-1);
      continue;
    }
    Set set;
    for (double f : layer.inverse_frequency) set.frequency.push_back(static_cast<float>(f));
    set.scale = static_cast<float>(layer.rotary_scale);
    size_t at = 0;
    while (at < sets_.size() && !(sets_[at].frequency == set.frequency && sets_[at].scale == set.scale)) ++at;
    if (at == sets_.size()) sets_.push_back(std::move(set));
    set_of_.push_back(static_cast<int>(at));
  }
}

void RotaryRows::resize(int64_t rows) {
  for (Set& set : sets_) set.table.resize(static_cast<size_t>(rows) * 2 * set.frequency.size());
  rows_ = rows;
}

void RotaryRows::fill(int64_t t, int64_t position) {
  for (Set& set : sets_) {
    const size_t pairs = set.frequency.size();
    float* cosine = set.table.data() + static_cast<size_t>(t) * 2 * pairs;
    for (size_t i = 0; i < pairs; ++i) {
      const float angle = static_cast<float>(position) * set.frequency[i];
      cosine[i] = static_cast<float>(std::cos(static_cast<double>(angle))) * set.scale;
      cosine[pairs + i] = static_cast<float>(std::sin(static_cast<double>(angle))) * set.scale;
    }
  }
}

void RotaryRows::extend(int64_t rows) {
  const int64_t before = rows_;
  if (rows <= before) return;
  resize(rows);
  for (int64_t t = before; t < rows; ++t) fill(t, t);
}

void RotaryRows::rotate(int layer, int64_t t, float* x) const {
  const int at = set_of_[static_cast<size_t>(layer)];
  if (at < 0) return;
  const Set& set = sets_[static_cast<size_t>(at)];
  const size_t pairs = set.frequency.size();
  const float* cosine = set.table.data() + static_cast<size_t>(t) * 2 * pairs;
  kernels_.rotate(x, cosine, cosine + pairs, static_cast<int64_t>(pairs));
}

}  // namespace espalier
