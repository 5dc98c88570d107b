// What a one-shot method is given and what it does to the model: calibration data on request, streaming over blocks,
// and resumable progress. A method changes the job's graph; writing and verifying the result is the runner's.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "espalier/core/rng.h"
#include "espalier/core/run_dir.h"
#include "espalier/families/family.h"
#include "espalier/io/image_dataset.h"
#include "espalier/io/tokenizer.h"
#include "espalier/lab/criteria/masks.h"
#include "espalier/lab/measure/block_stream.h"
#include "espalier/lab/measure/images.h"
#include "espalier/lab/methods/method.h"
#include "espalier/structure/coupling.h"
#include "espalier/structure/mask.h"

namespace espalier {

// Where calibration data comes from: a text with its tokenizer, or pictures.
struct CalibrationSource {
  std::filesystem::path data;
  std::shared_ptr<const Tokenizer> tokenizer;
  int64_t samples = 128, length = 0;  // length 0: default_length()
  std::shared_ptr<const ImageDataset> images = nullptr;
};

struct JobSettings {
  double sparsity = 0;
  std::string of;
  std::optional<NOfM> pattern;
  int64_t block = 1;  // consecutive inputs of an output that go or stay together
  std::map<std::string, std::string> options;  // as given; defaults come from the method
  std::vector<std::string> protect;            // node name patterns that stay untouched
  int64_t align = 8;
  bool uniform = false;
  uint64_t seed = 0;
  bool trial = false;  // see PruneJob::trial()
};

class PruneJob {
 public:
  // run may be null: then nothing is checkpointed (studies, reproductions). `step` names this step's checkpoints.
  PruneJob(const Method& method, Model& model, CalibrationSource source, JobSettings settings, RunDirectory* run, int step);

  const Method& method() const { return method_; }
  Model& model() { return model_; }
  const Model& model() const { return model_; }
  const Graph& graph() const { return model_.graph; }
  Graph& graph() { return model_.graph; }
  const JobSettings& settings() const { return settings_; }
  double sparsity() const { return settings_.sparsity; }
  // Only what can be reached is asked for: the method cuts the graph (or counts weights) by arbitrary scores, and reads
  // neither weights nor text. How much goes is decided by the same code as in a run.
  bool trial() const { return settings_.trial; }

  // Options with the method's defaults filled in; wrong types are UserError naming the option.
  int64_t option_int(const std::string& name) const;
  double option_real(const std::string& name) const;
  bool option_flag(const std::string& name) const;
  std::string option_text(const std::string& name) const;  // "" when the default is empty
  std::map<std::string, std::string> all_options() const;

  // Calibration data; UserError when there is no text or it is too short.
  TokenSequences windows();                                        // samples × length tokens
  TokenSequences windows(int64_t samples, int64_t length);
  TokenSequences prompts(int64_t count, bool random, int64_t max_tokens);  // each paragraph one prompt
  // Pictures: all that were given (UserError: none), and a seeded choice of `count` of them (0: the request's samples)
  // in fp32, as the model reads them.
  const ImageDataset& images() const;
  LabelledImages image_samples(int64_t count = 0) const;
  bool has_images() const { return source_.images != nullptr; }
  const CalibrationSource& source() const { return source_; }
  Rng rng(const std::string& stream) const { return Rng(settings_.seed, method_.id + "/" + stream); }

  // What repairs and searches over the whole model compare with: the model as it was opened.
  Model open_dense() const;

  // Linear nodes inside blocks that are not protected: what weight methods prune.
  std::vector<NodeId> prunable_linears(int block) const;
  bool is_protected(const std::string& node) const;

  // Streams the calibration sequences block by block through the graph as it is. visit(block) is called with the stream
  // standing before the block: it may observe(), change the block's weights by set_weight(), and must not advance.
  // Afterwards the block runs with its new weights and its outputs feed the next. With a run directory every block is
  // checkpointed, and a resumed job continues after the last finished one: visit() is not called again for it.
  // State that visit() gathers across blocks must be in `state`, which is stored with the checkpoint.
  void for_each_block(const TokenSequences& sequences, int64_t batch_tokens,
                      const std::function<void(BlockStream& stream, int block, Json& state)>& visit, Json& state);
  // The same for methods that need no data: no forward at all.
  void for_each_block_without_data(const std::function<void(int block, Json& state)>& visit, Json& state);

  // A weight as fp32 [out, in] whatever its layout, and back (rounded to the model's dtype).
  at::Tensor weight(NodeId linear) const;
  // keep: bool [out, in] or undefined (no mask: a repaired weight).
  void set_weight(NodeId linear, const at::Tensor& weight, const at::Tensor& keep);

  // The same in the stored layout, for rankings that follow the checkpoint's order.
  at::Tensor stored_weight(NodeId linear) const;
  void mask_stored(NodeId linear, const at::Tensor& keep);

  // The weight masks so far, by parameter, in the stored layout; what repairs must keep.
  const std::map<std::string, WeightMask>& masks() const { return masks_; }

  // Method-specific checkpoint (a search's removals so far).
  std::optional<Json> load_state(const std::string& name) const;
  void save_state(const std::string& name, const Json& value);

  // What was removed, for the report: {"unit", "node", "indices" or "count"}.
  void note_removed(Json entry) { removed_.push_back(std::move(entry)); }
  Json& findings() { return findings_; }  // score tables, maps: written beside the output as findings.json
  const Json& removed() const { return removed_; }
  // Share of the budget's unit that is gone; spread: of a measured time, half of a 95 % interval.
  void reached(double share, double spread = 0) {
    reached_ = share;
    spread_ = spread;
  }
  double reached() const { return reached_; }
  double spread() const { return spread_; }

 private:
  std::filesystem::path block_file(int block) const;
  Tensor stored_tensor(const std::string& name) const;
  void adopt_block(int block);
  void finish_block(int block, const Json& state, const BlockStream* stream);
  int restore_blocks(Json& state);

  const Method& method_;
  Model& model_;
  CalibrationSource source_;
  JobSettings settings_;
  RunDirectory* run_;
  int step_;
  std::set<std::string> changed_;  // parameters of the current block
  std::map<std::string, WeightMask> masks_;
  Json removed_ = Json::array(), findings_ = Json::object();
  double reached_ = 0, spread_ = 0;
};

}  // namespace espalier
