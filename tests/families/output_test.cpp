// Models written and read back: the same weights bit for bit, the same widths, and configurations that stock loaders
// understand as far as they can.
#include "espalier/families/output.h"

#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <set>

#include "espalier/engine/weight_file.h"
#include "espalier/structure/surgery.h"
#include "tests/families/tiny_models.h"
#include "tests/support.h"

namespace espalier {
namespace {

std::vector<int64_t> first(int64_t count) {
  std::vector<int64_t> kept;
  for (int64_t i = 0; i < count; ++i) kept.push_back(i);
  return kept;
}

class Output : public ::testing::Test {
 protected:
  Model load(const std::string& type, const test::TinyOptions& options = {}) {
    return test::load_tiny(dir_ / fmt::format("in{}", ++count_), type, options);
  }
  std::filesystem::path fresh() {
    const auto path = dir_ / fmt::format("out{}", ++count_);
    std::filesystem::create_directory(path);
    return path;
  }
  static void cut_group(Model& model, const std::string& label, int64_t kept) {
    const Coupling coupling = find_coupling(model.graph);
    const auto* group = coupling.find(label);
    ASSERT_TRUE(group) << label;
    cut(model.graph, coupling, group->id, first(kept));
  }
  // Every block's heads or neurons.
  static void cut_all(Model& model, const std::string& kind, int64_t kept) {
    for (int block = 0; block < model.graph.block_count; ++block)
      cut_group(model, fmt::format("blocks.{}.{}", block, kind), kept);
  }
  static void remove_branches(Model& model, const std::vector<size_t>& indices) {
    const auto all = find_sublayers(model.graph);
    std::vector<SubLayer> chosen;
    for (size_t i : indices) chosen.push_back(all.at(i));
    remove_sublayers(model.graph, chosen, model.family->block_prefix(model.graph));
  }
  // Written, verified, read back; compared here once more, apart from verify_written.
  Model round_trip(const Model& model, const OutputOptions& options = {}) {
    const auto out = fresh();
    write_model(model, out, options);
    EXPECT_NO_THROW(verify_written(out, model.graph));
    Model read = load_model(out);
    EXPECT_EQ(read.graph.parameters().size(), model.graph.parameters().size());
    for (const auto& parameter : model.graph.parameters()) {
      const Tensor expected = parameter->load(), found = read.graph.parameter(parameter->name()).load();
      EXPECT_EQ(found.dtype(), expected.dtype()) << parameter->name();
      EXPECT_EQ(found.shape(), expected.shape()) << parameter->name();
      EXPECT_EQ(std::memcmp(found.bytes(), expected.bytes(), expected.byte_size()), 0) << parameter->name();
    }
    EXPECT_EQ(block_widths(read.graph), block_widths(model.graph));
    for (const Node& node : model.graph.nodes) {
      if (node.op != "Attention") continue;
      EXPECT_EQ(read.graph.node(node.name).attributes, node.attributes) << node.name;
    }
    return read;
  }

  test::TempDir dir_;
  int count_ = 0;
};

constexpr const char* kTypes[] = {"llama", "mistral", "qwen2", "qwen3", "gpt2", "opt", "phi"};

TEST_F(Output, DenseModelsKeepTheirConfiguration) {
  for (const char* type : kTypes) {
    const Model model = load(type);
    const Model read = round_trip(model);
    EXPECT_FALSE(read.config.contains("espalier")) << type;
    for (const auto& [key, value] : model.config.items()) EXPECT_EQ(read.config.at(key), value) << type << " " << key;
  }
}

TEST_F(Output, UniformNeuronCutsNeedStockKeysOnly) {
  const std::map<std::string, std::string> keys{{"gpt2", "n_inner"}, {"opt", "ffn_dim"}};
  for (const char* type : kTypes) {
    Model model = load(type);
    cut_all(model, "neurons", 24);
    const Model read = round_trip(model);
    EXPECT_FALSE(read.config.contains("espalier")) << type;
    EXPECT_EQ(read.config.at(keys.count(type) ? keys.at(type) : "intermediate_size"), 24) << type;
  }
}

TEST_F(Output, Gpt2WritesAnInnerWidthThatWasLeftToTheDefault) {
  test::TinyOptions options;
  options.ffn = 128;
  Model model = load("gpt2", options);
  cut_all(model, "neurons", 64);
  EXPECT_EQ(round_trip(model).config.at("n_inner"), 64);
}

TEST_F(Output, UniformHeadCutsNeedTheHeadSize) {
  for (const char* type : kTypes) {
    Model model = load(type);
    cut_all(model, "heads", 1);
    const Model read = round_trip(model);
    if (std::string(type) == "gpt2" || std::string(type) == "opt") {
      EXPECT_EQ(read.config.at("espalier").at("layers").at(1),
                Json({{"heads", 1}, {"kv_heads", 1}, {"ffn", 48}, {"head_size", 8}}))
          << type;
    } else {
      EXPECT_FALSE(read.config.contains("espalier")) << type;
      EXPECT_EQ(read.config.at("head_dim"), 8) << type;
      EXPECT_EQ(read.config.at("num_attention_heads"), 2) << type;
      EXPECT_EQ(read.config.at("num_key_value_heads"), 1) << type;
    }
  }
}

TEST_F(Output, ResidualCutsKeepTheHeadSize) {
  for (const char* type : kTypes) {
    Model model = load(type);
    cut_group(model, "residual", 24);
    const Model read = round_trip(model);
    EXPECT_EQ(read.config.at(std::string(type) == "gpt2" ? "n_embd" : "hidden_size"), 24) << type;
    EXPECT_EQ(block_widths(read.graph)[0].head_size, 8) << type;
  }
}

TEST_F(Output, ResidualCutOfOptMovesItsEmbeddingWidth) {
  Model plain = load("opt");
  cut_group(plain, "residual", 24);
  EXPECT_EQ(round_trip(plain).config.at("word_embed_proj_dim"), 24);
  test::TinyOptions options;
  options.embed = 16;
  Model projected = load("opt", options);
  cut_group(projected, "residual", 16);  // by chance as wide as the embedding: the projections stay
  cut_group(projected, "channels.model.decoder.embed_tokens", 12);
  EXPECT_EQ(round_trip(projected).config.at("word_embed_proj_dim"), 12);
}

TEST_F(Output, UnevenBlocksGetTheirOwnBlockOfTheConfiguration) {
  for (const char* type : kTypes) {
    Model model = load(type);
    cut_group(model, "blocks.0.heads", 1);
    cut_group(model, "blocks.2.neurons", 7);
    const Model read = round_trip(model);
    ASSERT_EQ(read.config.at("espalier").at("layers").size(), 3u) << type;
    EXPECT_EQ(read.config["espalier"]["layers"][2]["ffn"], 7) << type;
    EXPECT_EQ(read.config["espalier"]["layers"][1]["heads"], 4) << type;
  }
}

TEST_F(Output, RemovedBranchesAndBlocks) {
  for (const char* type : kTypes) {
    Model model = load(type);
    remove_branches(model, {0, 2, 3});  // attention of block 0, all of block 1
    const Model read = round_trip(model);
    EXPECT_EQ(read.graph.block_count, 2) << type;
    EXPECT_EQ(read.config.at("espalier").at("layers").at(0).at("heads"), 0) << type;
    EXPECT_EQ(find_sublayers(read.graph).size(), 3u) << type;
  }
}

TEST_F(Output, RemovedBlocksAloneNeedStockKeysOnly) {
  for (const char* type : kTypes) {
    Model model = load(type);
    remove_blocks(model.graph, {1}, model.family->block_prefix(model.graph));
    EXPECT_FALSE(round_trip(model).config.contains("espalier")) << type;
  }
}

TEST_F(Output, PostNormModelsKeepTheNormsOfEmptyBlocks) {
  test::TinyOptions options;
  options.norm_first = false;
  Model model = load("opt", options);
  remove_branches(model, {2, 3});
  const Model read = round_trip(model);
  EXPECT_EQ(read.graph.block_count, 3);
  EXPECT_EQ(read.config["espalier"]["layers"][1]["ffn"], 0);
}

TEST_F(Output, ScalesAndWindowsFollowTheirBlocks) {
  test::TinyOptions options;
  options.config = {{"scale_attn_by_inverse_layer_idx", true}};
  Model gpt2 = load("gpt2", options);
  remove_blocks(gpt2.graph, {1}, gpt2.family->block_prefix(gpt2.graph));
  const Model read = round_trip(gpt2);
  EXPECT_DOUBLE_EQ(read.graph.node("transformer.h.1.attn.attention").real("scale"), 1 / std::sqrt(8.0) / 3);
  options.config = {{"use_sliding_window", true}, {"sliding_window", 5}, {"max_window_layers", 2}};
  Model qwen = load("qwen2", options);
  remove_blocks(qwen.graph, {0}, qwen.family->block_prefix(qwen.graph));
  EXPECT_EQ(round_trip(qwen).config.at("max_window_layers"), 1);
  options.config["layer_types"] = {"sliding_attention", "full_attention", "sliding_attention"};
  Model listed = load("qwen3", options);
  remove_blocks(listed.graph, {1}, listed.family->block_prefix(listed.graph));
  EXPECT_EQ(round_trip(listed).config.at("layer_types"), Json({"sliding_attention", "sliding_attention"}));
}

TEST_F(Output, DtypesAndTiesAreKept) {
  for (DType dtype : {DType::kBF16, DType::kF16}) {
    test::TinyOptions options;
    options.dtype = dtype;
    options.tied = true;
    Model model = load("qwen2", options);
    cut_all(model, "neurons", 13);
    const Model read = round_trip(model);
    EXPECT_EQ(read.dtype, dtype);
    EXPECT_FALSE(read.checkpoint->has("lm_head.weight"));
  }
}

TEST_F(Output, LargeModelsGoIntoShards) {
  const Model model = load("llama");
  const auto out = fresh();
  std::vector<std::string> written;
  write_model(model, out, {nullptr, 20'000, [&](const std::string& name) { written.push_back(name); }});
  EXPECT_EQ(written.size(), model.graph.parameters().size());
  EXPECT_EQ(written.front(), "model.embed_tokens.weight");
  EXPECT_TRUE(std::filesystem::exists(out / "model.safetensors.index.json"));
  EXPECT_FALSE(std::filesystem::exists(out / "model.safetensors"));
  EXPECT_NO_THROW(verify_written(out, model.graph));
}

TEST_F(Output, SparseWeightsPack) {
  Model model = load("llama");
  for (const auto& parameter : model.graph.parameters()) {
    auto values = parameter->load().to_floats();
    for (size_t i = 0; i < values.size(); ++i)
      if (i % 2) values[i] = 0;
    if (parameter->name().find("layers.1.mlp") != std::string::npos)
      parameter->assign(Tensor::from_floats(parameter->shape(), values));
  }
  const auto packed = fresh(), plain = fresh();
  write_model(model, packed, {weight_packer(parse_pack("bitmap", "--pack")), 1000, {}});  // a shard limit does not tear packed weights apart
  write_model(model, plain);
  EXPECT_NO_THROW(verify_written(packed, model.graph));
  EXPECT_LT(std::filesystem::file_size(packed / "model.safetensors"),
            std::filesystem::file_size(plain / "model.safetensors"));
  round_trip(load_model(packed));  // a packed model is a source like any other
}

// Seen by a packed weight that cannot be unpacked: opening, cutting and counting do not meet the damage.
TEST_F(Output, OpeningAPackedModelUnpacksNothing) {
  const std::string name = "model.layers.1.mlp.up_proj.weight";
  Model model = load("llama");
  Parameter& sparse = model.graph.parameter(name);
  auto values = sparse.load().to_floats();
  for (size_t i = 0; i < values.size(); ++i)
    if (i % 4) values[i] = 0;
  sparse.assign(Tensor::from_floats(sparse.shape(), values));
  const auto out = fresh();
  write_model(model, out, {weight_packer(parse_pack("bitmap", "--pack")), UINT64_MAX, {}});
  std::string file = read_file(out / "model.safetensors", 1 << 20);
  const std::string bitmap = std::string(4, '\x11') + std::string(4, '\0');  // every fourth bit of 32 in a word
  const size_t at = file.find(bitmap + bitmap + bitmap);
  ASSERT_NE(at, std::string::npos);
  file[at] = '\x10';
  write_file_atomically(out / "model.safetensors", file);
  Model read = load_model(out);
  EXPECT_EQ(read.graph.parameter_count(), model.graph.parameter_count());
  cut_group(read, "blocks.1.neurons", 24);
  EXPECT_EQ(read.graph.parameter(name).shape(), (Shape{24, 32}));
  EXPECT_EQ(read.graph.parameter(name).dtype(), DType::kF32);
  ESP_EXPECT_USER_ERROR(read.graph.parameter(name).load(), name);
}

TEST_F(Output, SideFilesComeAlongAndNothingElse) {
  const Model model = load("llama");
  auto put = [&](const std::string& name) { std::ofstream(model.path / name) << name; };
  for (const char* name :
       {"tokenizer.json", "tokenizer.model", "merges.txt", "generation_config.json", "chat_template.jinja", "LICENSE"})
    put(name);
  for (const char* name : {"modeling_evil.py", "pytorch_model.bin", "old.safetensors.index.json", "manifest.json",
                           "README.md", ".hidden.json"})
    put(name);
  std::filesystem::create_directory(model.path / "folder.json");
  const auto out = fresh();
  write_model(model, out);
  std::set<std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator(out)) found.insert(entry.path().filename().string());
  EXPECT_EQ(found, (std::set<std::string>{"tokenizer.json", "tokenizer.model", "merges.txt", "generation_config.json",
                                          "chat_template.jinja", "LICENSE", "config.json", "model.safetensors"}));
  EXPECT_EQ(read_file(out / "merges.txt", 100), "merges.txt");
}

TEST_F(Output, LinksThatLeaveTheDirectoryAreRefused) {
  const Model model = load("llama");
  std::ofstream(dir_ / "secret.txt") << "secret";
  std::filesystem::create_symlink("../secret.txt", model.path / "tokenizer.json");
  ESP_EXPECT_USER_ERROR(write_model(model, fresh()), "a symbolic link that leaves its directory");
}

TEST_F(Output, RemoteCodeIsNotCarriedOn) {
  test::TinyOptions options;
  options.config = {{"auto_map", {{"AutoModel", "modeling_evil.Evil"}}}};
  ::testing::internal::CaptureStderr();
  EXPECT_FALSE(round_trip(load("llama", options)).config.contains("auto_map"));
  ::testing::internal::GetCapturedStderr();
}

TEST_F(Output, VerificationFindsOneChangedByte) {
  const Model model = load("llama");
  const auto out = fresh();
  write_model(model, out);
  std::fstream file(out / "model.safetensors", std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(-1, std::ios::end);
  file.put('\x7e');
  file.close();
  ESP_EXPECT_USER_ERROR(verify_written(out, model.graph), "is not what was written");
}

TEST_F(Output, VerificationFindsAnotherModel) {
  Model model = load("llama");
  const auto out = fresh();
  write_model(model, out);
  cut_all(model, "neurons", 24);
  ESP_EXPECT_USER_ERROR(verify_written(out, model.graph), "expected F32 [24, 32], found F32 [48, 32]");
  remove_branches(model, {0});
  ESP_EXPECT_USER_ERROR(verify_written(out, model.graph), "number of parameters");
}

}  // namespace
}  // namespace espalier
