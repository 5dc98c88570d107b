// Classifiers of pictures as a user measures and repairs them, on a small network with fresh weights.
#include <gtest/gtest.h>

#include <fstream>

#include "espalier/core/json.h"
#include "tests/cli/run_program.h"

namespace espalier::test {
namespace {

struct PictureFiles {
  TempDir dir;
  std::string model = (dir / "model").string(), data = (dir / "pictures.bin").string();

  PictureFiles() {
    const std::string fresh = (dir / "fresh").string();
    std::filesystem::create_directories(fresh);
    std::ofstream(fresh + "/config.json")
        << R"({"model_type": "resnet-cifar", "layers": [1, 1, 1], "widths": [8, 8, 16]})";
    EXPECT_EQ(espalier({"convert", fresh, "--to", "hf", "-o", model}).exit_code, 0);
    std::ofstream pictures(data, std::ios::binary);
    for (int i = 0; i < 40; ++i) {
      pictures.put(static_cast<char>(i % 10));
      for (int p = 0; p < 3072; ++p) pictures.put(static_cast<char>(i * 7919 + p * (i % 10 + 3)));
    }
  }
};

TEST(Pictures, EvalReportsAccuracyAndDifferences) {
  const PictureFiles files;
  const Json result = json_of(
      espalier({"eval", files.model, "--data", files.data, "--limit", "20", "--against", files.model, "--json"}));
  EXPECT_EQ(result.at("metric"), "accuracy");
  EXPECT_EQ(result.at("images"), 20);
  const double value = result.at("value");
  EXPECT_EQ(value, result.at("against").at("accuracy"));
  EXPECT_LE(result.at("ci95").at(0).get<double>(), value);
  EXPECT_GE(result.at("ci95").at(1).get<double>(), value);
  EXPECT_GE(result.at("top5").get<double>(), value);
  EXPECT_EQ(result.at("macro").at("recall"), value);  // the classes are balanced
  EXPECT_EQ(result.at("against").at("kl"), 0);
  EXPECT_EQ(result.at("against").at("top1_agreement"), 1);
  EXPECT_EQ(result.at("data").at("sha256").get<std::string>().size(), 64u);
  const ProgramEnd text = espalier({"eval", files.model, "--data", files.data, "--limit", "20"});
  EXPECT_NE(text.out.find("over 20 images, top-5 "), std::string::npos) << text.out;
  EXPECT_NE(text.out.find("specificity"), std::string::npos) << text.out;
}

TEST(Pictures, MistakesAreNamed) {
  const PictureFiles files;
  ESP_EXPECT_MISTAKE(espalier({"eval", files.model}), "--data: missing: on which pictures");
  ESP_EXPECT_MISTAKE(espalier({"eval", files.model, "--data", files.data, "--metric", "ppl"}),
                     "metric of a classifier of pictures: expected accuracy or kl, found ppl");
  ESP_EXPECT_MISTAKE(espalier({"eval", files.model, "--data", files.data, "--length", "8"}),
                     "--length and --stride are for language models");
  ESP_EXPECT_MISTAKE(espalier({"eval", files.model, "--data", "evaluation.txt"}),
                     "labelled pictures: expected CIFAR .bin files");
  ESP_EXPECT_MISTAKE(espalier({"eval", "espalier-tiny", "--data", files.data}), "holds pictures, and ");
  ESP_EXPECT_MISTAKE(espalier({"eval", files.model, "--data", files.data, "--against", "espalier-tiny"}),
                     "--against: model: expected a classifier of pictures");
}

TEST(Pictures, RepairsFollowAMethod) {
  const PictureFiles files;
  for (const char* repair : {"bn", "finetune", "distill"}) {
    const std::string out = (files.dir / repair).string();
    std::vector<std::string> command = {"prune",   files.model, "--method", "spa",  "--sparsity", "0.3", "--align", "1",
                                        "--calib", files.data,  "--repair", repair, "-o",         out,   "--json"};
    if (std::string(repair) != "bn") command.insert(command.end(), {"--set", "repair.steps=3"});
    const Json result = json_of(espalier(command));
    EXPECT_LT(result.at("after").at("params").get<int64_t>(), result.at("before").at("params").get<int64_t>())
        << repair;
    json_of(espalier({"eval", out, "--data", files.data, "--json"}));
  }
  const std::string out = (files.dir / "none").string();
  ESP_EXPECT_MISTAKE(espalier({"prune", files.model, "--method", "spa", "--sparsity", "0.3", "--align", "1", "--repair",
                               "bn", "-o", out}),
                     "--repair bn needs pictures");
  ESP_EXPECT_MISTAKE(espalier({"prune", files.model, "--method", "spa", "--sparsity", "0.3", "--align", "1", "--calib",
                               files.data, "--repair", "lora", "-o", out}),
                     "--repair lora is for language models");
}

}  // namespace
}  // namespace espalier::test
