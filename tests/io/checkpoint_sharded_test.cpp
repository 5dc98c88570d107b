// Sharded checkpoints: what an index may say and what is refused.
#include <gtest/gtest.h>

#include "espalier/core/json.h"
#include "espalier/io/checkpoint.h"
#include "espalier/io/checkpoint_index.h"
#include "tests/io/safetensors_bytes.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

class Sharded : public testing::Test {
 protected:
  // A shard with scalars; `first` is the value of the first, the others count up.
  void shard(const fs::path& path, const std::vector<std::string>& names, float first = 1) {
    std::vector<TensorSpec> specs;
    for (const auto& name : names) specs.push_back({name, DType::kF32, {}});
    SafetensorsWriter writer(path, specs);
    for (const auto& name : names) writer.write(name, Tensor::from_floats({}, std::vector<float>{first++}));
    writer.commit();
  }
  void index(const std::string& weight_map, const std::string& metadata = "{}") {
    test::put_bytes(model / "model.safetensors.index.json",
                    fmt::format("{{\"metadata\": {}, \"weight_map\": {}}}", metadata, weight_map));
  }
  std::shared_ptr<const Checkpoint> open() { return Checkpoint::open(model); }

  void SetUp() override {
    model = dir / "model";
    fs::create_directory(model);
    shard(model / "1.safetensors", {"b", "a"}, 1);
    shard(model / "2.safetensors", {"c"}, 3);
  }

  test::TempDir dir;
  fs::path model;
  const std::string good_map = R"({"c": "2.safetensors", "a": "1.safetensors", "b": "1.safetensors"})";
};

TEST_F(Sharded, NamesInFileOrderWithinShardsByName) {
  index(good_map, R"({"total_size": 12})");
  const auto checkpoint = open();
  EXPECT_EQ(checkpoint->names(), (std::vector<std::string>{"b", "a", "c"}));
  EXPECT_EQ(checkpoint->tensor("a").to_floats(), (std::vector<float>{2}));
  EXPECT_EQ(checkpoint->tensor("c").to_floats(), (std::vector<float>{3}));
  EXPECT_EQ(Checkpoint::open(model / "model.safetensors.index.json")->names().size(), 3u);
}

TEST_F(Sharded, MissingShard) {
  index(R"({"c": "2.safetensors", "a": "1.safetensors", "b": "1.safetensors", "d": "3.safetensors"})");
  ESP_EXPECT_USER_ERROR(open(), "model.safetensors.index.json: the shard '3.safetensors' is missing");
}

TEST_F(Sharded, TensorInTwoShards) {
  shard(model / "2.safetensors", {"c", "a"});
  index(good_map);
  ESP_EXPECT_USER_ERROR(open(), "the tensor 'a' stands in two shards, '1.safetensors' and '2.safetensors'");
}

TEST_F(Sharded, TensorInAShardButNotInTheIndex) {
  shard(model / "2.safetensors", {"c", "extra"});
  index(good_map);
  ESP_EXPECT_USER_ERROR(open(), "the index lacks the tensor 'extra' of the shard '2.safetensors'");
}

TEST_F(Sharded, TensorInTheIndexButInNoShard) {
  shard(model / "2.safetensors", {"x"});
  index(good_map);
  ESP_EXPECT_USER_ERROR(open(),
                        "weight_map: 'c': expected a tensor of '2.safetensors', found no such tensor in any shard");
}

TEST_F(Sharded, TensorInAnotherShardThanTheIndexSays) {
  index(R"({"c": "1.safetensors", "a": "1.safetensors", "b": "2.safetensors"})");
  ESP_EXPECT_USER_ERROR(open(), "found it in '");
}

TEST_F(Sharded, PathThatClimbs) {
  shard(dir / "2.safetensors", {"c"});
  for (const char* name :
       {"../2.safetensors", "..", "sub/../../2.safetensors", "./2.safetensors", "sub/2.safetensors", "", ".."}) {
    index(fmt::format(R"({{"c": "{}", "a": "1.safetensors", "b": "1.safetensors"}})", name));
    ESP_EXPECT_USER_ERROR(open(), "is not the plain name of a file in that directory");
  }
}

TEST_F(Sharded, AbsolutePath) {
  index(
      fmt::format(R"({{"c": "{}", "a": "1.safetensors", "b": "1.safetensors"}})", (model / "2.safetensors").string()));
  ESP_EXPECT_USER_ERROR(open(), "is not the plain name");
}

TEST_F(Sharded, NameWithNul) {
  index("{\"c\": \"2.safetensors\\u0000\", \"a\": \"1.safetensors\", \"b\": \"1.safetensors\"}");
  ESP_EXPECT_USER_ERROR(open(), "is not the plain name");
}

TEST_F(Sharded, SymlinkThatLeavesTheDirectory) {
  fs::rename(model / "2.safetensors", dir / "secret.safetensors");
  fs::create_symlink("../secret.safetensors", model / "2.safetensors");
  index(good_map);
  ESP_EXPECT_USER_ERROR(open(), "a symbolic link that leaves its directory, to ");
}

TEST_F(Sharded, SymlinkWithinTheDirectory) {
  fs::rename(model / "2.safetensors", model / "renamed");
  fs::create_symlink("renamed", model / "2.safetensors");
  index(good_map);
  EXPECT_EQ(open()->tensor("c").to_floats(), (std::vector<float>{3}));
}

TEST_F(Sharded, DanglingSymlink) {
  fs::remove(model / "2.safetensors");
  fs::create_symlink("nowhere", model / "2.safetensors");
  index(good_map);
  ESP_EXPECT_USER_ERROR(open(), "the shard '2.safetensors' is missing");
}

TEST_F(Sharded, SingleFileThatIsASymlinkOutside) {
  shard(dir / "secret.safetensors", {"s"});
  fs::create_directory(dir / "other");
  fs::create_symlink("../secret.safetensors", dir / "other" / "model.safetensors");
  ESP_EXPECT_USER_ERROR(Checkpoint::open(dir / "other"), "leaves its directory");
  EXPECT_NO_THROW(Checkpoint::open(dir / "other" / "model.safetensors")) << "named by the user himself";
}

TEST_F(Sharded, ADirectoryThatIsItselfASymlink) {
  index(good_map);
  fs::create_directory_symlink("model", dir / "link");
  EXPECT_EQ(Checkpoint::open(dir / "link")->names().size(), 3u);
}

// models--x/blobs/<hash>, models--x/snapshots/<revision>/name -> ../../blobs/<hash>
TEST_F(Sharded, TheHubsCacheLinksToItsBlobs) {
  const fs::path cache = dir / "models--x", snapshot = cache / "snapshots" / "0123abc", blobs = cache / "blobs";
  fs::create_directories(snapshot);
  fs::create_directories(blobs);
  index(good_map);
  for (const char* name : {"1.safetensors", "2.safetensors", "model.safetensors.index.json"}) {
    fs::rename(model / name, blobs / (std::string("hash-") + name));
    fs::create_symlink(fs::path("../../blobs") / (std::string("hash-") + name), snapshot / name);
  }
  EXPECT_EQ(Checkpoint::open(snapshot)->tensor("c").to_floats(), (std::vector<float>{3}));

  fs::rename(blobs / "hash-2.safetensors", dir / "outside");
  fs::remove(snapshot / "2.safetensors");
  fs::create_symlink(dir / "outside", snapshot / "2.safetensors");
  ESP_EXPECT_USER_ERROR(Checkpoint::open(snapshot), "leaves its directory");
  fs::create_directories(dir / "models--y" / "blobs");
  fs::rename(dir / "outside", dir / "models--y" / "blobs" / "b");
  fs::remove(snapshot / "2.safetensors");
  fs::create_symlink("../../../models--y/blobs/b", snapshot / "2.safetensors");
  ESP_EXPECT_USER_ERROR(Checkpoint::open(snapshot), "leaves its directory");
}

TEST_F(Sharded, TwoShardsThatAreTheSameFile) {
  fs::remove(model / "2.safetensors");
  fs::create_symlink("1.safetensors", model / "2.safetensors");
  index(good_map);
  ESP_EXPECT_USER_ERROR(open(), "the shards '1.safetensors' and '2.safetensors' are the same file");
}

TEST_F(Sharded, TotalSizeThatIsNotTheSum) {
  index(good_map, R"({"total_size": 13})");
  ESP_EXPECT_USER_ERROR(open(), "metadata.total_size: expected 12, the sum of the tensors' bytes, found 13");
  index(good_map, R"({"total_size": 12.0})");
  EXPECT_NO_THROW(open());
  for (const char* wrong : {"\"12\"", "-12", "12.5", "null", "1e300"}) {
    index(good_map, fmt::format("{{\"total_size\": {}}}", wrong));
    ESP_EXPECT_USER_ERROR(open(), "metadata.total_size");
  }
}

TEST_F(Sharded, IndexesThatSayNothing) {
  for (const char* map : {"{}", "[]", "null", "\"x\"", "{\"a\": 1}", "{\"a\": null}", "{\"a\": [\"1.safetensors\"]}"}) {
    index(map);
    ESP_EXPECT_USER_ERROR(open(), "weight_map");
  }
  test::put_bytes(model / "model.safetensors.index.json", "[]");
  ESP_EXPECT_USER_ERROR(open(), "weight_map");
  test::put_bytes(model / "model.safetensors.index.json",
                  "{\"weight_map\": {\"a\": \"1.safetensors\", \"a\": \"2.safetensors\"}}");
  ESP_EXPECT_USER_ERROR(open(), "'a' stands twice");
}

TEST_F(Sharded, AShardThatIsADirectory) {
  fs::remove(model / "2.safetensors");
  fs::create_directory(model / "2.safetensors");
  index(good_map);
  ESP_EXPECT_USER_ERROR(open(), "not a regular file");
}

TEST_F(Sharded, TorchShards) {
  fs::create_directory(dir / "torch");
  fs::copy_file(fs::path(ESPALIER_SOURCE_DIR) / "tests/io/data/two_networks.pt", dir / "torch" / "pytorch_model-1.bin");
  test::put_bytes(
      dir / "torch" / "pytorch_model.bin.index.json",
      R"({"metadata": {"total_size": 20}, "weight_map": {"generator.w": "pytorch_model-1.bin", "critic.body.w": "pytorch_model-1.bin"}})");
  EXPECT_EQ(Checkpoint::open(dir / "torch")->tensor("generator.w").to_floats(), (std::vector<float>{1, 1}));
}

TEST_F(Sharded, AWrittenIndexIsReadBack) {
  write_index(model, {{"c", "2.safetensors"}, {"a", "1.safetensors"}, {"b", "1.safetensors"}}, 12);
  EXPECT_EQ(open()->names().size(), 3u);
  const Json json = read_json(model / "model.safetensors.index.json");
  EXPECT_EQ(json["metadata"]["total_size"], 12);
  EXPECT_EQ(json["weight_map"].dump(), R"({"a":"1.safetensors","b":"1.safetensors","c":"2.safetensors"})");
}

}  // namespace
}  // namespace espalier
