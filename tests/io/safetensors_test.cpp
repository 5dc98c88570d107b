#include "espalier/io/safetensors.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <chrono>
#include <fstream>

#include "tests/io/safetensors_bytes.h"
#include "tests/support.h"

namespace espalier::safetensors_test {
namespace {

using test::put_bytes;
using test::safetensors_bytes;

Tensor floats(Shape shape, std::vector<float> values) { return Tensor::from_floats(std::move(shape), values); }

std::string bytes_of(const Tensor& tensor) {
  return {reinterpret_cast<const char*>(tensor.bytes()), tensor.byte_size()};
}

// The example of the format's own documentation, by hand: two tensors and metadata.
TEST(Safetensors, ReadsAFileMadeByHand) {
  test::TempDir dir;
  const float values[] = {1, 2, 3, -0.5f};
  std::string data(reinterpret_cast<const char*>(values), sizeof(values));
  data += std::string("\x00\x3c\x00\xc0", 4);  // f16: 1, -2
  put_bytes(dir / "w.safetensors",
            safetensors_bytes(
                R"({"b":{"dtype":"F16","shape":[2],"data_offsets":[16,20]},"__metadata__":{"format":"pt","k":"ä"},)"
                R"("a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}  )",
                data));
  const auto file = SafetensorsFile::open(dir / "w.safetensors");
  ASSERT_EQ(file->tensors().size(), 2u);
  EXPECT_EQ(file->tensors()[0].name, "a");  // in offset order
  EXPECT_EQ(file->tensors()[1].name, "b");
  EXPECT_EQ(file->metadata().at("k"), "ä");
  EXPECT_EQ(file->tensor("a").shape(), (Shape{2, 2}));
  EXPECT_EQ(file->tensor("a").to_floats(), (std::vector<float>{1, 2, 3, -0.5f}));
  EXPECT_EQ(file->tensor("b").to_floats(), (std::vector<float>{1, -2}));
  EXPECT_EQ(file->find("c"), nullptr);
  ESP_EXPECT_USER_ERROR(file->tensor("c"), "no tensor 'c'");
}

TEST(Safetensors, TensorsAreViewsThatKeepTheMapAlive) {
  test::TempDir dir;
  SafetensorsWriter writer(dir / "w.safetensors", {{"a", DType::kF32, {3}}});
  writer.write("a", floats({3}, {1, 2, 3}));
  writer.commit();
  Tensor view;
  {
    const auto file = SafetensorsFile::open(dir / "w.safetensors");
    view = file->tensor("a");
    EXPECT_GE(view.bytes(), file->file().data());
    EXPECT_LE(view.bytes() + view.byte_size(), file->file().data() + file->file().size());
  }
  EXPECT_EQ(view.to_floats(), (std::vector<float>{1, 2, 3}));
  EXPECT_THROW(view.mutable_bytes(), Bug);
}

TEST(Safetensors, AMisalignedTensorIsCopied) {
  test::TempDir dir;
  const std::string header = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  for (size_t spaces = 0; spaces < 4; ++spaces) {
    const auto path = dir / fmt::format("{}.safetensors", spaces);
    put_bytes(path, safetensors_bytes(header + std::string(spaces, ' '), std::string("\x00\x00\x80\x3f", 4)));
    const Tensor tensor = SafetensorsFile::open(path)->tensor("a");
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.bytes()) % 4, 0u);
    EXPECT_EQ(tensor.as<float>()[0], 1.0f);
  }
}

TEST(Safetensors, ZeroSizeAndScalarTensorsLoad) {
  test::TempDir dir;
  SafetensorsWriter writer(
      dir / "w.safetensors",
      {{"none", DType::kF32, {0, 7}}, {"scalar", DType::kF32, {}}, {"also none", DType::kF32, {3, 0}}});
  writer.write("scalar", floats({}, {4}));
  writer.write("none", Tensor(DType::kF32, {0, 7}));
  writer.write("also none", Tensor(DType::kF32, {3, 0}));
  writer.commit();
  const auto file = SafetensorsFile::open(dir / "w.safetensors");
  EXPECT_EQ(file->tensor("scalar").to_floats(), (std::vector<float>{4}));
  EXPECT_EQ(file->tensor("none").shape(), (Shape{0, 7}));
  EXPECT_EQ(file->tensor("also none").count(), 0);
}

TEST(Safetensors, AFileWithoutTensorsLoads) {
  EXPECT_TRUE(test::parse(safetensors_bytes("{}")).tensors.empty());
  EXPECT_TRUE(test::parse(safetensors_bytes("{\"__metadata__\":{}}")).tensors.empty());
}

TEST(SafetensorsWriter, EveryTypeComesBackBitForBit) {
  test::TempDir dir;
  std::vector<TensorSpec> specs;
  for (const char* name : {"BOOL", "U8", "F8_E4M3", "F8_E5M2", "I8", "BF16", "F16", "I16", "U16", "F32", "I32", "U32",
                           "F64", "I64", "U64"})
    specs.push_back({std::string("tensor ") + name, *dtype_from_name(name), {3, 5}});
  std::vector<Tensor> tensors;
  for (size_t i = 0; i < specs.size(); ++i) {
    Tensor tensor(specs[i].dtype, specs[i].shape);
    for (size_t b = 0; b < tensor.byte_size(); ++b) tensor.mutable_bytes()[b] = static_cast<std::byte>(17 * b + 31 * i);
    tensors.push_back(tensor);
  }
  SafetensorsWriter writer(dir / "w.safetensors", specs);
  for (size_t i = 0; i < specs.size(); ++i) writer.write(specs[i].name, tensors[i]);
  writer.commit();
  const auto file = SafetensorsFile::open(dir / "w.safetensors");
  for (size_t i = 0; i < specs.size(); ++i) {
    const Tensor back = file->tensor(specs[i].name);
    EXPECT_EQ(back.dtype(), specs[i].dtype);
    EXPECT_EQ(bytes_of(back), bytes_of(tensors[i])) << specs[i].name;
    EXPECT_GE(back.bytes(), file->file().data()) << "aligned, so a view";
    EXPECT_LT(back.bytes(), file->file().data() + file->file().size());
  }
}

TEST(SafetensorsWriter, TheExactBytes) {
  test::TempDir dir;
  SafetensorsWriter writer(dir / "w.safetensors", {{"a\"b", DType::kU8, {3}}}, {{"format", "pt"}});
  Tensor tensor(DType::kU8, {3});
  tensor.mutable_as<uint8_t>()[0] = 'x', tensor.mutable_as<uint8_t>()[1] = 'y', tensor.mutable_as<uint8_t>()[2] = 'z';
  writer.write("a\"b", tensor);
  writer.commit();
  std::string header = R"({"__metadata__":{"format":"pt"},"a\"b":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})";
  header.resize(120, ' ');  // 8 + 120 = 2 * 64
  EXPECT_EQ(read_file(dir / "w.safetensors", 1000), safetensors_bytes(header, "xyz"));
}

TEST(SafetensorsWriter, TheOrderOfWritingDoesNotMatter) {
  test::TempDir dir;
  const std::vector<TensorSpec> specs{{"b", DType::kF32, {2}}, {"bits", DType::kU8, {3}}, {"a", DType::kF32, {1}}};
  Tensor bits(DType::kU8, {3});
  bits.mutable_as<uint8_t>()[1] = 9;
  const std::map<std::string, Tensor> tensors{{"b", floats({2}, {1, 2})}, {"bits", bits}, {"a", floats({1}, {3})}};
  std::vector<std::string> files;
  for (std::vector<std::string> order : {std::vector<std::string>{"b", "bits", "a"}, {"a", "bits", "b"}}) {
    SafetensorsWriter writer(dir / "w.safetensors", specs, {{"k", "v"}});
    EXPECT_EQ(writer.tensors()[1].name, "a");  // floats first, as given
    for (const std::string& name : order) writer.write(name, tensors.at(name));
    writer.commit();
    files.push_back(read_file(dir / "w.safetensors", 10'000));
  }
  EXPECT_EQ(files[0], files[1]);
  const auto file = SafetensorsFile::open(dir / "w.safetensors");
  EXPECT_EQ((file->metadata()), (std::map<std::string, std::string>{{"format", "pt"}, {"k", "v"}}));
  EXPECT_EQ(file->tensor("a").to_floats(), (std::vector<float>{3}));
}

TEST(SafetensorsWriter, ProgrammingMistakesAreBugs) {
  test::TempDir dir;
  SafetensorsWriter writer(dir / "w.safetensors", {{"a", DType::kF32, {2}}});
  EXPECT_THROW(writer.write("b", floats({2}, {1, 2})), Bug);
  EXPECT_THROW(writer.write("a", floats({1, 2}, {1, 2})), Bug);
  EXPECT_THROW(writer.write("a", floats({2}, {1, 2}).to(DType::kF16)), Bug);
  EXPECT_THROW(writer.commit(), Bug);
  writer.write("a", floats({2}, {1, 2}));
  EXPECT_THROW(writer.write("a", floats({2}, {1, 2})), Bug);
  EXPECT_FALSE(std::filesystem::exists(dir / "w.safetensors"));
  writer.commit();
  EXPECT_TRUE(std::filesystem::exists(dir / "w.safetensors"));
}

TEST(SafetensorsWriter, RefusesNamesThatNoReaderWouldTake) {
  test::TempDir dir;
  ESP_EXPECT_USER_ERROR(SafetensorsWriter(dir / "w", {{"", DType::kF32, {}}}), "is empty");
  ESP_EXPECT_USER_ERROR(SafetensorsWriter(dir / "w", {{"a", DType::kF32, {}}, {"a", DType::kF32, {}}}),
                        "two tensors are named 'a'");
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

// Half a gigabyte of data that is a hole in the file: opening must not read it.
TEST(Safetensors, OpeningALargeCheckpointIsFastAndTouchesNoData) {
  test::TempDir dir;
  std::string header = "{";
  constexpr uint64_t kTensors = 300, kBytes = 1'700'000;
  for (uint64_t i = 0; i < kTensors; ++i)
    header += fmt::format("{}\"model.layers.{}.weight\":{{\"dtype\":\"BF16\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                          i ? "," : "", i, kBytes / 2, i * kBytes, (i + 1) * kBytes);
  header += "}";
  const auto path = dir / "w.safetensors";
  put_bytes(path, safetensors_bytes(header));
  std::filesystem::resize_file(path, std::filesystem::file_size(path) + kTensors * kBytes);
  SafetensorsFile::open(path);
  auto fastest = std::chrono::nanoseconds::max();
  std::shared_ptr<const SafetensorsFile> file;
  for (int i = 0; i < 5; ++i) {
    const auto start = std::chrono::steady_clock::now();
    file = SafetensorsFile::open(path);
    fastest = std::min<std::chrono::nanoseconds>(fastest, std::chrono::steady_clock::now() - start);
  }
  EXPECT_LT(fastest, std::chrono::milliseconds(10));
  EXPECT_EQ(file->tensors().size(), kTensors);
  const uint64_t pages = (file->file().size() + 4095) / 4096;
  std::vector<unsigned char> resident(pages);
  ASSERT_EQ(::mincore(const_cast<std::byte*>(file->file().data()), file->file().size(), resident.data()), 0);
  uint64_t present = 0;
  for (unsigned char page : resident) present += page & 1;
  EXPECT_LT(present * 4096, 4u << 20) << "no more than the header and the kernel's read-ahead";
}

}  // namespace
}  // namespace espalier::safetensors_test
