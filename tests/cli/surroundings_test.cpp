// What the program does when its surroundings are not as they should be: disks, terminals, other runs, odd names.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <thread>

#include "espalier/core/json.h"
#include "espalier/core/run_lock.h"
#include "espalier/io/checkpoint.h"
#include "espalier/io/checkpoint_index.h"
#include "tests/cli/run_program.h"
#include "tests/families/tiny_models.h"

namespace espalier::test {
namespace {

namespace fs = std::filesystem;

class Surroundings : public ::testing::Test {
 protected:
  Surroundings() { write_tiny_llama(model_); }

  ProgramEnd convert(const fs::path& model, const fs::path& out) {
    return espalier({"convert", model.string(), "-o", out.string()});
  }
  ProgramEnd prune(const fs::path& model, const fs::path& out, std::vector<std::string> more = {}) {
    std::vector<std::string> all = {"prune", model.string(), "--method", "magnitude", "--sparsity", "0.5",
                                    "-q",    "-o",           out.string()};
    all.insert(all.end(), more.begin(), more.end());
    return espalier(all);
  }
  // Nothing in the directory but what was there before the run.
  void expect_only(std::vector<std::string> names) const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(dir_.path())) found.push_back(entry.path().filename().string());
    std::sort(found.begin(), found.end());
    std::sort(names.begin(), names.end());
    EXPECT_EQ(found, names);
  }

  TempDir dir_;
  const fs::path model_ = dir_ / "model", out_ = dir_ / "out";
};

// A real file system of 64 KB in a mount namespace of its own; find says what a failed run left there.
TEST_F(Surroundings, FullDisk) {
  const auto full = dir_ / "full";
  fs::create_directory(full);
  const std::string mount = "mount -t tmpfs -o size=64k none '" + full.string() + "'";
  if (run_command({"unshare", "-rm", "bash", "-c", mount}).exit_code != 0) GTEST_SKIP() << "may not mount a tmpfs";
  TinyOptions large;
  large.ffn = 512;
  write_tiny_llama(dir_ / "large", large);
  for (const std::string& verb : {std::string("convert"), std::string("prune --method magnitude --sparsity 0.5")}) {
    const ProgramEnd ended = run_command({"unshare", "-rm", "bash", "-c",
                                        mount + "; \"$0\" " + verb + " \"$1\" -q -o \"$2\"/out; code=$?; find \"$2\" -mindepth 1; exit $code",
                                        program_path(), (dir_ / "large").string(), full.string()});
    ESP_EXPECT_MISTAKE(ended, "No space left on device");
    EXPECT_NE(ended.err.find((full / "out").string()), std::string::npos) << ended.err;
  }
}

TEST_F(Surroundings, ASecondRunOnOneOutputNamesTheFirst) {
  RunLock first;
  first.acquire(out_.string() + ".partial", "test");
  const std::string said = fmt::format("another run is at work there (process {} on ", ::getpid());
  ESP_EXPECT_MISTAKE(convert(model_, out_), said);
  ESP_EXPECT_MISTAKE(prune(model_, out_), said);
  ESP_EXPECT_MISTAKE(prune(model_, out_, {"--resume"}), said);
  ESP_EXPECT_MISTAKE(prune(model_, out_, {"--force"}), said);
  EXPECT_TRUE(fs::exists(out_.string() + ".partial/lock"));
}

TEST_F(Surroundings, AMissingShardIsNamedByEveryVerb) {
  const auto checkpoint = Checkpoint::open(model_);
  std::vector<std::pair<std::string, std::string>> map;
  for (const auto& name : checkpoint->names()) map.emplace_back(name, "model-00002-of-00002.safetensors");
  map[0].second = "model-00001-of-00002.safetensors";
  write_index(model_, map, 1);
  fs::rename(model_ / "model.safetensors", model_ / "model-00002-of-00002.safetensors");
  const std::string said = "the shard 'model-00001-of-00002.safetensors' is missing";
  ESP_EXPECT_MISTAKE(prune(model_, out_), said);
  ESP_EXPECT_MISTAKE(convert(model_, out_), said);
  ESP_EXPECT_MISTAKE(espalier({"inspect", model_.string()}), said);
  expect_only({"model"});
}

TEST_F(Surroundings, AnOutputThatExistsStays) {
  ASSERT_EQ(convert(model_, out_).exit_code, 0);
  const auto before = sha256_of_file(out_ / "manifest.json");
  ESP_EXPECT_MISTAKE(convert(model_, out_), "already there");
  ESP_EXPECT_MISTAKE(prune(model_, out_), "already there");
  EXPECT_EQ(sha256_of_file(out_ / "manifest.json"), before);
  expect_only({"model", "out"});
}

TEST_F(Surroundings, ADirectoryOfSomebodyElseIsNotTakenForARun) {
  fs::create_directory(out_.string() + ".partial");
  write_file_atomically(out_.string() + ".partial/notes.txt", "mine");
  ESP_EXPECT_MISTAKE(convert(model_, out_), "not the directory of a run");
  EXPECT_EQ(read_file(out_.string() + ".partial/notes.txt", 10), "mine");
}

TEST_F(Surroundings, ARecipeWithAnUnknownKeyIsRefused) {
  write_file_atomically(dir_ / "r.yaml", "steps: [{method: magnitude, sparsty: 0.5}]\n");
  ESP_EXPECT_MISTAKE(espalier({"prune", model_.string(), "--recipe", (dir_ / "r.yaml").string(), "-o", out_.string()}),
                     "unknown key 'sparsty' (did you mean 'sparsity'?)");
}

TEST_F(Surroundings, APatternThatMatchesNoLayerIsRefused) {
  ESP_EXPECT_MISTAKE(prune(model_, out_, {"--protect", "model.layers.9.*"}), "model.layers.9.*");
  expect_only({"model"});
}

TEST_F(Surroundings, NamesWithSpacesAndUtf8) {
  const auto odd = dir_ / "ein Möbel 木 'x' \"y\"", out = dir_ / "das Ergebnis ü";
  fs::rename(model_, odd);
  EXPECT_EQ(convert(odd, out).exit_code, 0);
  const ProgramEnd end = prune(out, dir_ / "kürzer 2", {"--json"});
  ASSERT_EQ(end.exit_code, 0) << end.err;
  EXPECT_EQ(parse_json(end.out, "stdout").at("out"), (dir_ / "kürzer 2").string());
  EXPECT_EQ(espalier({"inspect", (dir_ / "kürzer 2").string()}).exit_code, 0);
}

TEST_F(Surroundings, NamesThatAreTooLong) {
  ESP_EXPECT_MISTAKE(convert(model_, dir_ / std::string(300, 'x')), "File name too long");
  fs::path deep = dir_.path();
  for (int i = 0; i < 50; ++i) deep /= std::string(100, 'd');
  ESP_EXPECT_MISTAKE(convert(model_, deep), "File name too long");
  ESP_EXPECT_MISTAKE(espalier({"inspect", deep.string()}), "dddd");
  expect_only({"model"});
}

TEST_F(Surroundings, WithoutTermAndHome) {
  const std::vector<std::string> bare = {"env", "-i", program_path()};
  const auto run = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), bare.begin(), bare.end());
    return run_command(arguments);
  };
  EXPECT_EQ(run({"models"}).exit_code, 0);
  EXPECT_EQ(run({"inspect", model_.string()}).exit_code, 0);
  const ProgramEnd end = run({"prune", model_.string(), "--method", "magnitude", "--sparsity", "0.5", "-o", out_.string()});
  EXPECT_EQ(end.exit_code, 0) << end.err;
  EXPECT_EQ(end.err.find('\x1b'), std::string::npos) << "a terminal's escape in a file";
}

TEST_F(Surroundings, AHomeThatCannotBeWrittenIsNotNeeded) {
  const auto home = dir_ / "home";
  fs::create_directory(home);
  fs::permissions(home, fs::perms::owner_read | fs::perms::owner_exec);
  const ProgramEnd end = run_command({"env", "HOME=" + home.string(), program_path(), "convert", model_.string(), "-o", out_.string()});
  EXPECT_EQ(end.exit_code, 0) << end.err;
  EXPECT_TRUE(fs::is_empty(home));
}

TEST_F(Surroundings, AnOutputInADirectoryThatIsAFile) {
  ESP_EXPECT_MISTAKE(convert(model_, model_ / "config.json" / "out"), "config.json");
  ESP_EXPECT_MISTAKE(convert(model_ / "config.json", out_), "config.json");
  expect_only({"model"});
}

// The source is damaged while a run of some seconds reads it.
class ChangedSource : public ::testing::Test {
 protected:
  std::string error_after(const std::function<void(const fs::path& weights)>& change) {
    fs::copy(assets_dir() / "models/espalier-tiny", dir_ / "model");
    const auto out = dir_ / "out";
    const pid_t pid = start_espalier({"prune", (dir_ / "model").string(), "--method", "wanda", "--sparsity", "0.5",
                                      "--samples", "24", "--threads", "1", "-q", "-o", out.string()},
                                     dir_ / "err");
    for (int i = 0; i < 3000 && !fs::exists(out.string() + ".partial/step0-block00000.safetensors"); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    change(dir_ / "model/model.safetensors");
    int status = 0;
    ::waitpid(pid, &status, 0);
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 2);
    EXPECT_FALSE(fs::exists(out));
    return read_file(dir_ / "err", 4096);
  }
  TempDir dir_;
};

TEST_F(ChangedSource, Written) {
  const std::string said = error_after([](const fs::path& weights) {
    fs::last_write_time(weights, fs::last_write_time(weights) + std::chrono::seconds(5));
  });
  EXPECT_NE(said.find("model.safetensors: the file was changed while espalier was reading it"), std::string::npos) << said;
}

TEST_F(ChangedSource, Truncated) {
  const std::string said = error_after([](const fs::path& weights) { fs::resize_file(weights, 4096); });
  EXPECT_NE(said.find("model.safetensors: the file was truncated"), std::string::npos) << said;
}

TEST_F(Surroundings, ClosedStdoutOfAVerbThatReadsAModel) {
  const ProgramEnd end = run_command({"bash", "-c", "set -o pipefail; \"$0\" inspect \"$1\" --json | true", program_path(), model_.string()});
  EXPECT_EQ(end.exit_code, 0) << end.err;
}

}  // namespace
}  // namespace espalier::test
