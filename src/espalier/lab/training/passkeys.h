// Synthetic texts on which a model must fetch facts from far back: keys of random words hidden in running text, then a
// question for each with its answer.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "espalier/core/rng.h"
#include "espalier/io/tokenizer.h"

namespace espalier {

struct PasskeyOptions {
  int64_t keys = 10, words = 32;               // words of a key, each one of 26
  int64_t shortest = 1000, longest = 32000;    // tokens of a text: one of 50 lengths between them
  int64_t multiple = 16;                       // lengths are rounded up to it
};

struct PasskeySample {
  std::vector<int32_t> ids;
  int64_t first_label = 0;              // the questions and answers begin here and end with the text
  std::vector<int64_t> answer_tokens;   // positions of the answers' tokens
};

class PasskeyMaker {
 public:
  // haystack: tokens of running text. UserError if questions and keys alone are longer than the shortest text.
  PasskeyMaker(std::shared_ptr<const Tokenizer> tokenizer, std::vector<int32_t> haystack, const PasskeyOptions& options, uint64_t seed);
  PasskeySample next();

 private:
  std::vector<int32_t> text_of(const std::string& text) const;
  std::string key();
  std::vector<double> depths();

  std::shared_ptr<const Tokenizer> tokenizer_;
  std::vector<int32_t> haystack_;
  PasskeyOptions options_;
  Rng rng_;
};

}  // namespace espalier
