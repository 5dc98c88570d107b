// Studies of weights and of trainings: `analyze pq-index` and `analyze plasticity`.
#include "espalier/core/json.h"
#include "tests/cli/run_program.h"
#include "tests/support.h"

namespace espalier {
namespace {

using test::espalier;
using test::TempDir;

TEST(AnalyzePqIndex, CountsEveryLayerAndHeedsMasks) {
  const TempDir dir;
  const std::string out = (dir / "index").string(), pruned = (dir / "pruned").string();
  const auto found = parse_json(espalier({"analyze", "pq-index", "espalier-tiny", "--set", "scope=neuron", "--json", "-o", out}).out, "analyze");
  const Json& rows = found.at("tables").at("layers").at("rows");
  EXPECT_GT(rows.size(), 20u);
  for (const Json& row : rows) {
    EXPECT_EQ(row[1], row[2]);
    for (const size_t column : {3, 4, 6, 7, 8}) {
      EXPECT_GE(row[column].get<double>(), 0);
      EXPECT_LT(row[column].get<double>(), 1);
    }
    EXPECT_LE(row[5].get<int64_t>(), row[2].get<int64_t>());
  }
  ASSERT_EQ(espalier({"prune", "espalier-tiny", "--method", "magnitude", "--sparsity", "0.5", "-o", pruned}).exit_code, 0);
  const auto sparse = parse_json(espalier({"analyze", "pq-index", pruned, "--json", "-o", (dir / "sparse").string()}).out, "analyze");
  const Json &dense_all = found.at("tables").at("all").at("rows")[0], &sparse_all = sparse.at("tables").at("all").at("rows")[0];
  EXPECT_LT(sparse_all[1].get<int64_t>(), dense_all[1].get<int64_t>());
  EXPECT_LT(sparse_all[2].get<double>(), dense_all[2].get<double>());  // what is left is more equal
  ESP_EXPECT_MISTAKE(espalier({"analyze", "pq-index", "espalier-tiny", "--set", "p=1", "-o", out + "2"}), "0 < p < q");
}

TEST(AnalyzePlasticity, ComparesRegrowth) {
  const TempDir dir;
  const auto found = parse_json(espalier({"analyze", "plasticity", "espalier-fashion-cnn", "--set", "rates=0.5,0.9", "--set", "steps=1", "--set", "batch=16", "--set", "eval_limit=32",
                                          "--json", "-o", (dir / "out").string()}).out,
                                "analyze");
  ASSERT_EQ(found.at("tables").at("plasticity").at("rows").size(), 2u);
  for (const Json& row : found.at("tables").at("plasticity").at("rows")) {
    EXPECT_DOUBLE_EQ(row[4].get<double>(), row[2].get<double>() - row[1].get<double>());
    EXPECT_DOUBLE_EQ(row[5].get<double>(), row[3].get<double>() - row[1].get<double>());
  }
  ESP_EXPECT_MISTAKE(espalier({"analyze", "plasticity", "espalier-fashion-cnn", "--set", "rates=1", "-o", (dir / "no").string()}), "numbers in [0, 1)");
  ESP_EXPECT_MISTAKE(espalier({"analyze", "plasticity", "espalier-tiny", "-o", (dir / "no").string()}), "classifiers of pictures");
}

}  // namespace
}  // namespace espalier
