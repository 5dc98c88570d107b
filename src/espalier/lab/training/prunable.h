// The weights that a plugin prunes, one by one, while they are trained.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "espalier/core/json.h"
#include "espalier/lab/criteria/alive_ranking.h"
#include "espalier/lab/training/training.h"

namespace espalier {

class PrunableWeights {
 public:
  PrunableWeights() = default;
  // Training::prunable() without what is frozen and what matches one of the patterns in `exclude` ("conv1*;classes*").
  // UserError naming `where` when nothing is left, or a pattern matches no weight.
  PrunableWeights(Training& training, const std::string& exclude, const std::string& where);

  const std::vector<std::string>& names() const { return names_; }
  int64_t total() const { return total_; }
  LayerTensors values(Training& training) const;  // the trained weights themselves
  LayerTensors copies(Training& training) const;
  LayerTensors magnitudes(Training& training) const;
  LayerTensors masks(Training& training) const;   // copies; all true where there is none
  void set_masks(Training& training, const LayerTensors& masks) const;

 private:
  std::vector<std::string> names_;
  int64_t total_ = 0;
};

// What a plugin is, too, that decides which weights are removed. Two of them cannot run together.
struct DecidesMasks {
  virtual ~DecidesMasks() = default;
};
std::string refuses_other_masks(const Plugin& other);  // for Plugin::refuses

// layer, size, kept, density of each.
Json density_table(const std::vector<std::string>& names, const LayerTensors& masks);

// A list of tensors in a plugin's state, and back.
void put_tensors(StateStore& state, const std::string& name, const LayerTensors& tensors);
LayerTensors get_tensors(const StateStore& state, const std::string& name);

// What evaluations recorded at this very step ("accuracy", "perplexity"): empty when there was none.
Json latest_evaluation(const Training& training);

}  // namespace espalier
