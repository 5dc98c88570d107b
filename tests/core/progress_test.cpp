#include "espalier/core/progress.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "espalier/core/json.h"
#include "espalier/core/log.h"

namespace espalier {
namespace {

ProgressState halfway() { return {"pruning", "block", "", 50, 100, 20}; }

TEST(ProgressMode, BarNeedsAUsableTerminal) {
  const auto resolve = [](bool terminal, const char* term, int columns) {
    return resolve_progress_mode(ProgressMode::kAuto, terminal, term, columns);
  };
  EXPECT_EQ(resolve(true, "xterm", 80), ProgressMode::kBar);
  EXPECT_EQ(resolve(false, "xterm", 80), ProgressMode::kLines);
  EXPECT_EQ(resolve(true, nullptr, 80), ProgressMode::kLines);
  EXPECT_EQ(resolve(true, "", 80), ProgressMode::kLines);
  EXPECT_EQ(resolve(true, "dumb", 80), ProgressMode::kLines);
  EXPECT_EQ(resolve(true, "xterm", 1), ProgressMode::kLines);
  EXPECT_EQ(resolve_progress_mode(ProgressMode::kJson, true, "xterm", 80), ProgressMode::kJson);
}

TEST(ProgressText, BarShowsRateAndTimeLeft) {
  EXPECT_EQ(progress_bar(halfway(), 80),
            "pruning [###############...............] 50/100 block  2.5 block/s  20 s left");
}

TEST(ProgressText, BarNeverReachesTheLastColumn) {
  auto state = halfway();
  state.note = "layer.11.mlp.down_proj — Größe";
  for (int columns = 1; columns < 120; ++columns) {
    const auto bar = progress_bar(state, columns);
    size_t width = 0;
    for (char c : bar) width += (c & 0xc0) != 0x80;
    EXPECT_LT(width, static_cast<size_t>(columns) + (columns == 0));
    EXPECT_TRUE(is_valid_utf8(bar)) << bar;
  }
}

TEST(ProgressText, UnknownTotalHasNoTimeLeft) {
  auto state = halfway();
  state.total = 0;
  EXPECT_EQ(seconds_left(state), std::nullopt);
  EXPECT_EQ(progress_line(state), "pruning: 50 block, 20 s, 2.5 block/s");
  EXPECT_TRUE(Json::parse(progress_json(state))["eta"].is_null());
}

TEST(ProgressText, MoreThanTotalIsNotNegative) {
  auto state = halfway();
  state.done = 150;
  EXPECT_EQ(*seconds_left(state), 0);
  EXPECT_EQ(progress_bar(state, 80).find('.', 0), progress_bar(state, 80).find("7.5") + 1);  // a full bar
}

TEST(ProgressText, SlowWorkIsToldInSecondsPerUnit) {
  EXPECT_EQ(progress_line({"training", "epoch", "", 2, 4, 100}),
            "training: 2/4 epoch, 1 min 40 s, 50.0 s/epoch, 1 min 40 s left");
}

TEST(ProgressText, JsonHasTheDocumentedFields) {
  const Json line = Json::parse(progress_json(halfway()));
  EXPECT_EQ(line, Json::parse(R"({"phase":"pruning","done":50,"total":100,"unit":"block","seconds":20.0,"eta":20.0})"));
}

TEST(ProgressText, Durations) {
  EXPECT_EQ(format_duration(0.42), "0.4 s");
  EXPECT_EQ(format_duration(59.4), "59 s");
  EXPECT_EQ(format_duration(200), "3 min 20 s");
  EXPECT_EQ(format_duration(7500), "2 h 05 min");
}

class ProgressOutput : public ::testing::Test {
 protected:
  void use(ProgressMode mode, const ProgressTiming& timing) {
    set_progress_mode(mode);
    set_progress_timing(timing);
  }
  void TearDown() override {
    use(ProgressMode::kAuto, ProgressTiming{});
    set_verbosity(Verbosity::kNormal);
  }
  static std::string run(int steps) {
    ::testing::internal::CaptureStderr();
    {
      Progress progress("counting", steps, "step");
      for (int i = 0; i < steps; ++i) progress.advance();
    }
    return ::testing::internal::GetCapturedStderr();
  }
  static constexpr ProgressTiming kAtOnce{0, 0, 0, 0};
};

TEST_F(ProgressOutput, ShortPhasesAreSilent) {
  use(ProgressMode::kLines, ProgressTiming{});
  EXPECT_EQ(run(1000), "");
}

TEST_F(ProgressOutput, LinesAreLimitedInRate) {
  use(ProgressMode::kLines, {0, 3600, 0, 0});
  const auto text = run(1000);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2) << text;  // the first and the last
  EXPECT_NE(text.find("counting: 1000/1000 step"), std::string::npos);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
}

TEST_F(ProgressOutput, EveryJsonLineParses) {
  use(ProgressMode::kJson, kAtOnce);
  std::istringstream lines(run(5));
  int64_t done = 0;
  for (std::string line; std::getline(lines, line);) done = Json::parse(line)["done"].get<int64_t>();
  EXPECT_EQ(done, 5);
}

TEST_F(ProgressOutput, BarIsTakenAwayAtTheEnd) {
  use(ProgressMode::kBar, kAtOnce);
  const auto text = run(3);
  const auto erased = text.rfind("\r\x1b[K");
  ASSERT_NE(erased, std::string::npos);
  EXPECT_EQ(text.compare(erased + 4, 18, "counting: 3/3 step"), 0) << text;
}

TEST_F(ProgressOutput, QuietSaysNothing) {
  use(ProgressMode::kLines, kAtOnce);
  set_verbosity(Verbosity::kQuiet);
  EXPECT_EQ(run(3), "");
}

TEST_F(ProgressOutput, NoEndWhenAnExceptionIsOnItsWay) {
  use(ProgressMode::kJson, {0, 0, 0, 3600});
  ::testing::internal::CaptureStderr();
  try {
    Progress progress("failing", 10, "step");
    throw std::runtime_error("stop");
  } catch (const std::runtime_error&) {
  }
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

TEST_F(ProgressOutput, LogLinesDoNotTearTheBar) {
  ::testing::internal::CaptureStderr();
  set_status_line("bar");
  log_line(Verbosity::kNormal, "message");
  set_status_line("");
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "\r\x1b[Kbar\r\x1b[Kmessage\nbar\r\x1b[K");
}

}  // namespace
}  // namespace espalier
