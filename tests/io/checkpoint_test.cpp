#include "espalier/io/checkpoint.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <thread>

#include "espalier/io/checkpoint_values.h"
#include "espalier/io/checkpoint_writer.h"
#include "tests/io/safetensors_bytes.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

Tensor floats(Shape shape, std::vector<float> values) { return Tensor::from_floats(std::move(shape), values); }

// One file with a scalar of that value.
void write_single(const fs::path& path, float value, const std::string& name = "a") {
  SafetensorsWriter writer(path, {{name, DType::kF32, {}}});
  writer.write(name, floats({}, {value}));
  writer.commit();
}

float value_in(const fs::path& path, const std::string& name = "a") {
  return Checkpoint::open(path)->tensor(name).to_floats().at(0);
}

fs::path fixture(const std::string& name) { return fs::path(ESPALIER_SOURCE_DIR) / "tests/io/data" / name; }

TEST(Checkpoint, OpensAFileByItsPath) {
  test::TempDir dir;
  write_single(dir / "x.safetensors", 5);
  EXPECT_EQ(value_in(dir / "x.safetensors"), 5);
  EXPECT_EQ(Checkpoint::open(fixture("zip_form.pt"))->tensor("parameter").to_floats(),
            (std::vector<float>{0.5f, 0.25f}));
  EXPECT_EQ(Checkpoint::open(fixture("old_form.pt"))->tensor("half").to_floats(),
            (std::vector<float>{1, -2.5f, 65504}));
}

TEST(Checkpoint, PrefersFilesInTheDocumentedOrder) {
  test::TempDir dir;
  write_single(dir / "other.safetensors", 1);
  EXPECT_EQ(value_in(dir.path()), 1) << "the only one";
  fs::copy_file(fixture("zip_form.pt"), dir / "pytorch_model.bin");
  EXPECT_EQ(value_in(dir.path(), "plain"), 0);
  EXPECT_EQ(Checkpoint::open(dir.path())->files(), std::vector<fs::path>{dir / "pytorch_model.bin"});
  write_single(dir / "shard.safetensors", 2);
  test::put_bytes(dir / "model.safetensors.index.json", R"({"weight_map": {"a": "shard.safetensors"}})");
  EXPECT_EQ(value_in(dir.path()), 2);
  write_single(dir / "model.safetensors", 3);
  EXPECT_EQ(value_in(dir.path()), 3);
}

TEST(Checkpoint, ADirectoryWithoutOrWithSeveralWeightFilesIsRefused) {
  test::TempDir dir;
  ESP_EXPECT_USER_ERROR(Checkpoint::open(dir.path()), "found none of them");
  write_single(dir / "b.safetensors", 1);
  write_single(dir / "a.safetensors", 1);
  ESP_EXPECT_USER_ERROR(Checkpoint::open(dir.path()), "found 2 files, a.safetensors …");
  ESP_EXPECT_USER_ERROR(Checkpoint::open(dir / "absent"), "absent: no such file or directory");
  test::put_bytes(dir / "x.gguf", "GGUF");
  ESP_EXPECT_USER_ERROR(Checkpoint::open(dir / "x.gguf"), "found .gguf");
}

TEST(Checkpoint, AnAbsentTensorIsNamedWithTheNearestOnes) {
  test::TempDir dir;
  write_single(dir / "model.safetensors", 1, "model.norm.weight");
  const auto checkpoint = Checkpoint::open(dir.path());
  EXPECT_TRUE(checkpoint->has("model.norm.weight"));
  EXPECT_FALSE(checkpoint->has("model.norm.bias"));
  ESP_EXPECT_USER_ERROR(checkpoint->tensor("model.norn.weight"),
                        "no tensor 'model.norn.weight' (did you mean 'model.norm.weight'?)");
  ESP_EXPECT_USER_ERROR(checkpoint->shape("zzzzzzzzzzzzzzzz"), dir.path().string());
}

TEST(Checkpoint, ReferencesStayAndViewsShareTheFile) {
  test::TempDir dir;
  SafetensorsWriter writer(dir / "model.safetensors", {{"a", DType::kF32, {5000}}, {"b", DType::kF16, {2}}},
                           {{"k", "v"}});
  writer.write("a", floats({5000}, std::vector<float>(5000, 2)));
  writer.write("b", floats({2}, {1, 2}).to(DType::kF16));
  writer.commit();
  const auto checkpoint = Checkpoint::open(dir.path());
  EXPECT_EQ(checkpoint->byte_size(), 20004u);
  EXPECT_EQ(checkpoint->metadata().at("k"), "v");
  const Tensor& a = checkpoint->tensor("a");
  EXPECT_EQ(&a, &checkpoint->tensor("a"));
  checkpoint->drop_pages(a);
  EXPECT_EQ(a.to_floats(), std::vector<float>(5000, 2));
  EXPECT_NO_THROW(checkpoint->check_unchanged());
  write_single(dir / "model.safetensors", 1);
  ESP_EXPECT_USER_ERROR(checkpoint->check_unchanged(), "changed while");
}

TEST(Checkpoint, SeveralThreadsMayLoadTheSameStridedTensor) {
  const auto checkpoint = Checkpoint::open(fixture("zip_form.pt"));
  std::vector<const std::byte*> bytes(4);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < bytes.size(); ++i)
    threads.emplace_back([&, i] { bytes[i] = checkpoint->tensor("transposed").bytes(); });
  for (std::thread& thread : threads) thread.join();
  for (const std::byte* pointer : bytes) EXPECT_EQ(pointer, bytes[0]);
}

TEST(CheckpointWriter, SplitsIntoShardsInOrder) {
  test::TempDir dir;
  std::vector<TensorSpec> specs;
  for (int i = 0; i < 5; ++i) specs.push_back({fmt::format("layer{}", i), DType::kF32, {10}});  // 40 bytes each
  specs.push_back({"large", DType::kF32, {100}});
  specs.push_back({"last", DType::kF32, {1}});
  CheckpointWriter writer(dir.path(), specs, {{"k", "v"}}, 100);
  for (size_t i = specs.size(); i-- > 0;)
    writer.write(specs[i].name,
                 floats(specs[i].shape,
                        std::vector<float>(static_cast<size_t>(element_count(specs[i].shape)), static_cast<float>(i))));
  EXPECT_THROW(Checkpoint::open(dir.path()), UserError) << "nothing before commit()";
  writer.commit();
  // 2 + 2 + 1 tensors of 40 bytes, the large one alone, the last.
  EXPECT_EQ(writer.files().size(), 6u);
  for (const auto& path : writer.files()) EXPECT_TRUE(fs::exists(path)) << path;
  const auto checkpoint = Checkpoint::open(dir.path());
  EXPECT_EQ(checkpoint->names(),
            (std::vector<std::string>{"layer0", "layer1", "layer2", "layer3", "layer4", "large", "last"}));
  EXPECT_EQ(checkpoint->files().size(), 5u);
  EXPECT_EQ(checkpoint->byte_size(), 604u);
  for (size_t i = 0; i < specs.size(); ++i)
    EXPECT_EQ(checkpoint->tensor(specs[i].name).to_floats()[0], static_cast<float>(i));
  EXPECT_EQ(checkpoint->files()[1].filename(), "model-00002-of-00005.safetensors");
}

TEST(CheckpointWriter, OneShardNeedsNoIndex) {
  test::TempDir dir;
  CheckpointWriter writer(dir.path(), {{"a", DType::kF32, {1}}});
  writer.write("a", floats({1}, {7}));
  writer.commit();
  EXPECT_EQ(writer.files(), std::vector<fs::path>{dir / "model.safetensors"});
  EXPECT_EQ(value_in(dir.path()), 7);
}

TEST(CheckpointValues, CountsWhatIsNotFiniteInEveryType) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  const Tensor tensor = floats({6}, {1, nan, infinity, -infinity, 0, -nan});
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kF64, DType::kF8E5M2}) {
    const ValueCounts counts = count_values(tensor.to(dtype));
    EXPECT_EQ(counts.nan, 2u) << name_of(dtype);
    EXPECT_EQ(counts.infinite, 2u) << name_of(dtype);
    EXPECT_EQ(counts.denormal, 0u);
    EXPECT_FALSE(counts.all_zero);
  }
  EXPECT_EQ(count_values(tensor.to(DType::kF8E4M3)).nan, 4u);  // no infinities there
  EXPECT_EQ(count_values(floats({1}, {480}).to(DType::kF8E4M3)).nan, 1u);
  EXPECT_EQ(count_values(floats({2}, {448, 256}).to(DType::kF8E4M3)).nan, 0u);
}

TEST(CheckpointValues, CountsDenormalsOfTheTensorsOwnType) {
  EXPECT_EQ(count_values(floats({3}, {1e-40f, 1e-38f, 0})).denormal, 2u);
  EXPECT_EQ(count_values(floats({3}, {1e-6f, 1e-4f, 0}).to(DType::kF16)).denormal, 1u);
  EXPECT_EQ(count_values(floats({3}, {1e-6f, 1e-4f, 0})).denormal, 0u);
}

TEST(CheckpointValues, AllZeroTensors) {
  EXPECT_TRUE(count_values(Tensor(DType::kF32, {4})).all_zero);
  EXPECT_TRUE(count_values(floats({2}, {0.0f, -0.0f})).all_zero);
  EXPECT_TRUE(count_values(Tensor(DType::kI64, {2})).all_zero);
  EXPECT_FALSE(count_values(Tensor(DType::kF32, {0})).all_zero);
}

TEST(CheckpointValues, NotFiniteWeightsLoadAndAreReportedWithTheFirstTensor) {
  test::TempDir dir;
  SafetensorsWriter writer(
      dir / "model.safetensors",
      {{"good", DType::kF32, {2}}, {"zero", DType::kF32, {3}}, {"bad", DType::kF32, {3}}, {"worse", DType::kF32, {1}}});
  writer.write("good", floats({2}, {1, 2}));
  writer.write("zero", Tensor(DType::kF32, {3}));
  writer.write("bad", floats({3}, {1, NAN, 1e-40f}));
  writer.write("worse", floats({1}, {-INFINITY}));
  writer.commit();
  const auto checkpoint = Checkpoint::open(dir.path());
  const ValueReport report = inspect_values(*checkpoint);
  EXPECT_EQ(report.nan, 1u);
  EXPECT_EQ(report.infinite, 1u);
  EXPECT_EQ(report.first_non_finite, "bad");
  EXPECT_EQ(report.first_denormal, "bad");
  EXPECT_EQ(report.first_all_zero, "zero");
  EXPECT_FALSE(report.finite());
  EXPECT_EQ(report.text(),
            "1 NaN and 1 infinite weights, first in 'bad'; 1 denormal weights, first in 'bad'; 1 tensors of zeros, "
            "first 'zero'");
  EXPECT_TRUE(std::isnan(checkpoint->tensor("bad").to_floats()[1]));
}

}  // namespace
}  // namespace espalier
