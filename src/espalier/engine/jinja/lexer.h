// Tokens of a chat template, white space around blocks cut as Hugging Face sets it (trim_blocks, lstrip_blocks).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "espalier/engine/jinja/syntax.h"

namespace espalier::jinja {

struct Token {
  enum Kind { kText, kPrintBegin, kPrintEnd, kBlockBegin, kBlockEnd, kName, kString, kInteger, kFloat, kOperator, kEnd };
  Kind kind = kEnd;
  std::string text;
  int line = 1;
};

std::vector<Token> tokenize(std::string_view source, Budget& budget);

}  // namespace espalier::jinja
