// What a decoder's graph is compiled into: steps over row buffers. A row is one token; every step but attention works on
// rows independently. Buffers are shared by values that never live at once.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "espalier/engine/attention/sequence.h"
#include "espalier/engine/decoder.h"
#include "espalier/engine/kernels.h"
#include "espalier/graph/graph.h"

namespace espalier {

enum class StepKind : uint8_t {
  kEmbed, kPosition, kLinear, kRmsNorm, kLayerNorm, kAttention, kActivation, kActivationMultiply, kAdd, kMultiply, kGate, kKeepRows, kLogits
};

// Columns [offset, offset + width) of each row of a buffer.
struct Operand {
  int buffer = -1;
  int64_t offset = 0, width = 0;
};

using Elementwise = void (*)(const float* x, int64_t n, float* y);

struct Step {
  StepKind kind;
  std::string node;
  Operand a, b, c, out;               // attention: a, b, c are q, k, v
  int matrix = -1;                    // kLinear, kLogits
  const Parameter* table = nullptr;   // kEmbed, kPosition: rows of the checkpoint
  int64_t first_row = 0;              // kPosition
  std::vector<float> weight, bias;    // norms, kGate (weight), kLinear (bias); empty: none
  float epsilon = 0;
  int64_t run = 0;                    // norms: channels that a mean runs over
  int layer = -1;                     // kAttention
  Elementwise function = nullptr;     // kActivation, kActivationMultiply
  bool gated_silu = false;            // kActivationMultiply: the fused kernel serves
  bool barrier = false;               // what it touches may still be in use by other ranks
};

struct ProgramMatrix {
  std::string node;
  WeightMatrix weight;
  MatVec mat_vec = nullptr;
};

struct DecoderSteps {
  std::vector<Step> steps;
  std::vector<ProgramMatrix> matrices;
  std::vector<Tensor> tables;                     // by step: the loaded rows of kEmbed and kPosition, else undefined
  std::vector<int64_t> strides;                   // of each buffer's rows, in floats
  std::shared_ptr<std::vector<AttentionLayer>> layers;
  int64_t positions = 0;                          // of learned positions; 0: no limit
  int64_t vocab = 0;
};

// Floats between rows: whole cache lines, zeros behind the last column for kernels that read blocks of 64.
int64_t row_stride(int64_t width);

// UserError naming the node for what no language-model family builds. Loads and converts weights.
DecoderSteps compile_decoder(const Model& model, const DecoderOptions& options);

}  // namespace espalier
