// A language model ready to run: the graph compiled into a flat program over a team of threads.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "espalier/engine/attention/sequence.h"
#include "espalier/engine/weight_matrix.h"
#include "espalier/families/family.h"

namespace espalier {

struct DecoderOptions {
  int threads = 1;
  std::optional<Precision> precision;  // of the weights of Linear nodes; none: as stored
  int64_t int8_group = 0;              // columns a scale; 0: a row
  bool sparse = true;                  // weights with enough zeros are multiplied in a sparse form
  int64_t chunk = 256;                 // the most rows of one pass: a longer prompt goes through in several
  int64_t batch = 16;                  // the most sequences of one forward
};

// What a forward does for one sequence: appends tokens, gives logits.
struct ForwardWork {
  AttentionSequence* sequence = nullptr;
  std::span<const int32_t> tokens;  // at least one
  // [vocab] of the last token, or with every_token [tokens, vocab]; null: none wanted.
  float* logits = nullptr;
  bool every_token = false;
};

class Decoder {
 public:
  // Up to so many rows (tokens of all sequences together) a forward's results are those of each row alone, bit for bit.
  static constexpr int64_t kRowsAlike = 8;

  // UserError naming the node for a graph that is not a decoder of the kind that language-model families build.
  Decoder(Model model, const DecoderOptions& options);
  ~Decoder();

  int64_t vocab_size() const;
  int64_t context_length() const;
  int threads() const;
  const Model& model() const;

  // A sequence over this decoder's layers. UserError on a policy or options that do not fit. capacity: the most tokens; 0: the context length.
  std::unique_ptr<AttentionSequence> start(const AttentionRequest& request = {}, int64_t capacity = 0) const;

  // One pass over the weights for all sequences together (each at most once). Not from two threads at once. UserError if
  // a token is no id of the vocabulary or a sequence would grow beyond its capacity; the sequences are then untouched.
  void forward(std::span<const ForwardWork> work);

  // Bytes of weights that one decoded token reads, resident bytes of converted weights, and which forms are used.
  uint64_t weight_bytes() const;
  struct MatrixUse {
    std::string node;
    WeightForm form;
    int64_t rows, columns;
    uint64_t bytes;
    double density;    // stored values / all
    bool every_token;  // else only the tokens whose logits somebody wants: behind the last attention
  };
  std::vector<MatrixUse> matrices() const;

 private:
  struct Program;
  std::unique_ptr<Program> program_;
};

}  // namespace espalier
