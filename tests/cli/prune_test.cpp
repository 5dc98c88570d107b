// The main job as a user does it, on the embedded model.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <thread>

#include "espalier/core/json.h"
#include "tests/cli/run_program.h"

namespace espalier::test {
namespace {

std::string hash_of_weights(const std::filesystem::path& model) { return sha256_of_file(model / "model.safetensors"); }

std::filesystem::path copy_of_model(const TempDir& dir, const std::string& name) {
  std::filesystem::copy(assets_dir() / "models" / kModel, dir / name);
  return dir / name;
}

TEST(Prune, WritesASmallerModelThatEvaluatesAndSaysWhatItDid) {
  TempDir dir;
  const std::string out = (dir / "amp").string();
  const Json result = json_of(espalier({"prune", kModel, "--method", "amp", "--sparsity", "0.2", "--set", "prompts=8", "-o", out, "--json"}));
  EXPECT_EQ(result.at("method"), "03-amp");
  EXPECT_LT(result.at("after").at("params").get<int64_t>(), result.at("before").at("params").get<int64_t>());
  EXPECT_NEAR(result.at("sparsity").at("reached").get<double>(), 0.2, 0.05);
  EXPECT_FALSE(result.at("removed").empty());
  const Json quality = json_of(espalier({"eval", out, "--limit", "2000", "--against", kModel, "--json"}));
  EXPECT_GT(quality.at("value").get<double>(), quality.at("against").at("ppl").get<double>());
  EXPECT_LT(quality.at("value").get<double>(), 200);
  EXPECT_TRUE(std::filesystem::exists(dir / "amp" / "recipe.yaml"));
  EXPECT_FALSE(std::filesystem::exists(dir / "amp.partial"));
  const Json config = read_json(dir / "amp" / "config.json");
  EXPECT_FALSE(config.contains("espalier"));  // equal widths: stock loaders read it
}

TEST(Prune, TheSameSeedGivesTheSameBytes) {
  TempDir dir;
  for (const char* name : {"a", "b"})
    ASSERT_EQ(espalier({"prune", kModel, "--method", "random", "--sparsity", "0.5", "--seed", "7", "-o", (dir / name).string()}).exit_code, 0);
  EXPECT_EQ(hash_of_weights(dir / "a"), hash_of_weights(dir / "b"));
  ASSERT_EQ(espalier({"prune", kModel, "--method", "random", "--sparsity", "0.5", "--seed", "8", "-o", (dir / "c").string()}).exit_code, 0);
  EXPECT_NE(hash_of_weights(dir / "a"), hash_of_weights(dir / "c"));
}

TEST(Prune, PackedResultsAreSmallerAndEvaluateAlike) {
  TempDir dir;
  for (const char* pack : {"none", "bitmap"})
    ASSERT_EQ(espalier({"prune", kModel, "--method", "magnitude", "--sparsity", "0.6", "--pack", pack, "-o", (dir / pack).string()}).exit_code, 0);
  EXPECT_LT(std::filesystem::file_size(dir / "bitmap" / "model.safetensors"),
            std::filesystem::file_size(dir / "none" / "model.safetensors") * 7 / 10);
  const auto value = [&](const char* pack) { return json_of(espalier({"eval", (dir / pack).string(), "--limit", "1000", "--json"})).at("value"); };
  EXPECT_EQ(value("none"), value("bitmap"));
}

// A run that is stopped between its checkpoints, against one that is not.
class PruneResumed : public ::testing::Test {
 protected:
  std::vector<std::string> command(const std::string& name, bool resume = false) const {
    std::vector<std::string> all = {"prune", kModel,      "--method", "wanda", "--sparsity", "0.5", "--samples", "24",
                                    "-q",    "--threads", "1",        "-o",    (dir_ / name).string()};
    if (resume) all.push_back("--resume");
    return all;
  }

  // Sends the signal once the second block is written; the status of waitpid().
  int stop_with(int signal) {
    const pid_t pid = start_espalier(command("stopped"), dir_ / "err");
    const auto second_block = dir_ / "stopped.partial" / "step0-block00001.safetensors";
    for (int i = 0; i < 3000 && !std::filesystem::exists(second_block) && !std::filesystem::exists(dir_ / "stopped"); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    ::kill(pid, signal);
    int status = 0;
    ::waitpid(pid, &status, 0);
    EXPECT_TRUE(std::filesystem::exists(second_block));
    EXPECT_FALSE(std::filesystem::exists(dir_ / "stopped"));
    return status;
  }

  void expect_the_same_bytes_after_resuming() {
    ESP_EXPECT_MISTAKE(espalier(command("stopped")), "--resume");
    const ProgramEnd resumed = espalier(command("stopped", true));
    ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
    EXPECT_FALSE(std::filesystem::exists(dir_ / "stopped.partial"));
    ASSERT_EQ(espalier(command("straight")).exit_code, 0);
    EXPECT_EQ(hash_of_weights(dir_ / "stopped"), hash_of_weights(dir_ / "straight"));
  }

  TempDir dir_;
};

TEST_F(PruneResumed, AfterKill9) {
  EXPECT_TRUE(WIFSIGNALED(stop_with(SIGKILL)));
  expect_the_same_bytes_after_resuming();
}

TEST_F(PruneResumed, AfterCtrlC) {
  const int status = stop_with(SIGINT);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 130);
  const std::string said = read_file(dir_ / "err", 4096);
  EXPECT_NE(said.find("espalier: interrupted: run the same command with --resume to go on"), std::string::npos) << said;
  expect_the_same_bytes_after_resuming();
}

TEST(Prune, RefusesWrongInputWithOneLine) {
  TempDir dir;
  const std::string out = (dir / "out").string();
  const auto prune = [&](const std::string& model, const std::string& method, const std::string& sparsity) {
    return espalier({"prune", model, "--method", method, "--sparsity", sparsity, "-o", out});
  };
  ESP_EXPECT_MISTAKE(prune(kModel, "wonda", "0.5"), "did you mean 'wanda'");
  ESP_EXPECT_MISTAKE(prune(kModel, "wanda", "1.2"), "1.2");
  ESP_EXPECT_MISTAKE(prune((dir / "nowhere").string(), "wanda", "0.5"), "nowhere");

  const auto truncated = copy_of_model(dir, "truncated");
  std::filesystem::resize_file(truncated / "model.safetensors", 100'000);
  ESP_EXPECT_MISTAKE(prune(truncated.string(), "magnitude", "0.5"), "model.safetensors");

  const auto contradicting = copy_of_model(dir, "contradicting");
  Json config = read_json(contradicting / "config.json");
  config["intermediate_size"] = 400;
  write_file_atomically(contradicting / "config.json", config.dump());
  ESP_EXPECT_MISTAKE(prune(contradicting.string(), "magnitude", "0.5"), "[400, 128]");

  const auto mute = copy_of_model(dir, "mute");
  std::filesystem::remove(mute / "tokenizer.json");
  ESP_EXPECT_MISTAKE(prune(mute.string(), "wanda", "0.5"), "tokenizer");

  write_file_atomically(dir / "latin1.txt", "caf\xe9 caf\xe9 caf\xe9\n");
  ESP_EXPECT_MISTAKE(espalier({"prune", kModel, "--method", "wanda", "--sparsity", "0.5", "--calib", (dir / "latin1.txt").string(), "-o", out}), "latin1.txt");

  std::filesystem::create_directory(dir / "out");
  ESP_EXPECT_MISTAKE(prune(kModel, "magnitude", "0.5"), "already there");
  for (const auto& entry : std::filesystem::directory_iterator(dir.path()))
    EXPECT_EQ(entry.path().string().find("partial"), std::string::npos) << entry.path();
}

TEST(Convert, PacksAPrunedModelWithoutChangingIt) {
  TempDir dir;
  const std::string dense = (dir / "sparse").string(), packed = (dir / "packed").string();
  ASSERT_EQ(espalier({"prune", kModel, "--method", "magnitude", "--sparsity", "0.7", "-o", dense}).exit_code, 0);
  ASSERT_EQ(espalier({"convert", dense, "--to", "hf", "--pack", "bitmap", "-o", packed}).exit_code, 0);
  EXPECT_LT(std::filesystem::file_size(dir / "packed" / "model.safetensors"),
            std::filesystem::file_size(dir / "sparse" / "model.safetensors"));
  const auto value = [&](const std::string& model) { return json_of(espalier({"eval", model, "--limit", "600", "--json"})).at("value"); };
  EXPECT_EQ(value(dense), value(packed));
  ESP_EXPECT_MISTAKE(espalier({"convert", dense, "--to", "gguf", "-o", packed + "2"}), "gguf cannot be written yet");
}

TEST(Generate, IsTheSameForTheSameSeed) {
  const auto text = [](const char* seed) {
    return json_of(espalier({"generate", kModel, "--prompt", "The old man", "-n", "12", "--temperature", "0.8", "--seed", seed, "--json"})).at("text");
  };
  EXPECT_EQ(text("1"), text("1"));
  EXPECT_NE(text("1"), text("2"));
}

}  // namespace
}  // namespace espalier::test
