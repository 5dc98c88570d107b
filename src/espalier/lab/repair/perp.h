// PERP (2023): after pruning a few of the parameters are trained — biases, norms, the output head, low-rank adapters that
// merge into sparse weights (low_rank.h) — and not a removed weight comes back. The one place for adapters: `--repair lora`
// is this with adapters alone.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "espalier/families/family.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/repair/low_rank.h"
#include "espalier/lab/repair/options.h"

namespace espalier {

class PruneJob;

enum class PerpPart { kBias, kNorm, kHead, kEmbed, kLora, kFull };

struct PerpOptions {
  std::set<PerpPart> train = {PerpPart::kBias, PerpPart::kNorm, PerpPart::kHead, PerpPart::kLora};
  bool train_given = false;  // else a tied head is left alone without complaint
  LowRankForm form = LowRankForm::kMaskLora;
  int64_t rank = 16;
  double alpha = 32;
  bool reconstruct = false;  // block by block towards the dense model's outputs, instead of by the task's loss
  int64_t steps = 1000, batch = 2, accumulation = 1;
  int64_t length = 0;  // tokens; 0: the context, at most 512
  double rate = 5e-4, warmup = 0.1;  // warmup: share of the steps; then the rate falls linearly to 0
};

// Of the repairs "perp" and "lora". UserError for what is not known or out of its range.
PerpOptions perp_options(const RepairSettings& given);
PerpOptions lora_options(const RepairSettings& given);
RepairSettings perp_defaults();
RepairSettings lora_defaults();

// Numbers that are trained, by part; total: of the whole model.
struct PerpCounts {
  int64_t bias = 0, norm = 0, head = 0, embed = 0, lora = 0, full = 0, total = 0;
  int64_t trained() const { return bias + norm + head + embed + lora + full; }
};
// Of an OPT-like decoder with everything but `full` and `embed`: biases of attention and FFN, norms with the last one,
// adapters on q, k, v, o and both FFN matrices, and on the head; total with a tied embedding, without positions.
PerpCounts decoder_counts(int64_t layers, int64_t hidden, int64_t ffn, int64_t vocab, int64_t rank);

// Mean over all elements of the squared difference: what reconstruction minimises.
at::Tensor reconstruction_error(const at::Tensor& output, const at::Tensor& target);

// What PERP trains of a graph. keep: masks by parameter, bool in the stored shape; those weights never leave zero.
class PerpWeights {
 public:
  // block: this block's alone, nothing outside. UserError: a tied head that was asked for, `lora` adapters on a layer with
  // removed weights, nothing to train.
  PerpWeights(const Graph& graph, const std::map<std::string, at::Tensor>& keep, const PerpOptions& options, uint64_t seed,
              std::optional<int> block = std::nullopt);

  const PerpCounts& counts() const { return counts_; }
  // By name: parameters as they are trained, and adapters as "<parameter>.lora_A" and "….lora_B".
  const std::map<std::string, at::Tensor>& leaves() const { return leaves_; }
  // Another tensor of the same values and shape is trained in this one's place.
  void train_instead(const std::string& leaf, const at::Tensor& other);
  void install(Weights& weights) const;  // before every forward
  void mask() const;                     // after every step: of weights that are trained as a whole
  std::map<std::string, at::Tensor> merged() const;  // new values by parameter, in the stored shape

 private:
  struct Adapted {
    LowRank adapter;
    bool transposed = false;  // stored [in, out]
    std::vector<int64_t> shape;  // stored
  };
  void add_plain(const Parameter& parameter, int64_t& count);
  void add_adapter(const Node& node, const Parameter& parameter, LowRankForm form, const PerpOptions& options, uint64_t seed, int64_t& count);
  void add_head(const Graph& graph, const PerpOptions& options, uint64_t seed);
  static at::Tensor stored(const Adapted& adapted, const at::Tensor& weight);

  std::map<std::string, at::Tensor> keep_, leaves_;
  std::set<std::string> plain_;
  std::map<std::string, Adapted> adapted_;
  PerpCounts counts_;
  int64_t reduced_ = 0;  // adapters of a lower rank than asked for
};

// Repairs the job's graph under its masks; the findings say what was trained and, in reconstruct mode, each block's error
// before and after. UserError when model or data do not suit.
void check_perp_job(const PruneJob& job, const PerpOptions& options);
void repair_by_perp(PruneJob& job, const PerpOptions& options);

}  // namespace espalier
