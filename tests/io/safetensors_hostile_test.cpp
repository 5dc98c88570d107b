// One named test for each malformed file that the reader must survive.
#include <gtest/gtest.h>

#include <chrono>

#include "tests/io/safetensors_bytes.h"
#include "tests/support.h"

namespace espalier {
namespace {

using test::parse;
using test::parse_entry;
using test::safetensors_bytes;
using test::with_length;

constexpr char kEntry[] = R"({"dtype":"U8","shape":[0],"data_offsets":[0,0]})";

SafetensorsHeader parse_named(const std::string& json_name) {
  return parse(safetensors_bytes("{\"" + json_name + "\":" + kEntry + "}"));
}

TEST(SafetensorsHostile, FileShorterThanEightBytes) {
  ESP_EXPECT_USER_ERROR(parse(""), "w.safetensors: safetensors file: expected at least 8 bytes, found 0");
  ESP_EXPECT_USER_ERROR(parse("1234567"), "at least 8 bytes, found 7");
}

TEST(SafetensorsHostile, HeaderLengthZero) { ESP_EXPECT_USER_ERROR(parse(with_length(0, "{}")), "starts with '{'"); }

TEST(SafetensorsHostile, HeaderLengthAbove100MB) {
  ESP_EXPECT_USER_ERROR(parse(with_length(100'000'001, "{}")), "expected at most 100000000, found 100000001");
}

TEST(SafetensorsHostile, HeaderLengthAboveFileSize) {
  ESP_EXPECT_USER_ERROR(parse(with_length(3, "{}")), "at most the 2 bytes that follow it, found 3");
}

TEST(SafetensorsHostile, HeaderLengthOfAllOnes) {
  ESP_EXPECT_USER_ERROR(parse(with_length(UINT64_MAX, "{}")), "found 18446744073709551615");
  ESP_EXPECT_USER_ERROR(parse(with_length(UINT64_MAX - 7, "{}")), "header length");
}

TEST(SafetensorsHostile, HeaderNotUtf8) {
  ESP_EXPECT_USER_ERROR(parse_named("\xff\xfe"), "not valid UTF-8");
  ESP_EXPECT_USER_ERROR(parse_named("\xc0\xaf"), "not valid UTF-8");
}

TEST(SafetensorsHostile, HeaderNotJson) {
  ESP_EXPECT_USER_ERROR(parse(safetensors_bytes("{oops}")), "not valid JSON at its byte");
  ESP_EXPECT_USER_ERROR(parse(safetensors_bytes("{} {}")), "not valid JSON at its byte");
  ESP_EXPECT_USER_ERROR(parse(safetensors_bytes(std::string("{}\0", 3))), "not valid JSON at its byte");
}

TEST(SafetensorsHostile, ArrayOnTop) { ESP_EXPECT_USER_ERROR(parse(safetensors_bytes("[1]")), "starts with '{'"); }

TEST(SafetensorsHostile, DoesNotStartWithBrace) {
  ESP_EXPECT_USER_ERROR(parse(safetensors_bytes(" {}")), "starts with '{'");
}

TEST(SafetensorsHostile, NestingOf100000Levels) {
  const std::string open(100'000, '['), close(100'000, ']');
  ESP_EXPECT_USER_ERROR(parse_entry(open + close, 0), "expected an object");
  ESP_EXPECT_USER_ERROR(parse_entry(R"({"dtype":"U8","data_offsets":[0,0],"shape":)" + open + close + "}", 0),
                        "found an array");
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  ESP_EXPECT_USER_ERROR(parse(safetensors_bytes(objects)), "found 'a'");
}

std::string header_of(int tensors) {
  std::string header = "{";
  for (int i = 0; i < tensors; ++i) header += fmt::format("{}\"t{}\":{}", i ? "," : "", i, kEntry);
  return header + "}";
}

TEST(SafetensorsHostile, ManyTensorsTakeLinearTime) {
  const std::string file = safetensors_bytes(header_of(300'000));
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(parse(file).tensors.size(), 300'000u);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

TEST(SafetensorsHostile, MoreThanAMillionTensorsAreRefused) {
  ESP_EXPECT_USER_ERROR(parse(safetensors_bytes(header_of(1'000'001))), "more than 1000000 tensors");
}

TEST(SafetensorsHostile, DuplicateNames) {
  ESP_EXPECT_USER_ERROR(parse(safetensors_bytes(fmt::format(R"({{"a":{0},"b":{0},"a":{0}}})", kEntry))),
                        "two tensors are named 'a'");
  ESP_EXPECT_USER_ERROR(parse(safetensors_bytes(R"({"__metadata__":{},"__metadata__":{}})")),
                        "__metadata__ stands twice");
  ESP_EXPECT_USER_ERROR(parse(safetensors_bytes(R"({"__metadata__":{"k":"1","k":"2"}})")), "'k' stands twice");
  ESP_EXPECT_USER_ERROR(parse_entry(R"({"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]})", 0),
                        "dtype stands twice");
}

TEST(SafetensorsHostile, EmptyName) { ESP_EXPECT_USER_ERROR(parse_named(""), "is empty"); }

TEST(SafetensorsHostile, NameWithNul) {
  ESP_EXPECT_USER_ERROR(parse_named("a\\u0000b"), "'a\\x00b' contains a control character");
  ESP_EXPECT_USER_ERROR(parse_named("a\\nb"), "control character");
}

TEST(SafetensorsHostile, NameThatClimbsDirectories) {
  for (const char* name : {"a/../b", "../a", "a/..", "..", "a\\\\..\\\\b"})
    ESP_EXPECT_USER_ERROR(parse_named(name), "path component '..'");
  EXPECT_NO_THROW(parse_named("encoder/layer..0/kernel:0"));
}

TEST(SafetensorsHostile, NameOf1MB) {
  ESP_EXPECT_USER_ERROR(parse_named(std::string(1 << 20, 'n')), "has 1048576 bytes, more than 1024");
  EXPECT_NO_THROW(parse_named(std::string(1024, 'n')));
}

TEST(SafetensorsHostile, NamesEqualAfterUnicodeNormalisation) {
  const char* composed = "caf\xc3\xa9";     // é
  const char* decomposed = "cafe\xcc\x81";  // e and a combining accent
  ESP_EXPECT_USER_ERROR(
      parse(safetensors_bytes(fmt::format(R"({{"{}":{},"{}":{}}})", composed, kEntry, decomposed, kEntry))),
      "equals another one after Unicode normalisation");
  EXPECT_EQ(parse(safetensors_bytes(fmt::format(R"({{"{}":{},"cafe":{}}})", composed, kEntry, kEntry))).tensors.size(),
            2u);
}

TEST(SafetensorsHostile, UnknownDtype) {
  ESP_EXPECT_USER_ERROR(parse_entry(R"({"dtype":"F128","shape":[0],"data_offsets":[0,0]})", 0), "tensor 'a': dtype");
  ESP_EXPECT_USER_ERROR(parse_entry(R"({"dtype":"f32","shape":[0],"data_offsets":[0,0]})", 0), "found 'f32'");
  ESP_EXPECT_USER_ERROR(parse_entry(R"({"dtype":5,"shape":[0],"data_offsets":[0,0]})", 0),
                        "expected a string, found 5");
}

TEST(SafetensorsHostile, SubByteDtypeWithOddCount) {
  for (const char* dtype : {"F4", "F6_E2M3", "F6_E3M2", "U4"})
    ESP_EXPECT_USER_ERROR(parse_entry(fmt::format(R"({{"dtype":"{}","shape":[3],"data_offsets":[0,2]}})", dtype), 2),
                          fmt::format("found '{}'", dtype));
}

TEST(SafetensorsHostile, NegativeShape) {
  ESP_EXPECT_USER_ERROR(parse_entry(R"({"dtype":"U8","shape":[-1],"data_offsets":[0,0]})", 0),
                        "shape: expected integers");
}

TEST(SafetensorsHostile, FloatShape) {
  ESP_EXPECT_USER_ERROR(parse_entry(R"({"dtype":"U8","shape":[1.0],"data_offsets":[0,1]})", 1), "found 1.0");
  ESP_EXPECT_USER_ERROR(parse_entry(R"({"dtype":"U8","shape":[1e0],"data_offsets":[0,1]})", 1), "found 1e0");
  ESP_EXPECT_USER_ERROR(parse_entry(R"({"dtype":"U8","shape":["1"],"data_offsets":[0,1]})", 1), "found '1'");
  ESP_EXPECT_USER_ERROR(parse_entry(R"({"dtype":"U8","shape":1,"data_offsets":[0,1]})", 1),
                        "an array of integers, found 1");
}

TEST(SafetensorsHostile, ShapeOf2To63) {
  ESP_EXPECT_USER_ERROR(parse_entry(R"({"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,0]})", 0),
                        "found 9223372036854775808");
  ESP_EXPECT_USER_ERROR(parse_entry(R"({"dtype":"U8","shape":[99999999999999999999],"data_offsets":[0,0]})", 0),
                        "shape");
}

TEST(SafetensorsHostile, ShapeProductThatWrapsToASmallNumber) {
  // 2^32 * 2^32 = 2^64, which wraps to 0; (2^63 + 1) * 2 to 2.
  ESP_EXPECT_USER_ERROR(parse_entry(R"({"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]})", 0),
                        "below 2^63");
  ESP_EXPECT_USER_ERROR(parse_entry(R"({"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]})", 0),
                        "below 2^63");
}

TEST(SafetensorsHostile, TooManyAxes) {
  std::string ones = "1";
  for (int i = 0; i < 32; ++i) ones += ",1";
  ESP_EXPECT_USER_ERROR(parse_entry(R"({"dtype":"U8","shape":[)" + ones + R"(],"data_offsets":[0,1]})", 1),
                        "at most 32 axes");
}

TEST(SafetensorsHostile, ShapeTimesDtypeIsNotTheRange) {
  ESP_EXPECT_USER_ERROR(parse_entry(R"({"dtype":"F32","shape":[3],"data_offsets":[0,8]})", 8),
                        "expected 12 bytes for F32 [3], found 8 bytes");
}

TEST(SafetensorsHostile, BeginAfterEnd) {
  ESP_EXPECT_USER_ERROR(parse_entry(R"({"dtype":"U8","shape":[4],"data_offsets":[4,0]})", 4),
                        "expected begin <= end, found [4, 0]");
}

SafetensorsHeader parse_two(int begin_b, int end_b, size_t data_bytes) {
  return parse(safetensors_bytes(fmt::format(R"({{"a":{{"dtype":"U8","shape":[4],"data_offsets":[0,4]}},)"
                                             R"("b":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}}}})",
                                             end_b - begin_b, begin_b, end_b),
                                 std::string(data_bytes, '\0')));
}

TEST(SafetensorsHostile, Overlap) {
  EXPECT_NO_THROW(parse_two(4, 8, 8));
  ESP_EXPECT_USER_ERROR(parse_two(3, 7, 7),
                        "tensor 'b': data_offsets overlap another tensor: expected begin 4, found 3");
  ESP_EXPECT_USER_ERROR(parse_two(0, 4, 4), "overlap");
}

TEST(SafetensorsHostile, Hole) {
  ESP_EXPECT_USER_ERROR(parse_two(5, 9, 9), "tensor 'b': data_offsets leave a hole: expected begin 4, found 5");
  ESP_EXPECT_USER_ERROR(parse_entry(R"({"dtype":"U8","shape":[4],"data_offsets":[1,5]})", 5), "leave a hole");
}

TEST(SafetensorsHostile, DataPartTooShort) {
  ESP_EXPECT_USER_ERROR(parse_two(4, 8, 7), "incomplete download?): expected 8 bytes, found 7");
}

TEST(SafetensorsHostile, DataPartTooLong) {
  ESP_EXPECT_USER_ERROR(parse_two(4, 8, 9), "bytes follow the last tensor: expected 8 bytes of data, found 9");
}

TEST(SafetensorsHostile, OffsetsAsFloatsOrStrings) {
  ESP_EXPECT_USER_ERROR(parse_entry(R"({"dtype":"U8","shape":[1],"data_offsets":[0.0,1]})", 1),
                        "data_offsets: expected integers");
  ESP_EXPECT_USER_ERROR(parse_entry(R"({"dtype":"U8","shape":[1],"data_offsets":["0","1"]})", 1), "found '0'");
  ESP_EXPECT_USER_ERROR(parse_entry(R"({"dtype":"U8","shape":[1],"data_offsets":[-1,0]})", 1), "found -1");
  ESP_EXPECT_USER_ERROR(parse_entry(R"({"dtype":"U8","shape":[1],"data_offsets":[0,18446744073709551615]})", 1),
                        "data_offsets");
  ESP_EXPECT_USER_ERROR(parse_entry(R"({"dtype":"U8","shape":[1],"data_offsets":{"0":1}})", 1), "found an object");
}

TEST(SafetensorsHostile, OneOffsetOrThree) {
  ESP_EXPECT_USER_ERROR(parse_entry(R"({"dtype":"U8","shape":[1],"data_offsets":[1]})", 1),
                        "expected two integers, found 1");
  ESP_EXPECT_USER_ERROR(parse_entry(R"({"dtype":"U8","shape":[1],"data_offsets":[0,1,1]})", 1),
                        "expected two integers, found more");
}

TEST(SafetensorsHostile, MetadataWithNumbers) {
  ESP_EXPECT_USER_ERROR(parse(safetensors_bytes(R"({"__metadata__":{"step":3}})")),
                        "__metadata__: step: expected a string, found 3");
  ESP_EXPECT_USER_ERROR(parse(safetensors_bytes(R"({"__metadata__":{"a":{}}})")), "found an object");
  ESP_EXPECT_USER_ERROR(parse(safetensors_bytes(R"({"__metadata__":"x"})")), "expected an object, found 'x'");
  ESP_EXPECT_USER_ERROR(parse(safetensors_bytes(R"({"__metadata__":{"a":null}})")), "found null");
}

TEST(SafetensorsHostile, MissingAndUnknownFields) {
  ESP_EXPECT_USER_ERROR(parse_entry(R"({"shape":[0],"data_offsets":[0,0]})", 0), "is missing");
  ESP_EXPECT_USER_ERROR(parse_entry(R"({"dtype":"U8","data_offsets":[0,0]})", 0), "is missing");
  ESP_EXPECT_USER_ERROR(parse_entry(R"({"dtype":"U8","shape":[0]})", 0), "is missing");
  ESP_EXPECT_USER_ERROR(parse_entry("{}", 0), "is missing");
  ESP_EXPECT_USER_ERROR(parse_entry(R"({"dtype":"U8","shape":[0],"data_offsets":[0,0],"code":"x"})", 0),
                        "found 'code'");
  ESP_EXPECT_USER_ERROR(parse_entry("true", 0), "found true");
  ESP_EXPECT_USER_ERROR(parse_entry("null", 0), "found null");
}

TEST(SafetensorsHostile, EveryTruncationOfAGoodFileIsRefused) {
  const std::string good = safetensors_bytes(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", "12345678");
  EXPECT_NO_THROW(parse(good));
  for (size_t size = 0; size < good.size(); ++size) EXPECT_THROW(parse(good.substr(0, size)), UserError) << size;
}

}  // namespace
}  // namespace espalier
