#include "espalier/core/json.h"

#include <gtest/gtest.h>

#include <chrono>
#include <fstream>

#include "tests/support.h"

namespace espalier {
namespace {

TEST(Json, ReadsEveryKindOfValueInOrder) {
  const Json json = parse_json(R"( {"z": [1, -2, 2.5, true, null, "ä\u00e9\n"], "a": {"b": {}}, "c": []} )", "test");
  EXPECT_EQ(json.dump(), R"({"z":[1,-2,2.5,true,null,"äé\n"],"a":{"b":{}},"c":[]})");
  EXPECT_TRUE(json["z"][0].is_number_unsigned());
  EXPECT_EQ(parse_json("7", "test"), Json(7));
  EXPECT_EQ(parse_json("\"x\"", "test"), Json("x"));
}

// Against the library's own builder, which has another way to build.
TEST(Json, AgreesWithTheLibrarysOwnParser) {
  const std::string text =
      R"([{"k":[{"a":1,"b":[[],[{}],{"c":-0.0}]},18446744073709551615,-9223372036854775808,1e300]},"\ud83d\ude00"])";
  EXPECT_EQ(parse_json(text, "test"), Json::parse(text));
}

TEST(Json, RefusesWhatIsNotJson) {
  for (const char* text :
       {"", " ", "{", "[1,]", "{\"a\":}", "nul", "[1] 2", "{\"a\" 1}", "01", "\"\\x\"", "NaN", "1e999"})
    ESP_EXPECT_USER_ERROR(parse_json(text, "f.json"), "f.json: not valid JSON at byte");
}

TEST(Json, ANulDoesNotEndTheText) {
  ESP_EXPECT_USER_ERROR(parse_json(std::string_view("{}\0{", 4), "f.json"), "f.json: not valid JSON at byte 2");
}

TEST(Json, RefusesInvalidUtf8) {
  for (const char* text : {"\"\xff\"", "\"\xc0\xaf\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xc3"})
    ESP_EXPECT_USER_ERROR(parse_json(text, "f.json"), "not valid UTF-8");
  EXPECT_TRUE(is_valid_utf8("\xf4\x8f\xbf\xbf\xee\x80\x80\xed\x9f\xbf"));
  EXPECT_FALSE(is_valid_utf8("\xe0\x9f\xbf"));
  EXPECT_FALSE(is_valid_utf8("\xf0\x8f\xbf\xbf"));
  EXPECT_FALSE(is_valid_utf8("\x80"));
}

TEST(Json, RefusesDeepNestingWithoutRecursion) {
  EXPECT_NO_THROW(parse_json(std::string(64, '[') + std::string(64, ']'), "test"));
  ESP_EXPECT_USER_ERROR(parse_json(std::string(65, '[') + std::string(65, ']'), "test"), "nested deeper than 64");
  ESP_EXPECT_USER_ERROR(parse_json(std::string(100'000, '['), "test"), "nested deeper than 64");
}

TEST(Json, RefusesAKeyTwiceInSmallAndLargeObjects) {
  ESP_EXPECT_USER_ERROR(parse_json(R"({"a":1,"b":2,"a":3})", "test"), "'a' stands twice");
  EXPECT_NO_THROW(parse_json(R"([{"a":1},{"a":2},{"b":{"a":1},"a":2}])", "test"));
  std::string members = "{\"k0\":0";
  for (int i = 1; i < 40; ++i) members += fmt::format(",\"k{}\":{}", i, i);
  EXPECT_EQ(parse_json(members + "}", "test").size(), 40u);
  for (const char* twice : {"k0", "k15", "k16", "k39"})
    ESP_EXPECT_USER_ERROR(parse_json(members + fmt::format(",\"{}\":1}}", twice), "test"), "stands twice");
}

// A vocabulary of this size takes a quadratic builder most of a minute.
TEST(Json, ALargeObjectTakesLinearTime) {
  std::string text = "{\"\":0";
  for (int i = 0; i < 200'000; ++i) text += fmt::format(",\"token{:06}\":{}", i, i);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(parse_json(text + "}", "test").size(), 200'001u);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST(Json, TypedFieldsNameFileKeyAndWhatStandsThere) {
  const Json json =
      parse_json(R"({"i":4,"big":9223372036854775808,"f":1.5,"s":"x","n":null,"b":true,"neg":-1})", "test");
  EXPECT_EQ(json_int(json, "i", "c.json", 0, 10), 4);
  EXPECT_EQ(json_int(json, "neg", "c.json", -1, 10), -1);
  EXPECT_EQ(json_int_or(json, "n", "c.json", 0, 10, 7), 7);
  EXPECT_EQ(json_int_or(json, "absent", "c.json", 0, 10, 8), 8);
  ESP_EXPECT_USER_ERROR(json_int(json, "i", "c.json", 5, 10), "c.json: i: expected an integer from 5 to 10, found 4");
  ESP_EXPECT_USER_ERROR(json_int(json, "big", "c.json", 0, INT64_MAX), "9223372036854775808");
  ESP_EXPECT_USER_ERROR(json_int(json, "f", "c.json", 0, 10), "found 1.5");
  ESP_EXPECT_USER_ERROR(json_int(json, "s", "c.json", 0, 10), "found \"x\"");
  ESP_EXPECT_USER_ERROR(json_int(json, "absent", "c.json", 0, 10), "'absent' is missing");
  EXPECT_EQ(json_number_or(json, "f", "c.json", 0), 1.5);
  EXPECT_EQ(json_number_or(json, "absent", "c.json", 2), 2);
  ESP_EXPECT_USER_ERROR(json_number_or(json, "s", "c.json", 0), "a finite number");
  EXPECT_TRUE(json_bool_or(json, "b", "c.json", false));
  ESP_EXPECT_USER_ERROR(json_bool_or(json, "i", "c.json", false), "true or false");
  EXPECT_EQ(json_string(json, "s", "c.json"), "x");
  EXPECT_EQ(json_string_or(json, "n", "c.json", "y"), "y");
  ESP_EXPECT_USER_ERROR(json_string(json, "b", "c.json"), "a string");
}

TEST(Json, ReadsFilesUpToABound) {
  test::TempDir dir;
  std::ofstream(dir / "a.json") << "{\"a\": 1}";
  EXPECT_EQ(read_json(dir / "a.json")["a"], 1);
  ESP_EXPECT_USER_ERROR(read_json(dir / "a.json", 4), "more than the 4");
  ESP_EXPECT_USER_ERROR(read_json(dir / "b.json"), "cannot open");
}

TEST(Json, DescriptionsAreShortAndOneLine) {
  EXPECT_EQ(describe(Json("a\nb")), "\"a\\nb\"");
  EXPECT_LE(describe(Json(std::string(1000, 'x'))).size(), 64u);
}

}  // namespace
}  // namespace espalier
