// Trainings that drive the scales of batch norms to zero, and cut the channels behind them. MaskSparsity and network slimming
// are settings of it.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "espalier/lab/criteria/norm_scales.h"
#include "espalier/lab/training/plugin.h"
#include "espalier/structure/coupling.h"

namespace espalier {

// Batch norms whose channels can only go together.
struct NormGroup {
  std::vector<std::string> norms, scales;  // nodes and their parameters; those that vote come first
  size_t voters = 0;                       // norms behind an ordinary convolution or Linear; a depthwise one follows its producer
  std::vector<int32_t> sets;               // of each channel, canonical
};
// shared: also those whose channels several layers produce (residual streams).
std::vector<NormGroup> find_norm_groups(const Graph& graph, const Coupling& coupling, bool shared);

using KeepByNorm = std::map<std::string, std::vector<bool>>;  // by norm node, of each channel

struct ScalePruning {
  // Where the mask comes from: a run under a penalty on all scales, after which the training begins anew; the share of each
  // layer's, or of all layers' smallest scales at the start; as given; or the scales at the end.
  enum class Source { kRun, kUniform, kMagnitude, kGiven, kEnd };

  std::string id;
  Source source = Source::kRun;
  double strength = 5e-4, run_strength = 5e-4;  // s, and that of the run for the mask
  ScalePenalty penalty = ScalePenalty::kL1;
  bool penalise_all = false;     // the kept ones, too
  std::optional<double> share;   // of all channels, exactly; else by threshold
  double threshold = 0.01;
  bool energy = false;           // each layer's own threshold
  int64_t least = 1;             // channels that every layer keeps
  bool shared = false;           // find_norm_groups
  bool cut_as_masked = false;    // the mask is cut; else what the trained scales say
  bool fold = false;             // biases of what is cut go on into what read it
  KeepByNorm given;
};

// Findings: of each norm its kept channels, mean scales of kept and pruned ones before and after. UserError: a model without
// batch norms whose channels can go, a given mask with unknown names or other lengths, nothing or everything pruned.
std::unique_ptr<Plugin> make_scale_pruning(ScalePruning settings);

}  // namespace espalier
