// Elements of tensors: malformed ones are refused, the others come out as numbers computed by hand here and as those of
// the library `onnx` in onnx_fixtures_test.cpp.
#include <gtest/gtest.h>

#include "espalier/io/onnx/tensor.h"
#include "tests/io/onnx/onnx_bytes.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace pb = test::pb;

using pb::load;
using pb::tensor;
using pb::with_tensor;

// The first initialiser of a model that outlives the call.
Tensor first(const std::string& message) {
  const std::string file = with_tensor(message);
  const Tensor view = to_tensor(load(file).graph.initializers.at(0), "m.onnx");
  Tensor copy(view.dtype(), view.shape());
  std::copy_n(view.bytes(), view.byte_size(), copy.mutable_bytes());
  return copy;
}
std::vector<float> numbers(const std::string& message) { return first(message).to_floats(); }
void load_tensor(const std::string& message) {
  const std::string file = with_tensor(message);
  load(file);
}

TEST(OnnxTensor, RawDataIsAViewWhereAligned) {
  const std::string file = with_tensor(tensor("w", pb::kUint8, {3}, pb::raw("abc")));
  const OnnxModel model = load(file);
  const Tensor view = to_tensor(model.graph.initializers[0], "m");
  EXPECT_EQ(reinterpret_cast<const char*>(view.bytes()), file.data() + file.find("abc"));
  EXPECT_EQ(view.dtype(), DType::kU8);
}

TEST(OnnxTensor, RawFloats) {
  const float values[] = {1.5f, -2};
  EXPECT_EQ(numbers(tensor("w", pb::kFloat, {2}, pb::raw({reinterpret_cast<const char*>(values), 8}))),
            (std::vector<float>{1.5f, -2}));
}

TEST(OnnxTensor, FloatDataPackedAndNot) {
  const std::string list("\0\0\x80\x3f\0\0\0\xc0", 8);
  EXPECT_EQ(numbers(tensor("w", pb::kFloat, {2}, "", pb::bytes(4, list))), (std::vector<float>{1, -2}));
  EXPECT_EQ(numbers(tensor("w", pb::kFloat, {2}, "", pb::single(4, 1) + pb::single(4, -2))),
            (std::vector<float>{1, -2}));
  EXPECT_EQ(numbers(tensor("w", pb::kFloat, {3}, "", pb::bytes(4, list) + pb::single(4, 5))),
            (std::vector<float>{1, -2, 5}));
}

TEST(OnnxTensor, Int32DataOfSmallTypes) {
  constexpr auto kMinusOne = static_cast<uint64_t>(-1);
  EXPECT_EQ(numbers(tensor("w", pb::kInt8, {3}, "", pb::packed(5, {kMinusOne, 127, 255}))),
            (std::vector<float>{-1, 127, -1}));
  EXPECT_EQ(numbers(tensor("w", pb::kBool, {2}, "", pb::packed(5, {1, 0}))), (std::vector<float>{1, 0}));
  EXPECT_EQ(numbers(tensor("w", pb::kFloat16, {2}, "", pb::packed(5, {0x3c00, 0xc000}))), (std::vector<float>{1, -2}));
  EXPECT_EQ(numbers(tensor("w", pb::kBfloat16, {2}, "", pb::number(5, 0x3f80) + pb::number(5, 0xc000))),
            (std::vector<float>{1, -2}));
}

TEST(OnnxTensor, Int64Data) {
  const Tensor result =
      first(tensor("w", pb::kInt64, {3}, "", pb::packed(7, {5, static_cast<uint64_t>(-7), 1ull << 40})));
  EXPECT_EQ(result.dtype(), DType::kI64);
  EXPECT_EQ(std::vector<int64_t>(result.as<int64_t>().begin(), result.as<int64_t>().end()),
            (std::vector<int64_t>{5, -7, int64_t{1} << 40}));
}

TEST(OnnxTensor, Int4OddCount) {
  const std::string file = with_tensor(tensor("w", pb::kInt4, {5}, pb::raw("\x21\xf8\x07")));
  EXPECT_EQ(to_tensor(load(file).graph.initializers[0], "m").to_floats(), (std::vector<float>{1, 2, -8, -1, 7}));
  EXPECT_EQ(numbers(tensor("w", pb::kUint4, {3}, "", pb::packed(5, {0xf1, 0x02}))), (std::vector<float>{1, 15, 2}));
  ESP_EXPECT_USER_ERROR(load_tensor(tensor("w", pb::kInt4, {5}, pb::raw("\x21\xf8"))),
                        "tensor 'w': raw_data: expected 3 bytes for INT4 [5], found 2");
  ESP_EXPECT_USER_ERROR(load_tensor(tensor("w", pb::kUint4, {5}, "", pb::packed(5, {1, 2, 3, 4, 5}))),
                        "expected 3 numbers for UINT4 [5], found 5");
}

TEST(OnnxTensor, ScalarsAndEmptyTensors) {
  EXPECT_EQ(first(tensor("w", pb::kFloat, {}, pb::floats(1))).shape(), Shape{});
  EXPECT_EQ(first(tensor("w", pb::kFloat, {0, 3}, "")).count(), 0);
  EXPECT_EQ(first(tensor("w", pb::kFloat, {0}, pb::raw(""))).count(), 0);
}

TEST(OnnxTensor, FromATensorAndBack) {
  const Tensor weights = Tensor::from_floats({2, 1}, std::vector<float>{3, 4});
  const OnnxTensor made = onnx_tensor("w", weights);
  EXPECT_EQ(made.data_type, OnnxDataType::kFloat);
  EXPECT_EQ(to_tensor(made, "m").to_floats(), (std::vector<float>{3, 4}));
  for (DType dtype : {DType::kF16, DType::kBF16, DType::kI8, DType::kU8, DType::kI32, DType::kI64, DType::kF64,
                      DType::kBool, DType::kI16, DType::kU16, DType::kU32, DType::kU64, DType::kF8E4M3, DType::kF8E5M2})
    EXPECT_EQ(to_tensor(onnx_tensor("w", Tensor(dtype, {2})), "m").dtype(), dtype);
}

TEST(OnnxTensorHostile, NegativeDims) {
  ESP_EXPECT_USER_ERROR(load_tensor(tensor("w", pb::kFloat, {2, -1}, pb::floats(2))),
                        "m.onnx: graph 'g': tensor 'w': dims: expected sizes of at least 0, found [2, -1]");
}

TEST(OnnxTensorHostile, ProductOverflows) {
  constexpr int64_t kLarge = int64_t{1} << 32;
  ESP_EXPECT_USER_ERROR(load_tensor(tensor("w", pb::kFloat, {kLarge, kLarge}, pb::raw(""))),
                        "expected a product below 2^63");
  ESP_EXPECT_USER_ERROR(load_tensor(tensor("w", pb::kFloat, {kLarge, kLarge, 0}, pb::raw(""))),
                        "expected a product below 2^63");
  ESP_EXPECT_USER_ERROR(load_tensor(tensor("w", pb::kFloat, {INT64_MAX}, pb::raw(""))), "a size below 2^61 bytes");
}

TEST(OnnxTensorHostile, TooManyDims) {
  std::string dims;
  for (int i = 0; i < 33; ++i) dims += pb::number(1, 1);
  ESP_EXPECT_USER_ERROR(load_tensor(dims + tensor("w", pb::kFloat, {}, pb::floats(1))),
                        "at most 32 dimensions, found 33");
}

TEST(OnnxTensorHostile, RawDataOfAnotherLength) {
  ESP_EXPECT_USER_ERROR(load_tensor(tensor("w", pb::kFloat, {2}, pb::floats(3))),
                        "raw_data: expected 8 bytes for FLOAT [2], found 12");
  ESP_EXPECT_USER_ERROR(load_tensor(tensor("w", pb::kFloat, {2}, pb::raw("abcdefg"))), "found 7");
}

TEST(OnnxTensorHostile, BothRawAndTypedData) {
  ESP_EXPECT_USER_ERROR(load_tensor(tensor("w", pb::kFloat, {1}, pb::floats(1), pb::single(4, 1))),
                        "tensor 'w': data: expected one field with elements, found float_data and raw_data");
}

TEST(OnnxTensorHostile, NoData) {
  ESP_EXPECT_USER_ERROR(load_tensor(tensor("w", pb::kFloat, {2}, "")), "data: expected 2 elements, found none");
}

TEST(OnnxTensorHostile, TypedDataOfAnotherCountOrType) {
  ESP_EXPECT_USER_ERROR(load_tensor(tensor("w", pb::kFloat, {2}, "", pb::single(4, 1))),
                        "float_data: expected 2 numbers for FLOAT [2], found 1");
  ESP_EXPECT_USER_ERROR(load_tensor(tensor("w", pb::kFloat, {1}, "", pb::bytes(4, "abc"))),
                        "found a list that is cut off");
  ESP_EXPECT_USER_ERROR(load_tensor(tensor("w", pb::kInt64, {1}, "", pb::bytes(7, "\x80"))),
                        "found a list that is cut off");
  ESP_EXPECT_USER_ERROR(load_tensor(tensor("w", pb::kInt64, {1}, "", pb::bytes(7, std::string(10, '\xff') + "\x01"))),
                        "found a list that is cut off");
  ESP_EXPECT_USER_ERROR(load_tensor(tensor("w", pb::kInt64, {1}, "", pb::number(5, 1))),
                        "data: expected int64_data for INT64, found int32_data");
}

TEST(OnnxTensorHostile, NumbersThatTheTypeCannotHold) {
  ESP_EXPECT_USER_ERROR(first(tensor("w", pb::kUint8, {1}, "", pb::number(5, 256))),
                        "int32_data: expected numbers of 1 bytes, found 256");
  ESP_EXPECT_USER_ERROR(first(tensor("w", pb::kInt8, {1}, "", pb::number(5, -129))), "found -129");
}

TEST(OnnxTensorHostile, UnknownAndUndefinedTypes) {
  ESP_EXPECT_USER_ERROR(load_tensor(tensor("w", 0, {1}, pb::raw("a"))),
                        "data_type: expected 1 (FLOAT) to 28 (FLOAT6E3M2), found 0");
  ESP_EXPECT_USER_ERROR(load_tensor(tensor("w", 99, {1}, pb::raw("a"))), "found 99");
  ESP_EXPECT_USER_ERROR(load_tensor(pb::number(2, int64_t{1} << 40)), "field 2: expected a number of 32 bits");
}

TEST(OnnxTensorHostile, TypesWithoutATensor) {
  ESP_EXPECT_USER_ERROR(first(tensor("w", pb::kString, {1}, "", pb::bytes(6, "text"))),
                        "expected a type that espalier computes with, found STRING");
  ESP_EXPECT_USER_ERROR(first(tensor("w", 14, {1}, pb::floats(2))), "found COMPLEX64");
  ESP_EXPECT_USER_ERROR(load_tensor(tensor("w", pb::kString, {1}, pb::raw("text"))),
                        "expected string_data for STRING, found raw_data");
}

// A sparse initialiser with `count` float values and int64 indices.
std::string sparse(size_t count, std::initializer_list<int64_t> index_dims, std::initializer_list<uint64_t> indices,
                   pb::Dims dims) {
  std::string out = pb::bytes(1, tensor("s", pb::kFloat, {static_cast<int64_t>(count)}, pb::floats(count))) +
                    pb::bytes(2, tensor("", pb::kInt64, index_dims, "", pb::packed(7, indices)));
  for (int64_t size : dims) out += pb::number(3, size);
  return pb::model({{pb::node("Add", {"x", "s"}, {"y"})}, {}, {"x"}, {"y"}, pb::bytes(15, out)});
}

TEST(OnnxSparse, BecomesDense) {
  const std::string values("\0\0\x80\x3f\0\0\0\x40", 8);
  std::string message = pb::bytes(1, tensor("s", pb::kFloat, {2}, pb::raw(values)));
  const std::string linear = message + pb::bytes(2, tensor("", pb::kInt64, {2}, "", pb::packed(7, {1, 5}))) +
                             pb::number(3, 2) + pb::number(3, 3);
  const std::string pairs = message + pb::bytes(2, tensor("", pb::kInt64, {2, 2}, "", pb::packed(7, {0, 1, 1, 2}))) +
                            pb::number(3, 2) + pb::number(3, 3);
  for (const std::string& form : {linear, pairs}) {
    const std::string file = pb::model({{pb::node("Add", {"x", "s"}, {"y"})}, {}, {"x"}, {"y"}, pb::bytes(15, form)});
    const Tensor dense = to_tensor(load(file).graph.sparse_initializers.at(0), "m");
    EXPECT_EQ(dense.shape(), (Shape{2, 3}));
    EXPECT_EQ(dense.to_floats(), (std::vector<float>{0, 1, 0, 0, 0, 2}));
  }
}

TEST(OnnxSparseHostile, IndicesOutOfRange) {
  ESP_EXPECT_USER_ERROR(load(sparse(1, {1}, {6}, {2, 3})),
                        "sparse tensor 's': indices: expected 0 to 5 on axis 0, found 6");
  ESP_EXPECT_USER_ERROR(load(sparse(1, {1}, {static_cast<uint64_t>(-1)}, {2, 3})), "found -1");
  ESP_EXPECT_USER_ERROR(load(sparse(1, {1, 2}, {0, 3}, {2, 3})), "expected 0 to 2 on axis 1, found 3");
}

TEST(OnnxSparseHostile, IndicesUnsortedOrTwice) {
  ESP_EXPECT_USER_ERROR(load(sparse(2, {2}, {5, 1}, {2, 3})), "indices: expected ascending ones");
  ESP_EXPECT_USER_ERROR(load(sparse(2, {2}, {1, 1}, {2, 3})), "indices: expected ascending ones");
  ESP_EXPECT_USER_ERROR(load(sparse(2, {2, 2}, {1, 0, 0, 2}, {2, 3})), "indices: expected ascending ones");
}

TEST(OnnxSparseHostile, ShapesThatDoNotFit) {
  ESP_EXPECT_USER_ERROR(load(sparse(2, {1}, {1}, {2, 3})), "indices.dims: expected [2] or [2, 2], found [1]");
  ESP_EXPECT_USER_ERROR(load(sparse(1, {1}, {1}, {})), "dims: expected at least one dimension, found none");
}

TEST(OnnxSparseHostile, DenseFormThatWouldFillTheMemory) {
  const std::string file = sparse(1, {1}, {1}, {int64_t{1} << 50});
  const OnnxModel model = load(file);
  ESP_EXPECT_USER_ERROR(to_tensor(model.graph.sparse_initializers.at(0), "m"), "at most 4294967296 bytes once dense");
}

}  // namespace
}  // namespace espalier
