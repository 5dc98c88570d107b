#include "espalier/lab/report/run_store.h"

#include <gtest/gtest.h>

#include "tests/support.h"

namespace espalier {
namespace {

TEST(RunStore, ListsAndShowsRunsThatWereStoppedAndThatGoOn) {
  const test::TempDir dir;
  RunStore store(dir / "runs.db");
  const auto begin = [&](const std::string& out, bool resumed) { return store.begin({"train", "dense", "model", out, {{"seed", 1}}}, resumed); };
  const int64_t stopped = begin("/a", false), running = begin("/b", false), done = begin("/c", false);
  store.end(stopped, "stopped", nullptr);
  store.end(done, "done", {{"last", {{"loss", 2.5}}}});
  const Json rows = store.list(9);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].at("last"), (Json{{"loss", 2.5}}));
  EXPECT_EQ(rows[1].at("status"), "running");
  EXPECT_EQ(rows[1].at("last"), Json::object());
  EXPECT_EQ(rows[2].at("status"), "stopped");
  EXPECT_EQ(rows[2].at("last"), Json::object());
  EXPECT_TRUE(store.show(stopped).at("result").is_null());
  EXPECT_TRUE(store.show(running).at("result").is_null());
  EXPECT_EQ(begin("/a", true), stopped);
  EXPECT_EQ(store.list(9)[2].at("status"), "running");
  EXPECT_EQ(begin("/c", true), done + 1) << "it had ended";
}

}  // namespace
}  // namespace espalier
