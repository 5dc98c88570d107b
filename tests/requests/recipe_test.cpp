#include "espalier/requests/recipe.h"

#include <fstream>

#include "espalier/core/file.h"
#include "tests/support.h"

namespace espalier {
namespace {

class Recipe : public ::testing::Test {
 protected:
  PruneRequest read(const std::string& text) {
    write_file_atomically(path_, text);
    return read_recipe(path_);
  }
  test::TempDir dir_;
  std::filesystem::path path_ = dir_ / "r.yaml";
};

constexpr const char* kFull = R"(model: "my model"
calib: {data: prose.txt, samples: 16, length: 256}
eval: test.txt
protect: [lm_head, 'model.layers.0.*']
align: 16
uniform: true
pack: bitmap
seed: 3
threads: 2
device: cpu
dtype: bf16
steps:
  - {method: finercut, sparsity: 0.2, of: layers}
  - method: "03"
    sparsity: 5e-1
    pattern: 2:4
    repair: lora
    set: {group: row, repair.rank: 8, note: 'yes: "quoted" # no comment'}
)";

void expect_full(const PruneRequest& request) {
  EXPECT_EQ(request.model, "my model");
  EXPECT_EQ(request.calib.data, "prose.txt");
  EXPECT_EQ(request.calib.samples, 16);
  EXPECT_EQ(request.calib.length, 256);
  EXPECT_EQ(request.eval_data, "test.txt");
  EXPECT_EQ(request.protect, (std::vector<std::string>{"lm_head", "model.layers.0.*"}));
  EXPECT_EQ(request.align, 16);
  EXPECT_TRUE(request.uniform);
  EXPECT_EQ(request.pack, "bitmap");
  EXPECT_EQ(request.common.seed, 3u);
  EXPECT_EQ(request.common.threads, 2);
  EXPECT_EQ(request.common.dtype, "bf16");
  ASSERT_EQ(request.steps.size(), 2u);
  EXPECT_EQ(request.steps[0].of, "layers");
  EXPECT_EQ(request.steps[0].repair, "none");
  EXPECT_EQ(request.steps[1].method, "03");
  EXPECT_EQ(request.steps[1].sparsity, 0.5);
  EXPECT_EQ(request.steps[1].pattern, "2:4");
  EXPECT_EQ(request.steps[1].options,
            (MethodOptions{{"group", "row"}, {"repair.rank", "8"}, {"note", "yes: \"quoted\" # no comment"}}));
}

TEST_F(Recipe, ReadsEveryKey) { expect_full(read(kFull)); }

TEST_F(Recipe, WhatIsWrittenReadsBack) { expect_full(read(to_yaml(recipe_of(read(kFull))))); }

TEST_F(Recipe, DefaultsAreWrittenOut) {
  const auto text = to_yaml(recipe_of(read("steps: [{method: wanda}]")));
  for (const char* line : {"align: 8\n", "seed: 0\n", "  samples: 128\n", "    repair: none\n", "pack: none\n"})
    EXPECT_NE(text.find(line), std::string::npos) << text;
}

TEST_F(Recipe, UnknownKeysNameTheNearest) {
  ESP_EXPECT_USER_ERROR(read("modle: x\nsteps: [{method: a}]"), "unknown key 'modle' (did you mean 'model'?)");
  ESP_EXPECT_USER_ERROR(read("steps: [{method: a, sparsty: 0.1}]"),
                        "steps[0]: unknown key 'sparsty' (did you mean 'sparsity'?)");
  ESP_EXPECT_USER_ERROR(read("steps: [{method: a}]\ncalib: {sample: 3}"), "calib: unknown key 'sample'");
}

TEST_F(Recipe, ValuesAreChecked) {
  for (const char* share : {"1", "1.0", "-0.1", ".nan", "half", "[0.5]"})
    ESP_EXPECT_USER_ERROR(read(fmt::format("steps: [{{method: a, sparsity: {}}}]", share)),
                          "sparsity: expected a number in [0, 1)");
  ESP_EXPECT_USER_ERROR(read("steps: [{method: a}]\nseed: -1"), "seed: expected an integer");
  ESP_EXPECT_USER_ERROR(read("steps: [{method: a}]\nalign: 0"), "align: expected an integer from 1 to 4096");
  ESP_EXPECT_USER_ERROR(read("steps: [{method: a}]\nuniform: maybe"), "uniform: expected one of true, false");
  ESP_EXPECT_USER_ERROR(read("steps: [{method: a, of: parms}]"), "did you mean 'params'?");
  ESP_EXPECT_USER_ERROR(read("steps: [{method: a, set: {b: [1]}}]"), "set.b: expected one value");
  ESP_EXPECT_USER_ERROR(read("steps: [{sparsity: 0.5}]"), "steps[0]: method: missing");
  ESP_EXPECT_USER_ERROR(read("steps: []"), "steps: expected a list of at least one step");
  ESP_EXPECT_USER_ERROR(read("model: x"), "steps: expected");
}

TEST_F(Recipe, HostileYamlIsAnErrorInOneLine) {
  ESP_EXPECT_USER_ERROR(read("a: [1"), "not YAML");
  ESP_EXPECT_USER_ERROR(read(""), "expected a map");
  ESP_EXPECT_USER_ERROR(read("- 1"), "expected a map");
  ESP_EXPECT_USER_ERROR(read("model: x\nmodel: y\nsteps: [{method: a}]"), ":2: the key 'model' stands twice");
  ESP_EXPECT_USER_ERROR(read("\xff"), "not valid UTF-8");
  ESP_EXPECT_USER_ERROR(read(std::string(100000, '[')), "r.yaml");
  ESP_EXPECT_USER_ERROR(read("? [a]\n: b"), "a key must be one word");
  std::string bomb = "a0: &a0 [x]\n";  // each list names the one before ten times
  for (int i = 1; i < 12; ++i) {
    bomb += fmt::format("a{}: &a{} [", i, i);
    for (int j = 0; j < 10; ++j) bomb += fmt::format("{}*a{}", j ? ", " : "", i - 1);
    bomb += "]\n";
  }
  ESP_EXPECT_USER_ERROR(read(bomb), "too large");
}

TEST_F(Recipe, SyntheticTextSurvivesTheRoundTrip) {
  const Json value = {{"plain", "word"},
                      {"yes", "no"},
                      {"number", "12"},
                      {"empty", ""},
                      {"line", "a\nb\t\"c\" \\"},
                      {"utf8", "Größe"},
                      {"list", {"a", "- b", "#c", "~"}},
                      {"nested", {{"deep", {{"er", "x: y"}}}}}};
  write_file_atomically(path_, to_yaml(value));
  EXPECT_EQ(read_yaml(path_), value) << to_yaml(value);
}

}  // namespace
}  // namespace espalier
