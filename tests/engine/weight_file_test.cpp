#include "espalier/engine/weight_file.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "espalier/io/bitmap_pack.h"
#include "espalier/io/safetensors.h"
#include "tests/support.h"

namespace espalier {
namespace {

// Every second column of each run of four, so that every layout holds it; the first 32 columns are empty blocks.
Tensor sparse_weight(DType dtype = DType::kF32, int64_t rows = 5, int64_t columns = 72) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(rows * columns));
  for (size_t i = 0; i < values.size(); ++i)
    if (i % 2 == 0 && static_cast<int64_t>(i) % columns >= 32) values[i] = normal(random);
  return Tensor::from_floats({rows, columns}, values).to(dtype);
}

class PackedFile : public ::testing::Test {
 protected:
  std::filesystem::path path() const { return directory_ / "model.safetensors"; }

  // change(parts) damages them before they are written.
  template <typename Change>
  void write(const std::string& pack, const Tensor& weight, Change change) {
    auto parts = weight_packer(parse_pack(pack, "--pack"))("w", weight);
    ASSERT_TRUE(parts);
    change(*parts);
    std::vector<TensorSpec> specs = {{"other", DType::kBF16, {3}}};
    for (const std::string& part : part_names(parts->form)) {
      const Tensor& tensor = part_of(*parts, part);
      specs.push_back({"w." + part, tensor.dtype(), tensor.shape(), tensor.byte_size() % 64 == 0});
    }
    SafetensorsWriter writer(path(), specs, {{kPackMetadataKey, pack_metadata({{"w", parts->shape, parts->form, parts->dtype}})}});
    writer.write("other", Tensor(DType::kBF16, {3}));
    for (const std::string& part : part_names(parts->form)) writer.write("w." + part, part_of(*parts, part));
    writer.commit();
  }
  void write(const std::string& pack, const Tensor& weight) {
    write(pack, weight, [](PackedParts&) {});
  }

  // A damaged part, in the form; reading must name the weight and say `fragment`.
  template <typename Change>
  void refuse(const std::string& pack, Change change, const std::string& fragment) {
    write(pack, sparse_weight(), change);
    ESP_EXPECT_USER_ERROR(Checkpoint::open(path())->tensor("w"), fragment);
    ESP_EXPECT_USER_ERROR(packed_matrix(*Checkpoint::open(path()), "w"), fragment);
    ESP_EXPECT_USER_ERROR(Checkpoint::open(path())->tensor("w"), "'w'");
  }

  test::TempDir directory_;
};

TEST_F(PackedFile, EveryFormIsTheConvertedMatrixWhereItLiesInTheFile) {
  for (const char* pack : {"bitmap", "2:4", "4:8", "block:1x16", "int8", "int8/32", "int8/64+bitmap", "int8/128+2:4", "int8+block:1x16",
                           "bf16+bitmap", "fp16+2:4"}) {
    const Tensor weight = sparse_weight();
    write(pack, weight);
    const auto checkpoint = Checkpoint::open(path());
    EXPECT_EQ(checkpoint->names(), (std::vector<std::string>{"w", "other"})) << pack;
    const auto matrix = packed_matrix(*checkpoint, "w");
    ASSERT_TRUE(matrix) << pack;
    const WeightMatrix made = make_matrix(weight, matrix->form, "w");
    const Tensor expected = to_dense(made), found = to_dense(*matrix), unpacked = checkpoint->tensor("w");
    ASSERT_EQ(found.to_floats(), expected.to_floats()) << pack;
    ASSERT_EQ(unpacked.to_floats(), expected.to_floats()) << pack;
    EXPECT_EQ(unpacked.dtype(), DType::kF32);
    EXPECT_EQ(matrix->byte_size(), made.byte_size()) << pack;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(matrix->values.bytes()) % 64, 0u) << pack;
  }
}

TEST_F(PackedFile, UnpacksToTheWeightsOwnType) {
  const Tensor weight = sparse_weight(DType::kBF16);
  write("bitmap", weight);
  const auto checkpoint = Checkpoint::open(path());
  EXPECT_EQ(checkpoint->dtype("w"), DType::kBF16);
  const Tensor& unpacked = checkpoint->tensor("w");
  EXPECT_EQ(0, std::memcmp(unpacked.bytes(), weight.bytes(), weight.byte_size()));
}

TEST_F(PackedFile, ValuesAreViewsOfTheMappedFile) {
  write("bitmap", sparse_weight());
  const auto checkpoint = Checkpoint::open(path());
  EXPECT_EQ(packed_matrix(*checkpoint, "w")->values.bytes(), packed_matrix(*checkpoint, "w")->values.bytes());
  EXPECT_FALSE(packed_matrix(*checkpoint, "other"));
}

TEST_F(PackedFile, LayoutsThatDoNotFitLeaveTheWeight) {
  const Tensor full = Tensor::from_floats({4, 64}, std::vector<float>(256, 1.0f));
  for (const char* pack : {"bitmap", "2:4", "block:1x16", "auto"}) EXPECT_FALSE(weight_packer(parse_pack(pack, ""))("w", full)) << pack;
  EXPECT_EQ(weight_packer(parse_pack("int8+2:4", ""))("w", full)->form, (WeightForm{Precision::kI8}));
  EXPECT_FALSE(weight_packer(parse_pack("none", "")));
}

TEST_F(PackedFile, AutoTakesWhatPays) {
  const auto parts = weight_packer(parse_pack("auto", ""))("w", sparse_weight(DType::kF32, 64, 72));
  ASSERT_TRUE(parts);
  EXPECT_NE(parts->form.layout, Layout::kDense);
}

TEST_F(PackedFile, DamagedBitmapsAreRefused) {
  refuse("bitmap", [](PackedParts& p) { p.index.mutable_as<uint8_t>()[4] ^= 0x10; }, "as the offsets say");
  refuse("bitmap", [](PackedParts& p) { p.index.mutable_as<uint8_t>()[15] |= 0x80; }, "no bit beyond the last column");
  refuse("bitmap", [](PackedParts& p) { p.offsets.mutable_as<int64_t>()[0] = 1; }, "offsets");
  refuse("bitmap", [](PackedParts& p) { p.offsets.mutable_as<int64_t>()[2] = -1; }, "offset of row 2");
  refuse("bitmap", [](PackedParts& p) { p.offsets.mutable_as<int64_t>()[5] = int64_t{1} << 40; }, "offset of row 5");
  refuse("bitmap", [](PackedParts& p) { p.values = filled_up(Tensor(DType::kF32, {kValueSlack})); }, "offset of row");
}

TEST_F(PackedFile, DamagedRunsAndBlocksAreRefused) {
  refuse("2:4", [](PackedParts& p) { p.index.mutable_as<uint8_t>()[8] ^= 0x02; }, "2 stored values");
  refuse("block:1x16", [](PackedParts& p) { p.index.mutable_as<uint16_t>()[1] = 2; }, "ascending numbers below 5");
  refuse("block:1x16", [](PackedParts& p) { p.index.mutable_as<uint16_t>()[2] = 5; }, "ascending numbers below 5");
  refuse("block:1x16", [](PackedParts& p) { p.offsets.mutable_as<int64_t>()[5] = 1000; }, "offset of row 5");
}

TEST_F(PackedFile, ScalesThatAreNoNumbersAreRefused) {
  for (const float bad : {NAN, INFINITY}) refuse("int8/32", [&](PackedParts& p) { p.scales.mutable_as<float>()[3] = bad; }, "scale 3");
}

TEST_F(PackedFile, PartsOfOtherTypesOrSizesAreRefusedWhenTheFileIsOpened) {
  const auto refuse_open = [&](const char* pack, auto change, const char* fragment) {
    write(pack, sparse_weight(), change);
    ESP_EXPECT_USER_ERROR(Checkpoint::open(path()), fragment);
  };
  refuse_open("bitmap", [](PackedParts& p) { p.shape[1] = 200; }, "index");
  refuse_open("bitmap", [](PackedParts& p) { p.shape[0] = 500; }, "index");
  refuse_open("bitmap", [](PackedParts& p) { p.values = Tensor(DType::kF32, {16}); }, "at least 64");
  refuse_open("2:4", [](PackedParts& p) { p.values = filled_up(Tensor(DType::kF32, {64})); }, "values");
  refuse_open("2:4", [](PackedParts& p) { p.form.m = 5; }, "multiple of 5");
  refuse_open("int8", [](PackedParts& p) { p.values = Tensor(DType::kU8, p.values.shape()); }, "I8 in one axis");
  refuse_open("int8", [](PackedParts& p) { p.shape = {INT64_MAX, INT64_MAX}; }, "two sizes");
}

TEST(PackWords, ArePrecisionAndLayout) {
  EXPECT_TRUE(parse_pack("none", "").none);
  EXPECT_TRUE(parse_pack("auto", "").best);
  const PackChoice both = parse_pack("int8/64+2:4", "");
  EXPECT_EQ(both.form, (WeightForm{Precision::kI8, Layout::kNOfM, 64, 2, 4}));
  EXPECT_FALSE(parse_pack("bitmap", "").precision);
  for (const char* bad : {"", "bf16", "int9", "2:4+int8", "bitmap+bitmap", "4:2", "int8/16", "dense", "block:1x8", "bitmap+"})
    ESP_EXPECT_USER_ERROR(parse_pack(bad, "--pack"), "--pack: form");
}

TEST(WeightFormText, ReadsWhatItWrites) {
  for (const char* text : {"bf16", "int8/64 dense", "bf16 2:4", "fp32 bitmap", "int8/32 block:1x16", "int8 dense", "fp16"})
    EXPECT_EQ(to_string(parse_weight_form(text, "")), text);
  for (const char* bad : {"", "bitmap", "bf16 ", "bf16 2:4 x", "bf16+2:4"}) ESP_EXPECT_USER_ERROR(parse_weight_form(bad, "f"), "f: form");
}

}  // namespace
}  // namespace espalier
