// Indexes, masks, texts, recipes and the tokenizers of plain files under a few thousand damages.
#include "tests/fuzz/files_fuzz.h"

#include <gtest/gtest.h>

#include "tests/fuzz/runner.h"

namespace espalier::fuzz {
namespace {

std::string saved(const Mask& mask) {
  mask.save(scratch() / "seed.safetensors");
  return read_file(scratch() / "seed.safetensors", 1u << 20);
}

TEST(FilesFuzz, ShardedIndex) {
  fuzz(fuzz_index,
       {R"({"weight_map": {"a": "1.safetensors", "b": "1.safetensors", "c": "2.safetensors"}})",
        R"({"metadata": {"total_size": 12}, "weight_map": {"c": "2.safetensors", "a": "1.safetensors", "b": "1.safetensors"}})",
        R"({"metadata": {"total_size": 1.2e1}, "weight_map": {"b": "1.safetensors", "a": "1.safetensors", "c": "2.safetensors"}})"},
       4'000);
}

TEST(FilesFuzz, Mask) {
  const Graph& graph = mask_model().graph;
  Mask full = Mask::for_model(graph);
  std::vector<uint8_t> keep(32 * 32, 1), sets(48, 1);
  keep[0] = keep[1000] = sets[7] = 0;
  full.weights["model.layers.0.self_attn.q_proj.weight"] = WeightMask({32, 32}, keep);
  const Coupling coupling = find_coupling(graph);
  full.remove_units(*coupling.find("blocks.0.neurons"), sets);
  full.remove_units(*coupling.find("blocks.1.heads"), {0, 1});
  Mask branches = Mask::for_model(graph, HeadUnit::kQueryHead);
  branches.branches = {{0, SubLayer::Kind::kAttention}, {1, SubLayer::Kind::kFfn}};
  fuzz(fuzz_mask, {saved(full), saved(branches)}, 4'000);
}

TEST(FilesFuzz, Text) {
  fuzz(fuzz_text,
       {"0Two words, a line\r\nand another.\n\n\xc3\xa4 \xe4\xbd\xa0\xe5\xa5\xbd paragraph", std::string("0a\0b", 4),
        "1{\"text\": \"one \\u00e9\\n\\nline\"}\n{\"text\": \"\", \"id\": [1]}\n"},
       4'000);
}

TEST(FilesFuzz, Recipe) {
  fuzz(fuzz_recipe,
       {"steps: [{method: wanda}]",
        "model: \"my model\"\ncalib: {data: prose.txt, samples: 16, length: 256}\neval: test.txt\n"
        "protect: [lm_head, 'model.layers.0.*']\nalign: 16\nuniform: true\npack: bitmap\nseed: 3\nthreads: 2\n"
        "steps:\n  - {method: finercut, sparsity: 0.2, of: layers}\n  - method: \"03\"\n    sparsity: 5e-1\n"
        "    pattern: 2:4\n    repair: lora\n    set: {group: row, repair.rank: 8, note: 'yes: \"x\" # no'}\n"},
       4'000);
}

// What libFuzzer found; the target itself checks that a refusal is one line.
TEST(FilesFuzz, RecipesThatBrokeTheMessage) {
  for (const std::string& text : {std::string("a: t\0\nb", 7), std::string("steps: [{method: a, set: {\"x\\ny\": [1]}}]")})
    EXPECT_FALSE(run(fuzz_recipe, text)) << text;
}

TEST(FilesFuzz, VocabAndMerges) {
  const std::string vocab = R"({"a": 0, "l": 1, "ll": 2, "llo": 3, "o": 4, "\u0120": 5, "\u0120a": 6, "<|endoftext|>": 7})";
  fuzz(fuzz_vocab_and_merges,
       {vocab + std::string(1, '\0') + "#version: 0.2\nl l\nll o\n\u0120 a\n", vocab}, 4'000);
}

TEST(FilesFuzz, BertVocab) {
  fuzz(fuzz_bert_vocab, {"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\n##o\nhell\n\xc3\xa4\r\nw\n"}, 4'000);
}

}  // namespace
}  // namespace espalier::fuzz
