// Budgets of real architectures with initial weights: what is left lies within 3 % of what was asked for. A single channel
// of these nets is less than that. FLOPs are those of all operators; vision_sizes_test.cpp compares them with published ones.
#include <gtest/gtest.h>

#include "espalier/lab/methods/job.h"
#include "tests/families/vision_models.h"
#include "tests/support.h"

namespace espalier {
namespace {

const std::map<std::string, Json>& configs() {
  static const std::map<std::string, Json> all{{"ResNet20", {{"model_type", "resnet-cifar"}, {"depth", 20}}},
                                               {"MobileNetV2", {{"model_type", "mobilenet-v2"}}}};
  return all;
}

Model fresh(const test::TempDir& directory, const std::string& name) {
  std::filesystem::create_directories(directory / name);
  write_file_atomically(directory / name / "config.json", configs().at(name).dump());
  return load_model(directory / name);
}

// Elements of all weights, biases and scales.
double trained_numbers(const Graph& graph) {
  double count = 0;
  for (const auto& parameter : graph.parameters()) {
    const std::string& name = parameter->name();
    if (name.ends_with(".running_mean") || name.ends_with(".running_var")) continue;
    count += static_cast<double>(element_count(parameter->shape()));
  }
  return count;
}

struct Budget {
  std::string model, method, of;
};

class Budgets : public ::testing::TestWithParam<Budget> {};

TEST_P(Budgets, AreHit) {
  const auto& [name, id, of] = GetParam();
  const test::TempDir directory;
  for (const double sparsity : {0.3, 0.6}) {
    Model model = fresh(directory, name);
    const auto size = [&] { return of == "flops" ? model_size(model.graph, model).flops : trained_numbers(model.graph); };
    const double dense = size();
    PruneJob job(find_method(id), model, {}, {.sparsity = sparsity, .of = of, .align = 1}, nullptr, 0);
    job.method().prune(job);
    const double asked = (1 - sparsity) * dense;
    EXPECT_NEAR(size(), asked, 0.03 * asked) << sparsity;
    EXPECT_GE(job.reached(), sparsity);
  }
}

std::vector<Budget> budgets() {
  std::vector<Budget> all;
  for (const char* model : {"ResNet20", "MobileNetV2"})
    for (const char* method : {"l1-channels", "08-spa"})
      for (const char* of : {"params", "flops"}) all.push_back({model, method, of});
  return all;
}

std::string label_of(const ::testing::TestParamInfo<Budget>& budget) {
  return budget.param.model + (budget.param.method == "08-spa" ? "_SPA_" : "_L1_") + budget.param.of;
}

INSTANTIATE_TEST_SUITE_P(Structured, Budgets, ::testing::ValuesIn(budgets()), label_of);

}  // namespace
}  // namespace espalier
