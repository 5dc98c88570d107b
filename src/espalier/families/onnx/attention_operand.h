// An operand of an attention's products, [batch, heads, tokens, size] in some layout, as rows [batch, tokens, channels]
// of the value that it was made from.
#pragma once

#include <functional>
#include <vector>

#include "espalier/families/onnx/layout_map.h"

namespace espalier {

struct OperandForm {
  // How x holds batch and tokens: one after the other, the other way round, or with the heads in dims of their own.
  enum class Kind { kRows, kTurnedRows, kHeads };
  Kind kind = Kind::kRows;
  bool merges = false;    // of rows: the last two dims of x are the channels
  std::vector<int64_t> perm;                       // of heads: to [batch, tokens, heads, size]
  int64_t first = 0, head_step = 0, step = 1;      // of rows: channel j of head h is first + h · head_step + j · step
  int64_t heads = 1, repeats = 1, head_size = 1;   // heads: without repetition
  int64_t tokens = 1;
  bool operator==(const OperandForm&) const = default;

  int64_t width() const { return heads * head_size; }
  bool is_one_run() const { return (head_size == 1 || step == 1) && (heads == 1 || head_step == head_size); }
  std::vector<int64_t> channels() const;
};

// The operand's dims in terms of x, whose shape is given: all but the last three are the batch, then heads, tokens,
// channels. Of three dims the first is batch and heads together.
std::vector<OperandForm> operand_forms(const Shape& x, const LayoutMap& map);

}  // namespace espalier
