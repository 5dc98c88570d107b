#include "espalier/lab/training/step_place.h"

#include <gtest/gtest.h>

#include "tests/support.h"

namespace espalier {
namespace {

TEST(StepPlace, ReadsStepsEpochsAndShares) {
  EXPECT_EQ(step_place("here", "300", 1000, 50), 300);
  EXPECT_EQ(step_place("here", "0", 1000, 50), 0);
  EXPECT_EQ(step_place("here", "1", 1000, 50), 1);
  EXPECT_EQ(step_place("here", "1.0", 1000, 50), 1000);
  EXPECT_EQ(step_place("here", "0.02", 1000, 50), 20);
  EXPECT_EQ(step_place("here", "6ep", 1000, 50), 300);
  EXPECT_EQ(step_place("here", "2.5ep", 1000, 50), 125);
}

TEST(StepPlace, RefusesOtherWordsAndPlacesOutside) {
  for (const char* text : {"", "ep", "soon", "10 ", "10%", "-1", "1001", "21ep", "1.1", "nan", "inf"}) EXPECT_THROW(step_place("here", text, 1000, 50), UserError) << text;
}

}  // namespace
}  // namespace espalier
