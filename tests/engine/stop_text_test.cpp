#include "espalier/engine/stop_text.h"

#include <gtest/gtest.h>

namespace espalier {
namespace {

std::string all(StopText& stop, const std::vector<std::string>& pieces) {
  std::string text;
  for (const std::string& piece : pieces) text += stop.push(piece);
  return text + stop.finish();
}

TEST(StopText, EndsBeforeTheFirstStopHoweverItArrives) {
  const std::string text = "one two END three";
  for (size_t n = 1; n <= text.size(); ++n) {
    StopText stop({"END", "three"});
    std::vector<std::string> pieces;
    for (size_t at = 0; at < text.size(); at += n) pieces.push_back(text.substr(at, n));
    EXPECT_EQ(all(stop, pieces), "one two ") << n;
    EXPECT_TRUE(stop.stopped());
  }
}

TEST(StopText, HoldsBackOnlyWhatMayBecomeAStop) {
  StopText stop({"aab"});
  EXPECT_EQ(stop.push("xa"), "x");
  EXPECT_EQ(stop.push("a"), "");
  EXPECT_EQ(stop.push("a"), "a");  // "aaa": the last two may still begin "aab"
  EXPECT_EQ(stop.push("c"), "aac");
  EXPECT_EQ(stop.push("aa"), "");
  EXPECT_EQ(stop.finish(), "aa");
  EXPECT_FALSE(stop.stopped());
}

TEST(StopText, WithoutStopsTextPassesAtOnce) {
  StopText stop({"", ""});
  EXPECT_EQ(stop.push("abc"), "abc");
  EXPECT_EQ(stop.finish(), "");
}

TEST(StopText, OfOverlappingStopsTheOneCountsThatIsCompleteFirst) {
  for (const std::vector<std::string>& pieces : {std::vector<std::string>{"xa", "bc", "de"}, {"xabcde"}}) {
    StopText stop({"bcd", "abcde", "c"});
    EXPECT_EQ(all(stop, pieces), "xab");
  }
}

}  // namespace
}  // namespace espalier
