// Trains the embedded language models of assets/ from a folder of public-domain books: vocabulary, initial weights,
// training, comparison with an n-gram model, calibration and evaluation text. With --stages, on texts that must be
// searched (retrieval_mix.h) of growing length. assets/README.md states the commands.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <numbers>

#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/core/json.h"
#include "espalier/core/signals.h"
#include "espalier/families/family.h"
#include "espalier/io/safetensors.h"
#include "espalier/io/tokenizer.h"
#include "espalier/lab/measure/quality.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/bpe_trainer.h"
#include "espalier/lab/training/fresh_model.h"
#include "espalier/lab/training/ngram.h"
#include "espalier/lab/training/retrieval_task.h"
#include "espalier/lab/training/text_task.h"
#include "espalier/lab/training/trainer.h"

namespace espalier {
namespace {

constexpr ptrdiff_t kRetrievalTokens = 50000;

struct Settings {
  int64_t steps = 4000, batch = 16, warmup = 200;
  double learning_rate = 3e-3;
  uint64_t seed = 0;
  int64_t stop = 0;
};

struct Options {
  std::filesystem::path books, out;
  std::filesystem::path from;       // empty: fresh weights
  std::vector<std::string> stages;  // LENGTHxBATCHxSTEPS
  
  LlamaShape shape;
  Settings training;
  int threads = 2;
};

std::vector<RetrievalStage> stages_of(const Options& options) {
  std::vector<RetrievalStage> stages;
  for (const auto& text : options.stages) {
    RetrievalStage stage{};
    char end = 0;
    if (std::sscanf(text.c_str(), "%ldx%ldx%ld%c", &stage.length, &stage.batch, &stage.steps, &end) != 3 || stage.length < 1 || stage.batch < 1 || stage.steps < 1)
      throw UserError("--stages", "stage", "LENGTHxBATCHxSTEPS", text);
    if (stage.length > options.shape.context) throw UserError("--stages", "length", fmt::format("at most the context {}", options.shape.context), fmt::format("{}", stage.length));
    stages.push_back(stage);
  }
  return stages;
}

std::vector<std::string> read_split(const std::filesystem::path& books, const std::string& split) {
  std::vector<std::string> texts;
  std::istringstream names(read_file(books / (split + ".txt"), 1 << 20));
  for (std::string name; std::getline(names, name);)
    if (!name.empty()) texts.push_back(read_file(books / name, 64 << 20));
  return texts;
}

std::string joined(const std::vector<std::string>& texts) {
  std::string all;
  for (const auto& text : texts) all += text + "\n";
  return all;
}

// Books one after another, an end-of-text token (id 0) before each.
std::vector<int32_t> encode(const Tokenizer& tokenizer, const std::vector<std::string>& texts) {
  std::vector<int32_t> tokens;
  for (const auto& text : texts) {
    tokens.push_back(0);
    const auto ids = tokenizer.encode(text, false);
    tokens.insert(tokens.end(), ids.begin(), ids.end());
  }
  return tokens;
}

void save_weights(const Graph& graph, DType dtype, const std::filesystem::path& path) {
  std::vector<TensorSpec> specs;
  for (const auto& parameter : graph.parameters()) specs.push_back({parameter->name(), dtype, parameter->shape()});
  SafetensorsWriter writer(path, specs);
  for (const auto& parameter : graph.parameters()) writer.write(parameter->name(), parameter->load().to(dtype));
  writer.commit();
}

// At most `bytes` of the text, cut at a line's end.
std::string excerpt(const std::string& text, size_t skip, size_t bytes) {
  const size_t begin = text.find('\n', skip) + 1;
  return text.substr(begin, text.rfind('\n', begin + bytes) + 1 - begin);
}

double bits_per_byte(const Quality& quality, size_t text_tokens, size_t text_bytes) {
  return quality.nats_per_token / std::numbers::ln2 * static_cast<double>(text_tokens) / static_cast<double>(text_bytes);
}

// The model of an earlier training, with --context positions.
void start_from(const Options& options) {
  for (const char* file : {"tokenizer.json", "tokenizer_config.json", "model.safetensors"})
    std::filesystem::copy_file(options.from / file, options.out / file, std::filesystem::copy_options::overwrite_existing);
  Json config = read_json(options.from / "config.json");
  config["max_position_embeddings"] = options.shape.context;
  write_file_atomically(options.out / "config.json", config.dump(1) + "\n");
}

TrainOptions train_options(const Options& options, int64_t steps) {
  TrainOptions o;
  o.steps = steps;
  o.stop = options.training.stop;
  o.optimiser = OptimiserKind::kAdamW;
  o.learning_rate = options.training.learning_rate;
  o.warmup = options.training.warmup;
  o.final_ratio = 0.05;
  o.weight_decay = 0.1;
  o.beta1 = 0.9;
  o.beta2 = 0.95;
  o.clip = 1;
  o.seed = options.training.seed;
  o.evaluate_every = 0;
  return o;
}

// One long epoch, so that reports come at equal distances.
class RunningText : public TextTask {
 public:
  RunningText(const Graph& graph, std::vector<int32_t> tokens, int64_t length, const Settings& settings)
      : TextTask(graph, std::move(tokens), length, settings.batch, settings.seed), steps_(settings.steps) {}
  int64_t batches_an_epoch() const override { return steps_; }

 private:
  int64_t steps_;
};

// Hands the weights on every so many steps.
class Saver : public Plugin {
 public:
  Saver(int64_t every, std::function<void(const Graph&)> save) : every_(every), save_(std::move(save)) {}
  std::string id() const override { return "saver"; }
  void after_step(Training& t) override {
    if ((t.step() + 1) % every_ == 0) save_(t.result());
  }

 private:
  int64_t every_;
  std::function<void(const Graph&)> save_;
};

void train_model(const Options& options) {
  const auto start = std::chrono::steady_clock::now();
  at::set_num_threads(options.threads);
  std::filesystem::create_directories(options.out);
  const auto train_texts = read_split(options.books, "train"), valid_texts = read_split(options.books, "valid"),
             test_texts = read_split(options.books, "test");
  const std::string all_train = joined(train_texts), all_test = joined(test_texts);
  const auto stages = stages_of(options);
  const bool retrieval = !stages.empty();
  if (options.from.empty()) {
    write_tokenizer(train_bpe(all_train, static_cast<size_t>(options.shape.vocab), retrieval), options.out);
    write_fresh_llama(options.shape, options.training.seed, options.out);
  } else {
    start_from(options);
  }
  const auto tokenizer = Tokenizer::load(options.out);
  const auto tokens = encode(*tokenizer, train_texts);
  fmt::print("{} training bytes, {} tokens, vocabulary {}\n", all_train.size(), tokens.size(), tokenizer->vocab_size());

  Model model = load_model(options.out);
  const auto valid_tokens = encode(*tokenizer, valid_texts), test_tokens = encode(*tokenizer, test_texts);
  const auto some_valid = windows_of({valid_tokens.begin(), valid_tokens.begin() + (retrieval ? 4096 : 16384)}, options.shape.context, options.shape.context);
  Json curve = Json::array();
  std::unique_ptr<TrainingTask> task;
  RetrievalTask* fetching = nullptr;
  TrainHooks hooks;
  hooks.on_report = [&](const TrainReport& r) {
    if (fetching) {
      const double fetch_loss = fetching->take_fetch_loss();
      fmt::print("step {} loss {:.4f}, fetched {:.4f}, {:.3f} right ({:.0f} tokens/s)\n", r.step, r.loss, fetch_loss, r.hit_rate, r.per_second);
      curve.push_back({r.step, r.loss, fetch_loss, r.hit_rate});
    } else {
      fmt::print("step {} loss {:.4f} ({:.0f} tokens/s)\n", r.step, r.loss, r.per_second);
      curve.push_back({r.step, r.loss});
    }
    std::fflush(stdout);
  };
  auto save = [&](const Graph& graph) {
    const Quality quality = measure_quality(graph, some_valid, options.shape.context, options.shape.context);
    fmt::print("validation {:.4f} nats/token\n", quality.nats_per_token);
    save_weights(graph, DType::kF32, options.out / "model.safetensors.f32");
  };
  Settings training = options.training;
  int64_t tokens_seen = training.steps * training.batch * options.shape.context;
  if (retrieval) {
    auto made = std::make_unique<RetrievalTask>(tokenizer, tokens, stages, training.seed);
    fetching = made.get();
    task = std::move(made);
    training.steps = fetching->batches_an_epoch();
    int64_t left = training.stop > 0 ? std::min(training.stop, training.steps) : training.steps;
    tokens_seen = 0;
    for (const RetrievalStage& stage : stages) {
      const int64_t done = std::min(left, stage.steps);
      tokens_seen += done * stage.batch * stage.length;
      left -= done;
    }
  } else {
    task = std::make_unique<RunningText>(model.graph, tokens, options.shape.context, training);
  }
  Plugins plugins;
  plugins.push_back(std::make_unique<Saver>(retrieval ? 50 : 250, save));
  espalier::train(model.graph, *task, train_options(options, training.steps), plugins, {}, hooks);
  save(model.graph);

  const bool whole = training.stop == 0;  // what is left off may be gone on with: it stays in fp32
  save_weights(model.graph, whole ? DType::kBF16 : DType::kF32, options.out / "model.safetensors");
  std::filesystem::remove(options.out / "model.safetensors.f32");
  Json config = read_json(options.out / "config.json");
  config["torch_dtype"] = whole ? "bfloat16" : "float32";
  write_file_atomically(options.out / "config.json", config.dump(1) + "\n");
  const Model written = load_model(options.out);
  auto evaluate = [&](const std::vector<int32_t>& ids) {
    return measure_quality(written.graph, windows_of(ids, options.shape.context, options.shape.context), options.shape.context, options.shape.context);
  };
  // The share of a split that is measured; models that are trained to retrieve are no records in perplexity.
  const auto measured = [&](const std::vector<int32_t>& ids) { return retrieval ? std::vector<int32_t>(ids.begin(), ids.begin() + std::min<ptrdiff_t>(kRetrievalTokens, std::ssize(ids))) : ids; };
  const Quality valid = evaluate(measured(valid_tokens)), test = evaluate(measured(test_tokens));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  Json ngram = Json::object();
  for (int order = 3; order <= 6 && !retrieval; ++order) ngram[std::to_string(order)] = ngram_bits_per_byte(all_train, all_test, order);
  const Json result = {
      {"parameters", model.graph.parameter_count()},
      {"training", {{"bytes", all_train.size()}, {"tokens", tokens.size()}, {"tokens_seen", tokens_seen},
                    {"steps", training.steps}, {"stop", training.stop}, {"batch", training.batch}, {"length", options.shape.context}, {"stages", options.stages}, {"from", options.from.filename().string()},
                    {"learning_rate", options.training.learning_rate}, {"seed", options.training.seed}, {"threads", options.threads}, {"seconds", seconds}}},
      {"valid_nats_per_token", valid.nats_per_token},
      {"test_nats_per_token", test.nats_per_token},
      {"test_perplexity", test.perplexity.value},
      {"test_bits_per_byte", bits_per_byte(test, test_tokens.size(), all_test.size())},
      {"ngram_test_bits_per_byte", ngram},
      {"curve", curve}};
  write_file_atomically(options.out / "training.json", result.dump(1) + "\n");
  if (!retrieval) {
    write_file_atomically(options.out / "calibration.txt", excerpt(valid_texts.at(0), 20000, 50000) + excerpt(valid_texts.at(1), 20000, 50000));
    write_file_atomically(options.out / "evaluation.txt", excerpt(test_texts.at(0), 20000, 50000) + excerpt(test_texts.at(1), 20000, 50000));
  }
  fmt::print("test: {:.3f} bits/byte, n-gram: {}\n", result["test_bits_per_byte"].get<double>(), ngram.dump());
}

}  // namespace
}  // namespace espalier

int main(int argc, char** argv) {
  espalier::Options options;
  CLI::App app("Trains espalier's embedded model");
  app.add_option("--books", options.books, "Folder with train.txt, valid.txt, test.txt and the books they name")->required();
  app.add_option("-o,--out", options.out, "Model directory to write")->required();
  app.add_option("--steps", options.training.steps, "Optimiser steps")->capture_default_str();
  app.add_option("--stop", options.training.stop, "Leave off after so many of the steps, on the schedule of all, with weights in fp32; 0: never")->capture_default_str();
  app.add_option("--batch", options.training.batch, "Windows a step")->capture_default_str();
  app.add_option("--warmup", options.training.warmup, "Warm-up steps")->capture_default_str();
  app.add_option("--lr", options.training.learning_rate, "Peak learning rate")->capture_default_str();
  app.add_option("--vocab", options.shape.vocab, "Vocabulary size")->capture_default_str();
  app.add_option("--hidden", options.shape.hidden, "Width")->capture_default_str();
  app.add_option("--layers", options.shape.layers, "Blocks")->capture_default_str();
  app.add_option("--heads", options.shape.heads, "Query heads")->capture_default_str();
  app.add_option("--kv-heads", options.shape.kv_heads, "Key and value heads")->capture_default_str();
  app.add_option("--deviation", options.shape.deviation, "Of initial matrices; 1 / sqrt(width) trains small models sooner")->capture_default_str();
  app.add_option("--context", options.shape.context, "Positions")->capture_default_str();
  app.add_option("--from", options.from, "Model directory to begin with, instead of fresh weights of the sizes given");
  app.add_option("--stages", options.stages, "LENGTHxBATCHxSTEPS,…: train to retrieve, on texts of these lengths, instead of --steps")->delimiter(',');
  app.add_option("--ffn", options.shape.ffn, "MLP width")->capture_default_str();
  app.add_option("--seed", options.training.seed, "Seed")->capture_default_str();
  app.add_option("--threads", options.threads, "Threads")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  espalier::install_signal_handlers();
  try {
    espalier::train_model(options);
  } catch (const std::exception& error) {
    fmt::print(stderr, "train_embedded_model: error: {}\n", error.what());
    return 2;
  }
}
