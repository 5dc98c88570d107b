// Pieces that decoder families build their graphs from. Each piece checks the tensors that it uses against the
// widths that the configuration states; an error names the config, the tensor, what was expected and found.
#pragma once

#include <set>
#include <string>

#include "espalier/core/json.h"
#include "espalier/graph/graph.h"
#include "espalier/io/checkpoint.h"

namespace espalier {

class GraphBuilder {
 public:
  GraphBuilder(const Checkpoint& checkpoint, std::string where) : checkpoint_(checkpoint), where_(std::move(where)) {}

  ValueId token_ids();
  void set_block(int block) { block_ = block; }

  ValueId embedding(const std::string& name, ValueId ids, int64_t vocab, int64_t width);
  ValueId position_embedding(const std::string& name, ValueId ids, int64_t positions, int64_t width, int64_t offset);
  // bias: with the tensor <name>.bias. transposed: stored [in, out].
  ValueId linear(const std::string& name, ValueId x, int64_t in, int64_t out, bool bias, bool transposed = false);
  // Shares a declared parameter [out, in]. biased_out: that many biases of its own, 0: none.
  ValueId tied_linear(const std::string& name, ValueId x, const std::string& weight, int64_t biased_out = 0);
  ValueId layer_norm(const std::string& name, ValueId x, int64_t width, double epsilon, bool affine = true);
  ValueId rms_norm(const std::string& name, ValueId x, int64_t width, double epsilon);
  // Norms over each head's channels, one weight for all heads.
  ValueId head_norm(const std::string& name, ValueId x, int64_t head_size, double epsilon);
  ValueId head_layer_norm(const std::string& name, ValueId x, int64_t head_size, double epsilon);
  ValueId rotary(const std::string& name, ValueId x, int64_t head_size, const std::vector<double>& inverse_frequency, double scale);
  ValueId attention(const std::string& name, ValueId q, ValueId k, ValueId v, int64_t head_size, double scale, int64_t window);
  ValueId activation(const std::string& name, ValueId x, const std::string& kind);
  ValueId add(const std::string& name, ValueId a, ValueId b);
  ValueId mul(const std::string& name, ValueId a, ValueId b);
  std::vector<ValueId> split(const std::string& name, ValueId x, const std::vector<int64_t>& sizes);

  // Marks output and blocks; refuses checkpoints with tensors that no node uses, except those that `ignored` accepts.
  Graph finish(ValueId output, int blocks, bool (*ignored)(const std::string& tensor));

 private:
  Node start(const char* op, const std::string& name, std::vector<ValueId> inputs);
  ValueId emit(Node node);
  void weight(Node& node, const std::string& role, const std::string& tensor, const Shape& expected);

  const Checkpoint& checkpoint_;
  std::string where_;
  Graph graph_;
  int block_ = -1;
};

// One more than the highest block index in the tensors' names, 0: there is none.
int64_t blocks_present(const std::vector<std::string>& tensors, const std::string& prefix_pattern);

// How many blocks there are: the config's number, believed only after the last block's tensors were seen.
int64_t layer_count(const Json& config, const std::string& key, const Checkpoint& checkpoint, const std::string& prefix_pattern,
                    const std::string& where);

// silu, gelu, gelu_tanh, relu from a configuration's word ("swish", "gelu_new", …).
std::string activation_kind(const std::string& word, const std::string& where);

std::string block_name(const std::string& pattern, int64_t index);  // "model.layers.{}." → "model.layers.3."

}  // namespace espalier
