// Batches that teach a small model to fetch what stands far back: running text with needles and questions, keys of words
// as DuoAttention's gates are trained on, and random tokens repeated, on which induction heads form soonest.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <vector>

#include "espalier/engine/needle_text.h"
#include "espalier/lab/training/passkeys.h"

namespace espalier {

struct RetrievalBatch {
  at::Tensor ids;      // int64 [batch, length + 1]
  at::Tensor weights;  // [batch, length]: how much each of ids[:, 1:] counts in the loss, their sum
  at::Tensor fetch;    // bool [batch, length]: labels that can only be fetched
};

class RetrievalMix {
 public:
  // tokens: of the running text to train on.
  RetrievalMix(std::shared_ptr<const Tokenizer> tokenizer, std::vector<int32_t> tokens, uint64_t seed);

  // Every row: the mean over its running text and the mean over what can only be fetched count alike.
  RetrievalBatch next(int64_t batch, int64_t length);

 private:
  struct Row {
    std::vector<int32_t> ids;       // length + 1
    std::vector<float> text, fetch;  // marks of ids[1:], 0 or 1
  };
  Row needles(int64_t length);
  Row word_keys(int64_t length);
  Row repetition(int64_t length);

  std::shared_ptr<const Tokenizer> tokenizer_;
  std::vector<int32_t> tokens_;
  uint64_t seed_;
  NeedleMaker needle_maker_;
  std::map<int64_t, std::unique_ptr<PasskeyMaker>> key_makers_;  // by length
  Rng rng_;
};

}  // namespace espalier
