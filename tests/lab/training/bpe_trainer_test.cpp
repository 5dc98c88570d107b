// The vocabulary of the embedded models.
#include "espalier/lab/training/bpe_trainer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>

namespace espalier {
namespace {

TEST(BpeTrainer, SingleDigitsAreNeverMerged) {
  const std::string text = "in 1812 and 1812 and 1812 it was 1812 again, again and again";
  const auto digit = [](const std::string& token) { return token.size() > 1 && std::any_of(token.begin(), token.end(), [](unsigned char c) { return std::isdigit(c); }); };
  const auto merged = train_bpe(text, 280, false).tokens, single = train_bpe(text, 280, true).tokens;
  EXPECT_TRUE(std::any_of(merged.begin(), merged.end(), digit));
  EXPECT_TRUE(std::none_of(single.begin(), single.end(), digit));
}

}  // namespace
}  // namespace espalier
