// Readers that take a path, under fuzz: the bytes become a file of a scratch directory first.
#pragma once

#include <algorithm>
#include <fstream>
#include <string>
#include <string_view>

#include "espalier/families/family.h"
#include "espalier/io/checkpoint_index.h"
#include "espalier/io/text_dataset.h"
#include "espalier/requests/recipe.h"
#include "espalier/structure/mask.h"
#include "tests/families/tiny_models.h"
#include "tests/fuzz/targets.h"
#include "tests/support.h"

namespace espalier::fuzz {

inline const std::filesystem::path& scratch() {
  static const test::TempDir directory;
  return directory.path();
}

// Without the fsync of our own writer, which would be most of the time.
inline std::filesystem::path scratch_file(const std::string& name, std::string_view bytes) {
  const auto path = scratch() / name;
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  return path;
}

inline std::string_view text_of(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// An index beside two shards, 1.safetensors with a and b, 2.safetensors with c, all scalars of fp32.
inline bool fuzz_index(const uint8_t* data, size_t size) {
  static const bool has_shards = [] {
    std::filesystem::create_directories(scratch() / "index");
    for (const auto& [shard, names] : std::map<std::string, std::vector<std::string>>{{"1", {"a", "b"}}, {"2", {"c"}}}) {
      std::vector<TensorSpec> specs;
      for (const auto& name : names) specs.push_back({name, DType::kF32, {}});
      SafetensorsWriter writer(scratch() / "index" / (shard + ".safetensors"), specs);
      for (const auto& name : names) writer.write(name, Tensor(DType::kF32, {}));
      writer.commit();
    }
    return true;
  }();
  return accepts([&] {
    const auto shards = open_sharded(scratch_file("index/model.safetensors.index.json", text_of(data, size)));
    size_t tensors = 0;
    for (const WeightFile& shard : shards) tensors += shard.tensors.size();
    ESP_ASSERT(has_shards && shards.size() <= 2 && tensors >= 1 && tensors <= 3);
  });
}

inline const Model& mask_model() {
  static const Model model = [] {
    test::TinyOptions options;
    options.layers = 2;
    return test::load_tiny(scratch() / "mask_model", "llama", options);
  }();
  return model;
}

// A mask that loads saves to a file that loads to the same; one that fits can be applied and cut.
inline bool fuzz_mask(const uint8_t* data, size_t size) {
  return accepts([&] {
    const Mask mask = Mask::load(scratch_file("mask.safetensors", text_of(data, size)));
    const Graph& graph = mask_model().graph;
    if (!accepts([&] { check_fits(mask, graph, "fuzz"); })) return;
    const Graph masked = apply_mask(graph, mask);
    ESP_ASSERT(masked.parameter_bytes() >= graph.parameter_bytes(), "a masked model has the shapes of the dense one");
    Graph smaller = graph.clone();
    shrink(smaller, mask, "model.layers.{}.");
    ESP_ASSERT(smaller.parameter_bytes() <= graph.parameter_bytes(), "a cut made the model larger");
  });
}

// The first byte says whether the rest is .txt or .jsonl; chunks join to the documents whatever their size.
inline bool fuzz_text(const uint8_t* data, size_t size) {
  if (size == 0) return false;
  const auto path = scratch_file(data[0] & 1 ? "text.jsonl" : "text.txt", text_of(data + 1, size - 1));
  const auto documents = [&](size_t chunk_bytes) {
    std::vector<std::string> whole;
    TextReader reader(path, chunk_bytes);
    for (TextReader::Chunk chunk; reader.next(chunk);) {
      ESP_ASSERT(is_valid_utf8(chunk.text), "a chunk that is not text");
      ESP_ASSERT(chunk.starts_document || !whole.empty());
      if (chunk.starts_document) whole.emplace_back();
      whole.back() += chunk.text;
    }
    return whole;
  };
  return accepts([&] {
    ESP_ASSERT(documents(1 << 12) == documents(16), "other documents in small chunks");
    for (const TextUnit unit : {TextUnit::kLine, TextUnit::kParagraph, TextUnit::kDocument}) {
      UnitReader units(path, unit, 32);
      for (std::string text; units.next(text);) ESP_ASSERT(is_valid_utf8(text) && text.size() <= 32);
    }
  });
}

// A recipe that is read can be written, and what is written means the same.
inline bool fuzz_recipe(const uint8_t* data, size_t size) {
  return accepts([&] {
    const Json recipe = recipe_of(read_recipe(scratch_file("recipe.yaml", text_of(data, size))));
    const std::string written = to_yaml(recipe);
    Json again;
    ESP_ASSERT(accepts([&] { again = recipe_of(read_recipe(scratch_file("written.yaml", written))); }),
               "the written recipe is refused: {}", written);
    ESP_ASSERT(again == recipe, "the written recipe is another one: {}", written);
  });
}

// vocab.json, a zero byte, merges.txt.
inline bool fuzz_vocab_and_merges(const uint8_t* data, size_t size) {
  const std::string_view text = text_of(data, size);
  const size_t cut = std::min(text.find('\0'), size);
  return accepts([&] {
    scratch_file("gpt2/vocab.json", text.substr(0, cut));
    scratch_file("gpt2/merges.txt", text.substr(std::min(cut + 1, size)));
    use_tokenizer(Tokenizer::load(scratch() / "gpt2"));
  });
}

inline bool fuzz_bert_vocab(const uint8_t* data, size_t size) {
  return accepts([&] {
    scratch_file("bert/vocab.txt", text_of(data, size));
    use_tokenizer(Tokenizer::load(scratch() / "bert"));
  });
}

}  // namespace espalier::fuzz
