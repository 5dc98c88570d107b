#include "espalier/core/run_dir.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "espalier/core/file.h"
#include "espalier/core/manifest.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

class RunDir : public ::testing::Test {
 protected:
  test::TempDir dir_;
  fs::path out_ = dir_ / "model out";
  fs::path partial_ = dir_ / "model out.partial";
  Json config_ = {{"method", "wanda"}, {"seed", 0}, {"steps", Json::array({{{"sparsity", 0.5}}})}};

  Json complete(RunDirectory& run, const std::string& text = "weights") {
    write_file_atomically(run.staging() / "model.bin", text);
    const Json result = {{"value", 1}};
    run.finish(result);
    return result;
  }

  void leave_unfinished() {
    RunDirectory run(out_, config_, {});
    run.save_state("block", 3);
    write_file_atomically(run.staging() / "model.bin", "half");
  }
};

TEST_F(RunDir, OutAppearsWholeWithItsManifest) {
  {
    RunDirectory run(out_, config_, {});
    EXPECT_FALSE(run.resumed());
    EXPECT_FALSE(fs::exists(out_));
    fs::create_directory(run.staging() / "sub");
    write_file_atomically(run.staging() / "sub/b.bin", "bb");
    complete(run);
  }
  EXPECT_FALSE(fs::exists(partial_));
  const Json manifest = read_json(out_ / "manifest.json");
  EXPECT_EQ(manifest["files"]["model.bin"]["bytes"], 7);
  EXPECT_EQ(manifest["files"]["sub/b.bin"]["sha256"],
            "3b64db95cb55c763391c707108489ae18b4112d783300de38e033b4c98c3deaf");
  EXPECT_EQ(manifest["files"].size(), 2u);
  EXPECT_EQ(manifest["result"]["value"], 1);
  verify_manifest(out_);
}

TEST_F(RunDir, ManifestFindsDamage) {
  {
    RunDirectory run(out_, config_, {});
    complete(run);
  }
  std::ofstream(out_ / "model.bin") << "weightz";
  ESP_EXPECT_USER_ERROR(verify_manifest(out_), "differs");
  fs::remove(out_ / "model.bin");
  ESP_EXPECT_USER_ERROR(verify_manifest(out_), "missing");
  std::ofstream(out_ / "manifest.json") << R"({"files":{"../../etc/passwd":{"bytes":1,"sha256":"x"}}})";
  ESP_EXPECT_USER_ERROR(verify_manifest(out_), "outside");
}

TEST_F(RunDir, ExistingOutIsRefusedAtTheStart) {
  fs::create_directory(out_);
  ESP_EXPECT_USER_ERROR(RunDirectory(out_, config_, {}), "--force");
  EXPECT_FALSE(fs::exists(partial_));
}

TEST_F(RunDir, ForceReplacesOnlyAtTheEnd) {
  fs::create_directory(out_);
  std::ofstream(out_ / "old.txt") << "old";
  {
    RunDirectory run(out_, config_, {.force = true});
    EXPECT_TRUE(fs::exists(out_ / "old.txt"));
    complete(run);
  }
  EXPECT_FALSE(fs::exists(out_ / "old.txt"));
  EXPECT_TRUE(fs::exists(out_ / "model.bin"));
  EXPECT_FALSE(fs::exists(partial_));
}

TEST_F(RunDir, ForceKeepsItsHandsOffPreciousPlaces) {
  ESP_EXPECT_USER_ERROR(RunDirectory("/", config_, {.force = true}), "does not replace");
  ESP_EXPECT_USER_ERROR(RunDirectory(fs::current_path(), config_, {.force = true}), "does not replace");
  fs::create_directories(out_ / ".git");
  ESP_EXPECT_USER_ERROR(RunDirectory(out_, config_, {.force = true}), "does not replace");
  fs::create_directories(dir_ / "outer/model");
  ESP_EXPECT_USER_ERROR(RunDirectory(dir_ / "outer", config_, {.force = true, .source = dir_ / "outer/model"}),
                        "does not replace");
}

TEST_F(RunDir, SourceAsOutNeedsForce) {
  fs::create_directory(out_);
  ESP_EXPECT_USER_ERROR(RunDirectory(out_ / "", config_, {.source = dir_ / "./model out"}), "the model that is read");
  RunDirectory run(out_, config_, {.force = true, .source = out_});
  complete(run);
  EXPECT_TRUE(fs::exists(out_ / "model.bin"));
}

TEST_F(RunDir, SecondLiveRunNamesTheFirst) {
  RunDirectory first(out_, config_, {});
  const RunOptions options[] = {{}, {.force = true}, {.resume = true}};
  for (const auto& option : options)
    ESP_EXPECT_USER_ERROR(RunDirectory(out_, config_, option), "process " + std::to_string(::getpid()) + " on ");
  complete(first);
  EXPECT_TRUE(fs::exists(out_));
}

TEST_F(RunDir, UnfinishedRunAsksWhatToDo) {
  leave_unfinished();
  ESP_EXPECT_USER_ERROR(RunDirectory(out_, config_, {}), "continue it with --resume or discard it with --force");
  RunDirectory run(out_, config_, {.force = true});
  EXPECT_FALSE(run.resumed());
  EXPECT_EQ(run.state("block"), std::nullopt);
  EXPECT_TRUE(fs::is_empty(run.staging()));
}

TEST_F(RunDir, WithoutCheckpointsAnUnfinishedRunIsNoLoss) {
  { RunDirectory killed(out_, config_, {}); }
  EXPECT_TRUE(fs::exists(partial_ / "config.json"));
  RunDirectory run(out_, config_, {});
  EXPECT_FALSE(run.resumed());
  complete(run);
  EXPECT_FALSE(fs::exists(partial_));
}

TEST_F(RunDir, ADirectoryThatNoRunMadeIsLeftAlone) {
  fs::create_directory(partial_);
  std::ofstream(partial_ / "notes.txt") << "mine";
  ESP_EXPECT_USER_ERROR(RunDirectory(out_, config_, {.force = true}), "not the directory of a run");
  EXPECT_EQ(read_file(partial_ / "notes.txt", 10), "mine");
}

TEST_F(RunDir, ResumeFindsItsState) {
  leave_unfinished();
  std::ofstream(partial_ / "out/model.bin.partial-77") << "torn";
  RunDirectory run(out_, config_, {.resume = true});
  EXPECT_TRUE(run.resumed());
  EXPECT_EQ(run.state("block"), Json(3));
  EXPECT_FALSE(fs::exists(run.staging() / "model.bin.partial-77"));
  EXPECT_EQ(read_file(run.staging() / "model.bin", 100), "half");
}

TEST_F(RunDir, ResumeWithOtherSettingsNamesTheFirstDifference) {
  leave_unfinished();
  config_["steps"][0]["sparsity"] = 0.6;
  ESP_EXPECT_USER_ERROR(RunDirectory(out_, config_, {.resume = true}),
                        "steps[0].sparsity differs: the unfinished run has 0.5, this command 0.6");
}

TEST_F(RunDir, ResumeWithNothingThereJustStarts) {
  RunDirectory run(out_, config_, {.resume = true});
  EXPECT_FALSE(run.resumed());
  complete(run);
}

TEST_F(RunDir, ResumeOfAFinishedRunReturnsItsResult) {
  {
    RunDirectory run(out_, config_, {});
    complete(run);
  }
  fs::create_directories(partial_ / "state");  // killed between the rename and the clean-up
  {
    RunDirectory run(out_, config_, {.resume = true});
    ASSERT_TRUE(run.finished_result());
    EXPECT_EQ((*run.finished_result())["value"], 1);
  }
  EXPECT_FALSE(fs::exists(partial_));
  config_["seed"] = 1;
  ESP_EXPECT_USER_ERROR(RunDirectory(out_, config_, {.resume = true}), "already there");
}

TEST_F(RunDir, ReplacementCutInHalfIsRolledBack) {
  leave_unfinished();
  fs::create_directory(partial_ / "replaced");
  std::ofstream(partial_ / "replaced/old.txt") << "old";
  ESP_EXPECT_USER_ERROR(RunDirectory(out_, config_, {}), "already there");
  EXPECT_TRUE(fs::exists(out_ / "old.txt"));
}

TEST_F(RunDir, GuardDiscardsAfterAShortFailure) {
  RunDirectory run(out_, config_, {});
  run.save_state("block", 1);
  ESP_EXPECT_USER_ERROR(run.guard([]() -> Json { throw UserError("bad weights"); }), "bad weights");
  EXPECT_FALSE(fs::exists(partial_));
}

TEST_F(RunDir, GuardDiscardsWhenALibraryEndsTheProcess) {
  const auto end_inside = [&](const RunOptions& options) {
    RunDirectory run(out_, config_, options);
    run.guard([]() -> Json { std::exit(1); });
  };
  EXPECT_EXIT(end_inside({}), testing::ExitedWithCode(2), "espalier: error: not enough memory or threads");
  EXPECT_FALSE(fs::exists(partial_));
  leave_unfinished();
  EXPECT_EXIT(end_inside({.resume = true}), testing::ExitedWithCode(2), "the work so far is kept in .*--resume");
  EXPECT_TRUE(fs::exists(partial_ / "state/block.json"));
  EXPECT_EXIT(std::exit(3), testing::ExitedWithCode(3), "") << "outside";
}

TEST_F(RunDir, GuardKeepsAResumedRun) {
  leave_unfinished();
  RunDirectory run(out_, config_, {.resume = true});
  ESP_EXPECT_USER_ERROR(run.guard([]() -> Json { throw UserError("disk full"); }), "--resume");
  EXPECT_TRUE(fs::exists(partial_ / "state/block.json"));
}

TEST_F(RunDir, GuardKeepsAnInterruptedRunWithStateOnly) {
  {
    RunDirectory run(out_, config_, {});
    EXPECT_THROW(run.guard([]() -> Json { throw Interrupted("interrupted"); }), Interrupted);
    EXPECT_FALSE(fs::exists(partial_));
  }
  RunDirectory run(out_, config_, {});
  run.save_state("block", 1);
  EXPECT_THROW(run.guard([]() -> Json { throw Interrupted("interrupted"); }), Interrupted);
  EXPECT_TRUE(fs::exists(partial_));
}

TEST_F(RunDir, OutIsAlwaysOldOrNewWhenKilled) {
  const auto reference = dir_ / "reference";
  {
    RunDirectory run(reference, config_, {});
    complete(run, "new");
  }
  for (int microseconds = 0; microseconds <= 30000; microseconds += 1500) {
    fs::remove_all(out_);
    fs::remove_all(partial_);
    fs::create_directory(out_);
    std::ofstream(out_ / "model.bin") << "old";
    const pid_t child = ::fork();
    if (child == 0) {
      RunDirectory run(out_, config_, {.force = true});
      complete(run, "new");
      ::_exit(0);
    }
    ::usleep(static_cast<useconds_t>(microseconds));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    const auto text = read_file(out_ / "model.bin", 10);
    EXPECT_TRUE(text == "new" || text == "old") << text;
    RunDirectory run(out_, config_, {.force = true, .resume = true});
    if (!run.finished_result()) complete(run, "new");
    EXPECT_EQ(read_file(out_ / "manifest.json", 4096), read_file(reference / "manifest.json", 4096));
    EXPECT_FALSE(fs::exists(partial_));
  }
}

TEST_F(RunDir, PlacesThatCannotBeCreatedAreTheUsersMistake) {
  std::ofstream(dir_ / "file") << "x";
  ESP_EXPECT_USER_ERROR(RunDirectory(dir_ / "file/out", config_, {}), "file");
}

}  // namespace
}  // namespace espalier
