// Trains the embedded model of assets/ from a folder of public-domain books: vocabulary, initial weights, training,
// comparison with an n-gram model, calibration and evaluation text. assets/README.md states the command.
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
#include "espalier/lab/training/language_model.h"
#include "espalier/lab/training/ngram.h"

namespace espalier {
namespace {

struct Options {
  std::filesystem::path books, out;
  LlamaShape shape;
  LanguageTraining training;
  int threads = 2;
};

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

void train(const Options& options) {
  const auto start = std::chrono::steady_clock::now();
  at::set_num_threads(options.threads);
  std::filesystem::create_directories(options.out);
  const auto train_texts = read_split(options.books, "train"), valid_texts = read_split(options.books, "valid"),
             test_texts = read_split(options.books, "test");
  const std::string all_train = joined(train_texts), all_test = joined(test_texts);
  write_tokenizer(train_bpe(all_train, static_cast<size_t>(options.shape.vocab)), options.out);
  write_fresh_llama(options.shape, options.training.seed, options.out);
  const auto tokenizer = Tokenizer::load(options.out);
  const auto tokens = encode(*tokenizer, train_texts);
  fmt::print("{} training bytes, {} tokens, vocabulary {}\n", all_train.size(), tokens.size(), tokenizer->vocab_size());

  Model model = load_model(options.out);
  const auto valid_tokens = encode(*tokenizer, valid_texts), test_tokens = encode(*tokenizer, test_texts);
  const auto some_valid = windows_of({valid_tokens.begin(), valid_tokens.begin() + 16384}, options.shape.context, options.shape.context);
  Json curve = Json::array();
  auto report = [&](const TrainingReport& r) {
    fmt::print("step {} loss {:.4f} ({:.0f} tokens/s)\n", r.step, r.loss, r.tokens_per_second);
    std::fflush(stdout);
    curve.push_back({r.step, r.loss});
  };
  auto save = [&](const Graph& graph) {
    const Quality quality = measure_quality(graph, some_valid, options.shape.context, options.shape.context);
    fmt::print("validation {:.4f} nats/token\n", quality.nats_per_token);
    save_weights(graph, DType::kF32, options.out / "model.safetensors.f32");
  };
  train_language_model(model.graph, tokens, options.training, report, save);

  save_weights(model.graph, DType::kBF16, options.out / "model.safetensors");
  std::filesystem::remove(options.out / "model.safetensors.f32");
  Json config = read_json(options.out / "config.json");
  config["torch_dtype"] = "bfloat16";
  write_file_atomically(options.out / "config.json", config.dump(1) + "\n");
  const Model written = load_model(options.out);
  auto evaluate = [&](const std::vector<int32_t>& ids) {
    return measure_quality(written.graph, windows_of(ids, options.shape.context, options.shape.context), options.shape.context, options.shape.context);
  };
  const Quality valid = evaluate(valid_tokens), test = evaluate(test_tokens);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  Json ngram = Json::object();
  for (int order = 3; order <= 6; ++order) ngram[std::to_string(order)] = ngram_bits_per_byte(all_train, all_test, order);
  const Json result = {
      {"parameters", model.graph.parameter_count()},
      {"training", {{"bytes", all_train.size()}, {"tokens", tokens.size()}, {"tokens_seen", options.training.steps * options.training.batch * options.training.length},
                    {"steps", options.training.steps}, {"batch", options.training.batch}, {"length", options.training.length},
                    {"learning_rate", options.training.learning_rate}, {"seed", options.training.seed}, {"threads", options.threads}, {"seconds", seconds}}},
      {"valid_nats_per_token", valid.nats_per_token},
      {"test_nats_per_token", test.nats_per_token},
      {"test_perplexity", test.perplexity.value},
      {"test_bits_per_byte", bits_per_byte(test, test_tokens.size(), all_test.size())},
      {"ngram_test_bits_per_byte", ngram},
      {"curve", curve}};
  write_file_atomically(options.out / "training.json", result.dump(1) + "\n");
  write_file_atomically(options.out / "calibration.txt", excerpt(valid_texts.at(0), 20000, 50000) + excerpt(valid_texts.at(1), 20000, 50000));
  write_file_atomically(options.out / "evaluation.txt", excerpt(test_texts.at(0), 20000, 50000) + excerpt(test_texts.at(1), 20000, 50000));
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
  app.add_option("--batch", options.training.batch, "Windows a step")->capture_default_str();
  app.add_option("--warmup", options.training.warmup, "Warm-up steps")->capture_default_str();
  app.add_option("--lr", options.training.learning_rate, "Peak learning rate")->capture_default_str();
  app.add_option("--vocab", options.shape.vocab, "Vocabulary size")->capture_default_str();
  app.add_option("--hidden", options.shape.hidden, "Width")->capture_default_str();
  app.add_option("--layers", options.shape.layers, "Blocks")->capture_default_str();
  app.add_option("--ffn", options.shape.ffn, "MLP width")->capture_default_str();
  app.add_option("--seed", options.training.seed, "Seed")->capture_default_str();
  app.add_option("--threads", options.threads, "Threads")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  options.training.length = options.shape.context;
  espalier::install_signal_handlers();
  try {
    espalier::train(options);
  } catch (const std::exception& error) {
    fmt::print(stderr, "train_embedded_model: error: {}\n", error.what());
    return 2;
  }
}
