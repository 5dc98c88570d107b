// config.json as an attacker or a slip of the hand would write it: one line that names the file, the field, what was
// expected and what was found, before anything large is allocated.
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>

#include "tests/families/tiny_models.h"
#include "tests/support.h"

namespace espalier {
namespace {

class ConfigHostile : public ::testing::Test {
 protected:
  // Loads a tiny model whose config.json has `key` replaced by `text` (any bytes).
  Model load_with(const std::string& type, const std::string& key, const std::string& text) {
    test::TinyModel tiny = test::tiny_model(type, {});
    if (!std::filesystem::exists(dir_ / type)) test::write_tiny(dir_ / type, tiny);
    tiny.config[key] = "@@";
    std::string config = tiny.config.dump();
    config.replace(config.find("\"@@\""), 4, text);
    std::ofstream(dir_ / type / "config.json") << config;
    return load_model(dir_ / type);
  }
  void refuses(const std::string& type, const std::string& key, const std::string& text, const std::string& fragment) {
    ESP_EXPECT_USER_ERROR(load_with(type, key, text), fragment);
  }
  // The width keys of every family.
  void all_widths_refuse(const std::string& text, const std::string& fragment) {
    for (const char* key :
         {"hidden_size", "num_attention_heads", "num_key_value_heads", "intermediate_size", "vocab_size"}) {
      refuses("llama", key, text, fragment);
      refuses("phi", key, text, fragment);
    }
    for (const char* key : {"n_embd", "n_head", "vocab_size"}) refuses("gpt2", key, text, fragment);
    for (const char* key : {"hidden_size", "num_attention_heads", "ffn_dim", "vocab_size"})
      refuses("opt", key, text, fragment);
  }

  test::TempDir dir_;
};

TEST_F(ConfigHostile, HiddenSizeZero) { all_widths_refuse("0", "expected an integer from 1 to"); }
TEST_F(ConfigHostile, HiddenSizeNegative) { all_widths_refuse("-1", "found -1"); }
TEST_F(ConfigHostile, HiddenSizeTwoToThe31) { all_widths_refuse("2147483648", "found 2147483648"); }
TEST_F(ConfigHostile, HiddenSizeAThousandMillion) { all_widths_refuse("1000000000", "found 1000000000"); }
TEST_F(ConfigHostile, HiddenSizeAsAFloat) { all_widths_refuse("1e9", "expected an integer"); }
TEST_F(ConfigHostile, HiddenSizeBeyond64Bits) {
  all_widths_refuse("99999999999999999999999999", "expected an integer");
}
TEST_F(ConfigHostile, HiddenSizeAsAString) { all_widths_refuse("\"4096\"", "found \"4096\""); }
TEST_F(ConfigHostile, HiddenSizeAsAList) { all_widths_refuse("[32]", "found [32]"); }
TEST_F(ConfigHostile, HiddenSizeNaN) { all_widths_refuse("NaN", "/config.json"); }

TEST_F(ConfigHostile, HiddenSizeNull) {
  for (const char* type : {"llama", "phi", "opt"})
    refuses(type, "hidden_size", "null", "hidden_size: expected an integer from 1 to 1048576, found null");
  refuses("gpt2", "n_embd", "null", "n_embd");
}

TEST_F(ConfigHostile, HiddenSizeThatTheTensorsContradict) {
  refuses("llama", "hidden_size", "48",
          "/config.json: shape of the tensor 'model.embed_tokens.weight': expected [31, 48], found [31, 32]");
  refuses("gpt2", "n_embd", "48", "expected [31, 48], found [31, 32]");
  refuses("opt", "hidden_size", "48", "needs the tensor 'model.decoder.project_in.weight'");
  refuses("phi", "hidden_size", "48", "expected [31, 48], found [31, 32]");
}

TEST_F(ConfigHostile, HiddenSizeMissing) {
  test::TinyModel tiny = test::tiny_llama({});
  tiny.config.erase("hidden_size");
  test::write_tiny(dir_ / "m", tiny);
  ESP_EXPECT_USER_ERROR(load_model(dir_ / "m"), "the field 'hidden_size' is missing");
}

TEST_F(ConfigHostile, HeadsThatDoNotDivideTheHiddenSize) {
  refuses("llama", "num_attention_heads", "5", "num_attention_heads: expected a divisor of hidden_size 32, found 5");
  refuses("phi", "num_attention_heads", "5", "expected a divisor of hidden_size 32, found 5");
  refuses("gpt2", "n_head", "5", "expected a divisor of the hidden size");
  refuses("opt", "num_attention_heads", "5", "expected a divisor of the hidden size");
}

TEST_F(ConfigHostile, MoreKvHeadsThanHeads) {
  refuses("llama", "num_key_value_heads", "5", "num_key_value_heads: expected an integer from 1 to 4, found 5");
  refuses("phi", "num_key_value_heads", "5", "expected an integer from 1 to 4, found 5");
}

TEST_F(ConfigHostile, KvHeadsThatDoNotDivideTheHeads) {
  refuses("llama", "num_key_value_heads", "3", "expected a divisor of the 4 heads, found 3");
  refuses("phi", "num_key_value_heads", "3", "expected a divisor of the 4 heads, found 3");
}

TEST_F(ConfigHostile, AThousandMillionLayersCostNothing) {
  const auto start = std::chrono::steady_clock::now();
  refuses("llama", "num_hidden_layers", "1000000000",
          "num_hidden_layers: expected 3, as many as the checkpoint has tensors for");
  refuses("gpt2", "n_layer", "1000000000", "expected 3");
  refuses("opt", "num_hidden_layers", "1000000000", "expected 3");
  refuses("phi", "num_hidden_layers", "1000000000", "expected 3");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST_F(ConfigHostile, FewerLayersThanTheTensorsHave) {
  refuses("llama", "num_hidden_layers", "2", "expected 3, as many");
}
TEST_F(ConfigHostile, NegativeLayers) { refuses("llama", "num_hidden_layers", "-3", "expected an integer from 0"); }

TEST_F(ConfigHostile, LayerListOfTheWrongLength) {
  refuses("mistral", "layer_types", R"(["full_attention"], "sliding_window": 4)",
          "layer_types: expected a list of 3 words, one a block, found 1");
  refuses("llama", "espalier", R"({"format": 1, "layers": [{"heads": 4, "kv_heads": 2, "ffn": 48}]})",
          "layers: expected a list of 3 blocks, found 1");
  refuses("gpt2", "espalier", R"({"format": 1, "layers": {}})", "expected a list of 3 blocks, found {}");
}

TEST_F(ConfigHostile, LayerListOfWrongEntries) {
  const std::string good = R"({"heads": 4, "kv_heads": 2, "ffn": 48})";
  auto list = [&](const std::string& entry) {
    return fmt::format(R"({{"format": 1, "layers": [{}, {}, {}]}})", good, good, entry);
  };
  refuses("llama", "espalier", list("7"), "layers[2]");
  refuses("llama", "espalier", list(R"({"heads": -1, "ffn": 48})"), "layers[2]: heads");
  refuses("llama", "espalier", list(R"({"heads": 4, "kv_heads": 3, "ffn": 48})"), "expected a divisor of the 4 heads");
  refuses("llama", "espalier", list(R"({"heads": 4, "kv_heads": 0, "ffn": 48})"), "kv_heads");
  refuses("llama", "espalier", list(R"({"heads": 8, "kv_heads": 2, "ffn": 48})"), "expected [64, 32], found [32, 32]");
  refuses("llama", "espalier", R"({"format": 2, "layers": []})", "format");
  refuses("llama", "espalier", "[]", "expected an object");
  refuses("mistral", "layer_types", R"(["full_attention", "none", "full_attention"], "sliding_window": 4)",
          "full_attention or sliding_attention");
}

TEST_F(ConfigHostile, RopeTheta) {
  for (const char* type : {"llama", "phi"}) {
    refuses(type, "rope_theta", "0", "rope_theta: expected a positive number, found 0");
    refuses(type, "rope_theta", "-1", "expected a positive number");
    refuses(type, "rope_theta", "\"10000\"", "rope_theta");
    refuses(type, "rope_theta", "1e999", "config.json");
  }
}

TEST_F(ConfigHostile, RopeScaling) {
  refuses("llama", "rope_scaling", R"({"rope_type": "spiral"})", "default, linear, dynamic, llama3 or yarn");
  refuses("llama", "rope_scaling", R"({"rope_type": "linear", "factor": 0})", "factor: expected a positive number");
  refuses("llama", "rope_scaling", R"({"rope_type": "llama3", "low_freq_factor": 4, "high_freq_factor": 1})",
          "high_freq_factor");
}

TEST_F(ConfigHostile, PartialRotary) {
  refuses("phi", "partial_rotary_factor", "0", "(0, 1]");
  refuses("phi", "partial_rotary_factor", "2", "(0, 1]");
  refuses("phi", "partial_rotary_factor", "0.1", "rotary size: expected an even number, found 0");
}

TEST_F(ConfigHostile, VocabularySmallerThanTheEmbedding) {
  refuses("llama", "vocab_size", "30", "expected [30, 32], found [31, 32]");
  refuses("gpt2", "vocab_size", "30", "expected [30, 32], found [31, 32]");
}

TEST_F(ConfigHostile, VocabularyLargerThanTheEmbedding) {
  refuses("llama", "vocab_size", "32", "expected [32, 32], found [31, 32]");
  refuses("opt", "vocab_size", "200000000", "expected [200000000, 32], found [31, 32]");
}

TEST_F(ConfigHostile, PositionsThatTheTensorsContradict) {
  refuses("gpt2", "n_positions", "65", "expected [65, 32], found [64, 32]");
  refuses("opt", "max_position_embeddings", "64000", "expected [64002, 32], found [66, 32]");
}

TEST_F(ConfigHostile, UnknownArchitectureListsTheKnown) {
  refuses(
      "llama", "model_type", "\"lama\"", "model_type: expected one of bert, distilbert, gpt2, llama, mistral, qwen2, qwen3, ");
  refuses("llama", "model_type", "\"lama\"", "wide-resnet, found 'lama' (did you mean 'llama'?)");
  refuses("llama", "model_type", "7", "model_type: expected a string, found 7");
}

TEST_F(ConfigHostile, UnknownActivation) {
  refuses("llama", "hidden_act", "\"snake\"", "found snake");
  refuses("gpt2", "activation_function", "7", "activation_function: expected a string, found 7");
}

TEST_F(ConfigHostile, RemoteCodeIsIgnoredWithANote) {
  ::testing::internal::CaptureStderr();
  const Model model = load_with("llama", "auto_map", R"({"AutoModelForCausalLM": "modeling_evil.EvilForCausalLM"})");
  const std::string note = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(model.graph.block_count, 3);
  EXPECT_NE(note.find("auto_map names code of the model's author; espalier ignores it"), std::string::npos) << note;
}

TEST_F(ConfigHostile, NotAnObject) {
  test::write_tiny(dir_ / "m", test::tiny_llama({}));
  for (const char* text : {"[]", "3", "", "{", "\xff{}", "{\"model_type\": \"llama\", \"model_type\": \"opt\"}"}) {
    write_file_atomically(dir_ / "m/config.json", text);
    ESP_EXPECT_USER_ERROR(load_model(dir_ / "m"), "config.json");
  }
}

}  // namespace
}  // namespace espalier
