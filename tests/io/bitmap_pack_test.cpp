#include "espalier/io/bitmap_pack.h"

#include <gtest/gtest.h>

#include "espalier/core/rng.h"
#include "espalier/io/checkpoint.h"
#include "tests/support.h"

namespace espalier {
namespace {

std::string bytes_of(const Tensor& tensor) {
  return {reinterpret_cast<const char*>(tensor.bytes()), tensor.byte_size()};
}

template <typename T>
std::vector<T> values_of(const Tensor& tensor) {
  return {tensor.as<T>().begin(), tensor.as<T>().end()};
}

Tensor sparse_weight(DType dtype, int64_t rows, int64_t columns, double density, uint64_t seed) {
  Rng rng(seed, "weight");
  Tensor weight(dtype, {rows, columns});
  const size_t size = size_of(dtype);
  for (size_t i = 0; i < static_cast<size_t>(weight.count()); ++i)
    if (rng.uniform() < density)
      for (size_t b = 0; b < size; ++b) weight.mutable_bytes()[i * size + b] = static_cast<std::byte>(rng.below(256));
  return weight;
}

TEST(BitmapPack, TheLayoutByHand) {
  const Tensor weight = Tensor::from_floats({2, 10}, std::vector<float>{1, 0, 0, 2, 0, 0, 0, 3, 0, 4,  //
                                                                        0, 0, 0, 0, 0, 0, 0, 0, 5, 0});
  const BitmapPacked packed = pack_bitmap(weight);
  EXPECT_EQ(packed.bitmap.shape(), (Shape{2, 2}));
  EXPECT_EQ(packed.bitmap.dtype(), DType::kU8);
  EXPECT_EQ(values_of<uint8_t>(packed.bitmap), (std::vector<uint8_t>{0b10001001, 0b10, 0, 0b01}));
  EXPECT_EQ(packed.values.to_floats(), (std::vector<float>{1, 2, 3, 4, 5}));
}

TEST(BitmapPack, EveryTypeDensityAndWidthComesBackBitForBit) {
  for (DType dtype : {DType::kU8, DType::kF8E4M3, DType::kBF16, DType::kF16, DType::kF32, DType::kF64})
    for (double density : {0.0, 0.1, 0.5, 1.0})
      for (int64_t columns : {0, 1, 7, 8, 9, 64, 67}) {
        const Tensor weight = sparse_weight(dtype, 5, columns, density, static_cast<uint64_t>(columns));
        const Tensor back = unpack_bitmap(pack_bitmap(weight), weight.shape(), "w", "f");
        EXPECT_EQ(back.dtype(), dtype);
        EXPECT_EQ(back.shape(), weight.shape());
        EXPECT_EQ(bytes_of(back), bytes_of(weight)) << name_of(dtype) << ' ' << density << ' ' << columns;
      }
}

TEST(BitmapPack, ANegativeZeroIsKept) {
  const Tensor weight = Tensor::from_floats({1, 2}, std::vector<float>{-0.0f, 0.0f});
  EXPECT_EQ(pack_bitmap(weight).values.count(), 1);
  EXPECT_EQ(bytes_of(unpack_bitmap(pack_bitmap(weight), {1, 2}, "w", "f")), bytes_of(weight));
}

TEST(BitmapPack, AMaskDecidesWhatStays) {
  const Tensor weight = Tensor::from_floats({2, 2}, std::vector<float>{1, 0, 3, 4});
  const BitmapPacked packed = pack_bitmap(weight, std::vector<uint8_t>{1, 1, 0, 1});
  EXPECT_EQ(packed.values.to_floats(), (std::vector<float>{1, 0, 4}));
  EXPECT_EQ(unpack_bitmap(packed, {2, 2}, "w", "f").to_floats(), (std::vector<float>{1, 0, 0, 4}));
  EXPECT_THROW(pack_bitmap(weight, std::vector<uint8_t>{1}), Bug);
  EXPECT_THROW(pack_bitmap(Tensor(DType::kF32, {4})), Bug);
}

TEST(BitmapPackHostile, PopcountIsNotTheNumberOfValues) {
  BitmapPacked packed = pack_bitmap(sparse_weight(DType::kF32, 3, 16, 0.5, 1));
  const int64_t kept = packed.values.count();
  packed.values = Tensor(DType::kF32, {kept - 1});
  ESP_EXPECT_USER_ERROR(
      unpack_bitmap(packed, {3, 16}, "w", "f.safetensors"),
      fmt::format("f.safetensors: packed weight 'w': values: expected {}, as the bitmap keeps, found {}", kept,
                  kept - 1));
  packed.values = Tensor(DType::kF32, {kept + 1});
  ESP_EXPECT_USER_ERROR(unpack_bitmap(packed, {3, 16}, "w", "f"), "as the bitmap keeps");
}

TEST(BitmapPackHostile, BitsBeyondTheLastColumn) {
  BitmapPacked packed = pack_bitmap(Tensor::from_floats({1, 3}, std::vector<float>{1, 0, 0}));
  packed.bitmap.mutable_as<uint8_t>()[0] = 0b1000;
  ESP_EXPECT_USER_ERROR(unpack_bitmap(packed, {1, 3}, "w", "f"), "keeps columns beyond the last in row 0");
}

TEST(BitmapPackHostile, WrongShapesAndTypes) {
  const BitmapPacked good = pack_bitmap(sparse_weight(DType::kF32, 3, 16, 0.5, 1));
  ESP_EXPECT_USER_ERROR(unpack_bitmap(good, {3, 17}, "w", "f"), "bitmap: expected U8 [3, 3], found U8 [3, 2]");
  ESP_EXPECT_USER_ERROR(unpack_bitmap(good, {48}, "w", "f"), "two sizes");
  ESP_EXPECT_USER_ERROR(unpack_bitmap(good, {-3, 16}, "w", "f"), "two sizes");
  ESP_EXPECT_USER_ERROR(unpack_bitmap(good, {int64_t{1} << 40, int64_t{1} << 40}, "w", "f"), "two sizes");
  BitmapPacked bad = good;
  bad.bitmap = Tensor(DType::kI8, {3, 2});
  ESP_EXPECT_USER_ERROR(unpack_bitmap(bad, {3, 16}, "w", "f"), "found I8");
  bad = good;
  bad.values = Tensor(DType::kF32, {49});
  ESP_EXPECT_USER_ERROR(unpack_bitmap(bad, {3, 16}, "w", "f"), "at most 48 in one axis");
  bad.values = Tensor(DType::kF32, {good.values.count(), 1});
  ESP_EXPECT_USER_ERROR(unpack_bitmap(bad, {3, 16}, "w", "f"), "in one axis");
}

TEST(BitmapPackHostile, RowsWithoutColumnsTakeNoTime) {
  const BitmapPacked packed{Tensor(DType::kU8, {int64_t{1} << 50, 0}), Tensor(DType::kF32, {0})};
  EXPECT_EQ(unpack_bitmap(packed, {int64_t{1} << 50, 0}, "w", "f").count(), 0);
}

TEST(BitmapPack, MetadataComesBack) {
  const std::string text = pack_metadata({{"a.weight", {4, 8}}, {"quote\"d", {1, 2}}});
  EXPECT_EQ(text, R"({"a.weight":{"form":"bitmap","shape":[4,8]},"quote\"d":{"form":"bitmap","shape":[1,2]}})");
  const auto weights = parse_pack_metadata(text, "f");
  ASSERT_EQ(weights.size(), 2u);
  EXPECT_EQ(weights[1].name, "quote\"d");
  EXPECT_EQ(weights[0].shape, (Shape{4, 8}));
  EXPECT_TRUE(parse_pack_metadata(pack_metadata({}), "f").empty());
}

TEST(BitmapPackHostile, Metadata) {
  ESP_EXPECT_USER_ERROR(parse_pack_metadata("[]", "f"), "f: metadata espalier.pack: value: expected an object");
  ESP_EXPECT_USER_ERROR(parse_pack_metadata("{", "f"), "not valid JSON");
  ESP_EXPECT_USER_ERROR(parse_pack_metadata(R"({"w":1})", "f"), "expected an object, found 1");
  ESP_EXPECT_USER_ERROR(parse_pack_metadata(R"({"w":{"form":"csr","shape":[1,2]}})", "f"),
                        "form: expected fp32, bf16, fp16, int8");
  ESP_EXPECT_USER_ERROR(parse_pack_metadata(R"({"w":{"form":"bitmap"}})", "f"), "[out, in], found none");
  ESP_EXPECT_USER_ERROR(parse_pack_metadata(R"({"w":{"form":"bitmap","shape":[1,2,3]}})", "f"), "[1,2,3]");
  ESP_EXPECT_USER_ERROR(parse_pack_metadata(R"({"w":{"form":"bitmap","shape":[1,-2]}})", "f"), "[1,-2]");
  ESP_EXPECT_USER_ERROR(parse_pack_metadata(R"({"w":{"form":"bitmap","shape":[1,2.5]}})", "f"), "[1,2.5]");
}

struct PackedFile {
  std::vector<TensorSpec> specs;
  std::map<std::string, Tensor> tensors;
  std::map<std::string, std::string> metadata;

  void add(const std::string& name, const Tensor& tensor) {
    specs.push_back({name, tensor.dtype(), tensor.shape()});
    tensors[name] = tensor;
  }
  void write(const std::filesystem::path& path) const {
    SafetensorsWriter writer(path, specs, metadata);
    for (const auto& [name, tensor] : tensors) writer.write(name, tensor);
    writer.commit();
  }
};

PackedFile packed_file(const Tensor& weight) {
  PackedFile file;
  const BitmapPacked packed = pack_bitmap(weight);
  file.add("norm", Tensor(DType::kBF16, {3}));
  file.add(values_name("w"), packed.values);
  file.add(bitmap_name("w"), packed.bitmap);
  file.add("x.bitmap", Tensor(DType::kU8, {2}));  // an ordinary tensor, for the metadata does not mention x
  file.metadata[kPackMetadataKey] = pack_metadata({{"w", weight.shape()}});
  return file;
}

TEST(BitmapPackCheckpoint, UnpacksTransparentlyAndLazily) {
  test::TempDir dir;
  const Tensor weight = sparse_weight(DType::kBF16, 11, 21, 0.3, 5);
  packed_file(weight).write(dir / "model.safetensors");
  const auto checkpoint = Checkpoint::open(dir.path());
  EXPECT_EQ(checkpoint->names(), (std::vector<std::string>{"norm", "w", "x.bitmap"}));
  EXPECT_EQ(checkpoint->shape("w"), (Shape{11, 21}));
  EXPECT_EQ(checkpoint->dtype("w"), DType::kBF16);
  const Tensor kept = checkpoint->tensor("w");
  EXPECT_EQ(bytes_of(kept), bytes_of(weight));
  EXPECT_EQ(checkpoint->tensor("w").bytes(), kept.bytes());
  checkpoint->drop_pages(kept);
  EXPECT_EQ(bytes_of(checkpoint->tensor("w")), bytes_of(weight));
  EXPECT_NE(checkpoint->tensor("w").bytes(), kept.bytes()) << "made anew, for the copy is still held here";
}

TEST(BitmapPackCheckpoint, AMissingPartIsNamed) {
  test::TempDir dir;
  PackedFile file = packed_file(sparse_weight(DType::kF32, 4, 4, 0.5, 1));
  file.specs.erase(file.specs.begin() + 2);
  file.tensors.erase("w.bitmap");
  file.write(dir / "model.safetensors");
  ESP_EXPECT_USER_ERROR(Checkpoint::open(dir.path()), "packed weight 'w': the tensor 'w.bitmap' is missing");
}

TEST(BitmapPackCheckpoint, AWeightPackedAndPlainIsRefused) {
  test::TempDir dir;
  PackedFile file = packed_file(sparse_weight(DType::kF32, 4, 4, 0.5, 1));
  file.add("w", Tensor(DType::kF32, {4, 4}));
  file.write(dir / "model.safetensors");
  ESP_EXPECT_USER_ERROR(Checkpoint::open(dir.path()), "'w' is there packed and as it is");
}

TEST(BitmapPackCheckpoint, AWrongShapeIsRefusedAtOnceAndAWrongBitmapAtFirstUse) {
  test::TempDir dir;
  PackedFile file = packed_file(sparse_weight(DType::kF32, 4, 4, 0.5, 1));
  file.metadata[kPackMetadataKey] = pack_metadata({{"w", {4, 400}}});
  file.write(dir / "model.safetensors");
  ESP_EXPECT_USER_ERROR(Checkpoint::open(dir.path()), "bitmap: expected U8 [4, 50], found U8 [4, 1]");
  file.metadata[kPackMetadataKey] = pack_metadata({{"w", {4, 4}}});
  file.tensors["w.bitmap"] = Tensor(DType::kU8, {4, 1});
  file.write(dir / "model.safetensors");
  const auto checkpoint = Checkpoint::open(dir.path());
  ESP_EXPECT_USER_ERROR(checkpoint->tensor("w"), "as the bitmap keeps");
}

}  // namespace
}  // namespace espalier
