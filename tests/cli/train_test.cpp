// espalier train, runs and report as a user calls them.
#include <signal.h>

#include <chrono>
#include <cstdlib>
#include <set>
#include <thread>

#include "espalier/core/json.h"
#include "espalier/core/manifest.h"
#include "espalier/core/rng.h"
#include "espalier/families/family.h"
#include "tests/cli/run_program.h"

namespace espalier {
namespace {

using test::espalier;
using test::ProgramEnd;
using test::start_espalier;
using test::TempDir;

// Each test has a run store of its own.
class Train : public ::testing::Test {
 protected:
  Train() { ::setenv("ESPALIER_RUNS", (dir_ / "runs.db").c_str(), 1); }
  ~Train() override { ::unsetenv("ESPALIER_RUNS"); }

  std::string at(const std::string& name) const { return (dir_ / name).string(); }

  // A few steps of the small classifier on few pictures.
  std::vector<std::string> command(const std::string& out, std::vector<std::string> more = {}) const {
    std::vector<std::string> all = {"train",      "espalier-fashion-cnn", "--fresh",    "--training", "steps=12",   "--training", "batch=8",
                                    "--training", "limit=64",             "--training", "eval-limit=50", "--training", "report-every=4",
                                    "--training", "checkpoint-every=1",   "--threads",  "1",          "-q",         "-o",         at(out)};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  std::string weights_of(const std::string& out) const { return sha256_of_file(dir_ / out / "model.safetensors"); }

  TempDir dir_;
};

TEST_F(Train, WritesAModelItsRecordAndItsRecipe) {
  const ProgramEnd end = espalier(command("trained", {"--json"}));
  ASSERT_EQ(end.exit_code, 0) << end.err;
  const Json result = parse_json(end.out, "train");
  EXPECT_EQ(result.at("steps"), 12);
  EXPECT_EQ(result.at("method"), "dense");
  EXPECT_GT(result.at("last").at("accuracy").get<double>(), 0);
  EXPECT_EQ(result.at("before").at("params"), result.at("after").at("params"));
  verify_manifest(dir_ / "trained");
  EXPECT_EQ(espalier({"eval", at("trained"), "--data", "fashion-test", "--limit", "50", "--json"}).exit_code, 0);

  // The stored recipe gives the same bits again.
  const ProgramEnd again = espalier({"train", at("trained") + "/recipe.yaml", "-q", "-o", at("again")});
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(weights_of("again"), weights_of("trained"));

  const Json runs = parse_json(espalier({"runs", "list", "--json"}).out, "runs").at("runs");
  ASSERT_EQ(runs.size(), 2u);
  EXPECT_EQ(runs[0].at("status"), "done");
  const Json shown = parse_json(espalier({"runs", "show", at("trained"), "--json"}).out, "runs");
  EXPECT_EQ(shown.at("recipe").at("training").at("steps"), "12");
  std::set<std::string> names;
  for (const auto& metric : shown.at("metrics")) names.insert(metric[1].get<std::string>());
  EXPECT_EQ(names, (std::set<std::string>{"accuracy", "hit_rate", "loss", "lr"}));
  const Json difference = parse_json(espalier({"runs", "diff", "1", "2", "--json"}).out, "runs");
  EXPECT_TRUE(difference.at("settings").empty()) << difference;

  ASSERT_EQ(espalier({"report", at("trained"), "1", "-o", at("report.html"), "-q"}).exit_code, 0);
  const std::string page = read_file(dir_ / "report.html", 1 << 20);
  EXPECT_NE(page.find("<polyline"), std::string::npos);
  EXPECT_NE(page.find("accuracy"), std::string::npos);
}

TEST_F(Train, GoesOnAfterKill9AtAnyMoment) {
  ASSERT_EQ(espalier(command("straight")).exit_code, 0);
  Rng rng(::getpid(), "moments");
  for (int i = 0; i < 4; ++i) {
    const std::string out = fmt::format("stopped{}", i);
    const auto delay = std::chrono::milliseconds(100 + rng.below(1200));
    const pid_t pid = start_espalier(command(out));
    std::this_thread::sleep_for(delay);
    ::kill(pid, SIGKILL);
    int status = 0;
    ::waitpid(pid, &status, 0);
    const bool begun = std::filesystem::exists(dir_ / (out + ".partial") / "recipe.yaml");
    const ProgramEnd resumed = begun ? espalier({"train", "--resume", at(out), "-q"}) : espalier(command(out, {"--force"}));
    ASSERT_EQ(resumed.exit_code, 0) << resumed.err << " killed after " << delay.count() << " ms";
    EXPECT_EQ(weights_of(out), weights_of("straight")) << "killed after " << delay.count() << " ms";
    EXPECT_EQ(sha256_of_file(dir_ / out / "metrics.json"), sha256_of_file(dir_ / "straight" / "metrics.json"));
    EXPECT_FALSE(std::filesystem::exists(dir_ / (out + ".partial")));
  }
}

TEST_F(Train, ALanguageModelLearnsItsText) {
  const std::vector<std::string> text = {"train", "espalier-tiny", "--training", "steps=3", "--training", "batch=2", "--training", "length=64",
                                         "--training", "limit=2000", "--training", "eval-limit=200", "--threads", "1", "--json", "-o", at("lm")};
  const ProgramEnd end = espalier(text);
  ASSERT_EQ(end.exit_code, 0) << end.err;
  EXPECT_GT(parse_json(end.out, "train").at("last").at("perplexity").get<double>(), 1);
  EXPECT_EQ(espalier({"generate", at("lm"), "-p", "Once", "-n", "4"}).exit_code, 0);
}

// A BERT without weights, whose words are w5 … w30; the names are Hugging Face's.
TEST_F(Train, AnEncoderLearnsHiddenTokens) {
  std::string vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n", text;
  for (int id = 5; id < 31; ++id) vocabulary += fmt::format("w{}\n", id);
  for (int i = 0; i < 2600; ++i) text += fmt::format("w{} ", 5 + i / 20 % 26);
  std::filesystem::create_directory(dir_ / "bert");
  const Json config = {{"model_type", "bert"},      {"architectures", {"BertForMaskedLM"}}, {"vocab_size", 31},        {"hidden_size", 24},
                       {"num_hidden_layers", 2},    {"num_attention_heads", 4},             {"intermediate_size", 20}, {"max_position_embeddings", 16}};
  write_file_atomically(dir_ / "bert" / "config.json", config.dump());
  write_file_atomically(dir_ / "bert" / "vocab.txt", vocabulary);
  write_file_atomically(dir_ / "text.txt", text);
  const ProgramEnd end = espalier({"train", at("bert"), "--data", at("text.txt"), "--eval", at("text.txt"), "--training", "steps=150", "--training", "batch=16", "--training", "length=12",
                                   "--training", "mask-share=0.3", "--training", "lr=0.02", "--training", "eval-limit=520", "--threads", "1", "--json", "-o", at("mlm")});
  ASSERT_EQ(end.exit_code, 0) << end.err;
  const double perplexity = parse_json(end.out, "train").at("last").at("masked_perplexity").get<double>();
  EXPECT_GT(perplexity, 1);
  EXPECT_LT(perplexity, 13) << "26 words guessed at";
  const std::string weights = read_file(dir_ / "mlm" / "model.safetensors", 1 << 20);
  for (const char* name : {"cls.predictions.bias", "cls.predictions.transform.dense.weight", "cls.predictions.transform.LayerNorm.weight"})
    EXPECT_NE(weights.find(fmt::format("\"{}\"", name)), std::string::npos) << name;
  const ProgramEnd again = espalier({"train", at("mlm") + "/recipe.yaml", "-q", "-o", at("again")});
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(weights_of("again"), weights_of("mlm"));
  const ProgramEnd measured = espalier({"eval", at("mlm"), "--data", at("text.txt"), "--length", "12", "--limit", "520", "--against", at("bert")});
  ASSERT_EQ(measured.exit_code, 0) << measured.err;
  EXPECT_EQ(measured.out.rfind("masked_ppl ", 0), 0u) << measured.out;
  EXPECT_NE(measured.out.find("over 104 tokens, chosen as 15 % of the text"), std::string::npos) << measured.out;
  ESP_EXPECT_MISTAKE(espalier({"eval", at("mlm"), "--data", at("text.txt"), "--policy", "streaming"}), "expected a language model");
  const auto with = [&](const std::string& setting) {
    return espalier({"train", at("mlm"), "--data", at("text.txt"), "--training", setting, "-o", at("x")});
  };
  ESP_EXPECT_MISTAKE(with("mask-share=1"), "mask-share: expected a share between 0 and 1");
  ESP_EXPECT_MISTAKE(with("length=17"), "length");
  write_file_atomically(dir_ / "mlm" / "vocab.txt", vocabulary.replace(vocabulary.find("[MASK]"), 6, "w4"));
  ESP_EXPECT_MISTAKE(with("steps=1"), "tokenizer: expected a mask token");
}

TEST_F(Train, DistilsATeacher) {
  const ProgramEnd end = espalier(command("student", {"--teacher", "espalier-fashion-cnn", "--training", "distill=1", "--training", "temperature=2", "--json"}));
  ASSERT_EQ(end.exit_code, 0) << end.err;
  ESP_EXPECT_MISTAKE(espalier(command("x", {"--training", "distill=1"})), "option distill: needs --teacher");
  ESP_EXPECT_MISTAKE(espalier(command("x", {"--teacher", "espalier-fashion-cnn", "--training", "distill-attention=1"})), "option distill-attention");
}

// Of the dense network's 200,714 values beside its layers 100,352 come from norms, as many from activations, 10 from biases.
TEST_F(Train, AControlTakesTheStudysOptions) {
  ASSERT_EQ(espalier({"prune", "espalier-fashion-cnn", "--method", "l1-channels", "--sparsity", "0.5", "-q", "-o", at("pruned")}).exit_code, 0);
  const auto control = [&](const std::string& arm, std::vector<std::string> more) {
    std::vector<std::string> all = {"train",      at("pruned"), "--control",  arm,       "--dense",   "espalier-fashion-cnn", "--data", "fashion-train", "--training", "steps=1",
                                    "--training", "lr=1e-12",   "--training", "batch=8", "--threads", "1",                    "--json", "--force",       "-o",         at("control")};
    all.insert(all.end(), more.begin(), more.end());
    return espalier(all);
  };
  const auto dense_cost = [&](const ProgramEnd& end) { return parse_json(end.out, "train").at("control").at("dense multiply-adds").get<int64_t>(); };
  const auto norm_scales = [&](const std::string& out) { return load_model(dir_ / out).graph.parameter("bn1.weight").load().to_floats(); };
  const ProgramEnd plain = control("scratch-e", {}), all = control("scratch-e", {"--set", "count=all", "--set", "norm_scale=0.5"});
  ASSERT_EQ(all.exit_code, 0) << all.err;
  EXPECT_EQ(dense_cost(all) - dense_cost(plain), 200714);
  for (const float scale : norm_scales("control")) EXPECT_NEAR(scale, 0.5, 1e-6);
  ASSERT_EQ(espalier({"train", at("control") + "/recipe.yaml", "-q", "-o", at("again")}).exit_code, 0);
  EXPECT_EQ(weights_of("again"), weights_of("control")) << "the stored recipe says it";
  EXPECT_EQ(dense_cost(control("finetune", {"--set", "count=all"})), dense_cost(all));
  ESP_EXPECT_MISTAKE(control("finetune", {"--set", "norm_scale=0.5"}), "control finetune: there is no option 'norm_scale'; expected one of count");
  ESP_EXPECT_MISTAKE(control("scratch-b", {"--set", "count=al"}), "did you mean 'all'?");
  write_file_atomically(dir_ / "none.yaml", "model: espalier-fashion-cnn\nset: {count: all}\n");
  ESP_EXPECT_MISTAKE(espalier({"train", at("none.yaml"), "-o", at("x")}), "set: without a control");
}

// Without batch norms two processes with half a batch each are one process with the whole.
class TrainTogether : public Train {
 protected:
  std::vector<std::string> language(const std::string& out, int batch, int steps = 4) const {
    return {"train",      "espalier-tiny", "--training", "steps=" + std::to_string(steps), "--training", "batch=" + std::to_string(batch), "--training", "length=32",
            "--training", "limit=3000",    "--training", "eval-limit=100", "--training", "clip=0.5", "--training", "optimiser=sgd", "--threads", "1", "-q", "-o", at(out)};
  }

  pid_t start(int rank, const std::vector<std::string>& arguments, const std::string& err) const {
    ::setenv("RANK", std::to_string(rank).c_str(), 1);
    const pid_t pid = start_espalier(arguments, dir_ / err);
    ::unsetenv("RANK");
    return pid;
  }

  static int end_of(pid_t pid) {
    int status = 0;
    ::waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

  void group_of(int size) {
    ::setenv("WORLD_SIZE", std::to_string(size).c_str(), 1);
    ::setenv("MASTER_ADDR", "127.0.0.1", 1);
    ::setenv("MASTER_PORT", std::to_string(20000 + ::getpid() % 20000).c_str(), 1);
  }
  ~TrainTogether() override {
    for (const char* name : {"WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "RANK"}) ::unsetenv(name);
  }
};

TEST_F(TrainTogether, TwoProcessesAreOneWithTwiceTheBatch) {
  ASSERT_EQ(espalier(language("one", 4)).exit_code, 0);
  group_of(2);
  const pid_t first = start(0, language("two", 2), "err0"), second = start(1, language("two", 2), "err1");
  ASSERT_EQ(end_of(first), 0) << read_file(dir_ / "err0", 1 << 16);
  ASSERT_EQ(end_of(second), 0) << read_file(dir_ / "err1", 1 << 16);
  const Json one = read_json(dir_ / "one" / "metrics.json"), two = read_json(dir_ / "two" / "metrics.json");
  ASSERT_EQ(one.size(), two.size());
  for (size_t i = 0; i < one.size(); ++i) EXPECT_NEAR(one[i][2].get<double>(), two[i][2].get<double>(), 1e-5 * one[i][2].get<double>()) << one[i];
}

TEST_F(TrainTogether, ALostProcessLeavesACheckpointThatBothGoOnFrom) {
  group_of(2);
  const auto command = [&](const std::string& out) {
    auto all = language(out, 2, 24);
    all.insert(all.end(), {"--training", "checkpoint-every=3"});
    return all;
  };
  const auto run_both = [&](const std::vector<std::string>& arguments) {
    const pid_t first = start(0, arguments, "err0"), second = start(1, arguments, "err1");
    EXPECT_EQ(end_of(first), 0) << read_file(dir_ / "err0", 1 << 16);
    EXPECT_EQ(end_of(second), 0) << read_file(dir_ / "err1", 1 << 16);
  };
  run_both(command("straight"));
  const auto state = dir_ / "lost.partial" / "state" / "training.json";
  const pid_t first = start(0, command("lost"), "err0"), second = start(1, command("lost"), "err1");
  for (int i = 0; i < 6000 && !std::filesystem::exists(state); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  ::kill(second, SIGKILL);
  EXPECT_EQ(end_of(second), -SIGKILL);
  EXPECT_EQ(end_of(first), 2);
  const std::string said = read_file(dir_ / "err0", 1 << 16);
  EXPECT_NE(said.find("another process was lost"), std::string::npos) << said;
  EXPECT_NE(said.find("--resume goes on from it"), std::string::npos) << said;
  const Json kept = read_json(state);
  EXPECT_GT(kept.at("step").get<int64_t>(), 0);
  EXPECT_TRUE(std::filesystem::exists(dir_ / "lost.partial" / kept.at("file").get<std::string>()));

  auto resumed = command("lost");
  resumed.push_back("--resume");
  run_both(resumed);
  EXPECT_EQ(weights_of("lost"), weights_of("straight"));
  EXPECT_EQ(sha256_of_file(dir_ / "lost" / "metrics.json"), sha256_of_file(dir_ / "straight" / "metrics.json"));
}

TEST_F(TrainTogether, SaysWhatIsMissing) {
  ::setenv("WORLD_SIZE", "2", 1);
  ESP_EXPECT_MISTAKE(espalier(language("x", 2)), "data parallel: RANK: expected this process's number");
  ::setenv("RANK", "5", 1);
  ESP_EXPECT_MISTAKE(espalier(language("x", 2)), "RANK: expected a whole number from 0 to 1");
  ::setenv("RANK", "1", 1);
  ESP_EXPECT_MISTAKE(espalier(language("x", 2)), "MASTER_ADDR: expected the host of process 0");
}

TEST_F(Train, SaysWhatDoesNotFit) {
  ESP_EXPECT_MISTAKE(espalier(command("x", {"--training", "epoch=3"})), "there is no option 'epoch' (did you mean 'epochs'?)");
  ESP_EXPECT_MISTAKE(espalier(command("x", {"--training", "schedule=cosin"})), "one of constant, cosine, linear, steps");
  ESP_EXPECT_MISTAKE(espalier(command("x", {"--training", "precision=fp16"})), "training: precision: expected fp32 or bf16 on the processor");
  ESP_EXPECT_MISTAKE(espalier(command("x", {"--training", "warmup=12"})), "warmup: expected fewer steps than the run's 12");
  ESP_EXPECT_MISTAKE(espalier(command("x", {"--method", "wanda"})), "wanda prunes without a training");
  ESP_EXPECT_MISTAKE(espalier(command("x", {"--data", "calibration.txt"})), "holds text, and");
  ESP_EXPECT_MISTAKE(espalier(command("x", {"--set", "a=1"})), "--set: needs --method or --control");
  ESP_EXPECT_MISTAKE(espalier(command("x", {"--training", "batch=4"})), "--training: 'batch' is given twice");
  ESP_EXPECT_MISTAKE(espalier(command("x", {"--training", "lr"})), "--training: expected name=value, found 'lr'");
  ESP_EXPECT_MISTAKE(espalier({"train", "--resume", at("none")}), "no unfinished run");
  ESP_EXPECT_MISTAKE(espalier({"train", "espalier-tiny"}), "--out: missing");
  write_file_atomically(dir_ / "bad.yaml", "model: espalier-tiny\ntrainin: {lr: 1}\n");
  ESP_EXPECT_MISTAKE(espalier({"train", at("bad.yaml"), "-o", at("x")}), "unknown key 'trainin' (did you mean 'training'?)");
  write_file_atomically(dir_ / "short.txt", "one two three");
  ESP_EXPECT_MISTAKE(espalier({"train", "espalier-tiny", "--data", at("short.txt"), "-o", at("x")}), "fewer than two windows");
  ESP_EXPECT_MISTAKE(espalier({"runs", "show", "99"}), "there is no run '99'");
  ESP_EXPECT_MISTAKE(espalier({"runs", "diff", "1"}), "expected 2, found 1");
  EXPECT_FALSE(std::filesystem::exists(dir_ / "x"));
}

}  // namespace
}  // namespace espalier
