#include "espalier/engine/graph_benchmark.h"

#include <gtest/gtest.h>

#include "tests/families/vision_models.h"
#include "tests/support.h"

namespace espalier::graph_benchmark_test {
namespace {

BenchRequest request_for(const std::filesystem::path& model) {
  BenchRequest request;
  request.model = model.string();
  request.common.threads = 1;
  request.batch = 2;
  request.rounds = 2;
  return request;
}

void write(const test::TempDir& directory, const std::string& name) {
  std::filesystem::create_directories(directory / name);
  test::load_tiny_vision(directory / name, test::tiny_vision_configs().at(name));
}

TEST(GraphBenchmark, FiguresOfOneModelAgreeWithEachOther) {
  const test::TempDir directory;
  write(directory, "Vit");
  const Json result = bench_graph(request_for(directory / "Vit"));
  EXPECT_EQ(result["kind"], "images");
  EXPECT_EQ(result["batch"], 2);
  EXPECT_GE(result["runs"].get<int64_t>(), 2);
  EXPECT_GT(result["load_s"].get<double>(), 0);
  const double ms = result["ms"]["median"], rate = result["images_per_s"]["median"];
  EXPECT_NEAR(rate * ms / 2000, 1, 0.05);  // medians of x and of 1/x need not be the same run
  EXPECT_LE(result["ms"]["p05"].get<double>(), ms);
  EXPECT_GE(result["ms"]["p95"].get<double>(), ms);
  const double share = result["share_of_peak_flops"];
  EXPECT_NEAR(share, result["flops"].get<double>() / (ms * 1e-3) / result["limits"]["peak_flops_fp32"].get<double>(),
              1e-9);
  EXPECT_GT(result["peak_rss_bytes"].get<uint64_t>(), result["workspace_bytes"].get<uint64_t>());
  EXPECT_FALSE(result.contains("against"));
}

TEST(GraphBenchmark, TwoModelsTurnByTurn) {
  const test::TempDir directory;
  write(directory, "ResNetCifar");
  write(directory, "MobileNetV1");
  BenchRequest request = request_for(directory / "ResNetCifar");
  request.against = (directory / "MobileNetV1").string();
  const Json result = bench_graph(request);
  EXPECT_EQ(result["against"]["model"], request.against);
  const double ratio = result["ratio"]["flops"];
  EXPECT_NEAR(ratio, result["flops"].get<double>() / result["against"]["flops"].get<double>(), 1e-12);
  EXPECT_GT(result["ratio"]["images_per_s"].get<double>(), 0);
}

TEST(GraphBenchmark, IdsAreWithinTheVocabulary) {
  const test::TempDir directory;
  write(directory, "Bert");
  const Json result = bench_graph(request_for(directory / "Bert"));
  EXPECT_GT(result["images_per_s"]["median"].get<double>(), 0);
}

}  // namespace
}  // namespace espalier::graph_benchmark_test
