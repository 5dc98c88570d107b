#include "espalier/core/json_difference.h"

#include <gtest/gtest.h>

namespace espalier {
namespace {

std::string key_of(const char* left, const char* right) {
  const auto difference = first_difference(Json::parse(left), Json::parse(right));
  return difference ? difference->key : "(equal)";
}

constexpr const char* kBase = R"({"x":1,"r":{"s":[{"p":0.5},{"p":0.7}]}})";

TEST(FirstDifference, NamesThePath) {
  EXPECT_EQ(key_of(kBase, kBase), "(equal)");
  EXPECT_EQ(key_of(kBase, R"({"x":1,"r":{"s":[{"p":0.5},{"p":0.8}]}})"), "r.s[1].p");
  EXPECT_EQ(key_of(kBase, R"({"x":1,"r":{"s":[{"p":0.5}]}})"), "r.s");
  EXPECT_EQ(key_of(kBase, R"({"x":1,"r":{"s":[{"p":0.5},{"p":0.7}]},"y":2})"), "y");
  EXPECT_EQ(key_of(kBase, R"({"r":{"s":[{"p":0.5},{"p":0.7}]}})"), "x");
  EXPECT_EQ(key_of("1", "2"), "");
}

TEST(FirstDifference, OrderOfKeysMeansNothing) {
  EXPECT_EQ(key_of(kBase, R"({"r":{"s":[{"p":0.5},{"p":0.7}]},"x":1})"), "(equal)");
  EXPECT_EQ(key_of(R"({"a":{"b":1,"c":2},"d":1})", R"({"a":{"c":2,"b":1},"d":2})"), "d");
}

TEST(FirstDifference, CarriesBothValues) {
  const auto difference = first_difference(Json::parse(R"({"a":[1,2]})"), Json::parse(R"({"a":[1,3]})"));
  ASSERT_TRUE(difference);
  EXPECT_EQ(difference->left, Json(2));
  EXPECT_EQ(difference->right, Json(3));
}

}  // namespace
}  // namespace espalier
