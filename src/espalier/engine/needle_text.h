// Texts with needles: sentences with a number hidden in running text, and questions for the numbers at its end. `eval`
// asks a model with them, and small models are trained on them to answer.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "espalier/core/rng.h"
#include "espalier/io/tokenizer.h"

namespace espalier {

struct NeedleText {
  struct Range {
    int64_t begin, end;
  };
  std::vector<int32_t> ids;    // the text, then every question with its answer
  std::vector<Range> needles;  // of ids, in order of depth
  std::vector<Range> answers;  // in the order asked
  std::vector<size_t> asked;   // which needle each answer belongs to
};

class NeedleMaker {
 public:
  static constexpr int64_t kMostNeedles = 26;

  // haystack: tokens of running text, from a random place of which a text is filled.
  NeedleMaker(std::shared_ptr<const Tokenizer> tokenizer, std::vector<int32_t> haystack, uint64_t seed, std::string_view stream);

  // A text of exactly `length` tokens, questions and answers included. depths: ascending shares of the running text that
  // stand before each needle. One needle is "the secret number"; of several each has a name, and the questions come in
  // random order. UserError (--length) if fewer than 8 tokens of running text are left.
  NeedleText make(int64_t length, std::span<const double> depths);
  // Depths of `count` needles spread over the text, one in each of `count` equal parts at random.
  std::vector<double> spread(int64_t count);

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::vector<int32_t> haystack_;
  Rng rng_;
};

}  // namespace espalier
