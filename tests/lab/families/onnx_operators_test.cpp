// Operators of ONNX, imported and run, against onnxruntime 1.32 (graph optimisations off).
#include <gtest/gtest.h>

#include <cmath>

#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/torch.h"
#include "tests/lab/families/onnx_small_models.h"

namespace espalier::test {
namespace {

// Of an output y: its shape, the sum of y[i] cos(0.11 i), and the sum of |y[i]|.
struct Expected {
  Shape shape;
  double waves, total;
};

const std::map<std::string, std::vector<Expected>>& expected_outputs() {
  static const std::map<std::string, std::vector<Expected>> table = {
      {"pools",
       {{{1, 2, 3, 4}, 4.558961, 20.05556},
        {{1, 2, 6, 7}, 0.3946736, 9.894812},
        {{1, 2, 3, 4}, 1.488025, 4.033728},
        {{1, 2, 4, 4}, 1.143314, 23.23418},
        {{1, 2, 1, 1}, 1.993477, 1.999518}}},
      {"convolutions",
       {{{1, 4, 2, 5}, -36.57961, 130.9},
        {{1, 3, 10, 19}, -7.133702, 70.60136},
        {{1, 4, 10, 12}, -90.6467, 534.6548},
        {{1, 3, 8}, -3.772245, 50.08869}}},
      {"resizes",
       {{{1, 2, 6, 11}, 9.370481, 67.76096},
        {{1, 2, 7, 3}, 4.705315, 22.29249},
        {{1, 2, 6, 11}, -13.51369, 87.61847},
        {{1, 2, 7, 3}, 0.8838749, 27.39758},
        {{1, 2, 7, 3}, 0.6263291, 26.67445}}},
      {"products",
       {{{4, 5}, -8.173996, 24.86687},
        {{3, 6}, 9.0531, 18.37845},
        {{2, 3}, 2.707704, 9.073092},
        {{6}, 0.6660756, 0.9400926},
        {{2, 3, 6}, 0.3086104, 13.75058},
        {{3, 2, 5}, 1.296058, 39.15092},
        {{2, 6, 3}, 2.078142, 13.75058}}},
      {"layouts",
       {{{1, 4, 6, 5}, 7.049394, 320.6965},
        {{1, 4, 8, 10}, -0.3759677, 203.4471},
        {{1, 4, 8, 10}, 7.712707, 202.4045},
        {{1, 2, 5, 3}, 0.8947391, 19.79414},
        {{1, 8, 5, 18}, 51.50619, 455.3182},
        {{1, 2, 5, 6}, 5.853743, 37.88291},
        {{1, 2, 5, 6}, -5.741922, 38.00346},
        {{1, 2, 3, 5, 6}, -0.5025863, 114.3368},
        {{1, 1, 10, 12}, -1.624252, 75.88637},
        {{1, 1, 10, 12}, -1.624252, 75.88637},
        {{1, 8, 5, 18}, 51.50619, 455.3182},
        {{1, 16, 2, 3}, 0.8188899, 61.29334}}},
      {"reductions_13",
       {{{1, 4}, 11.90542, 12.1403},
        {{1, 4}, 5.84036, 5.954001},
        {{1, 4}, 9.108617, 9.273967},
        {{1, 4}, -1.704094, 1.961152},
        {{1, 4}, 2.034943, 3.28995},
        {{1, 1, 1}, 3.270589, 3.270589},
        {{1, 4, 1}, 5.927619, 6},
        {{1, 5}, 1.993956, 2},
        {{1, 4, 5}, 2.721764, 5},
        {{1, 4, 5}, -13.62349, 33.50685}}},
      {"reductions_18",
       {{{1, 4}, 11.90542, 12.1403},
        {{1, 4}, 5.84036, 5.954001},
        {{1, 4}, 9.108617, 9.273967},
        {{1, 4}, -1.704094, 1.961152},
        {{1, 4}, 2.034943, 3.28995},
        {{1, 1, 1}, 3.270589, 3.270589},
        {{1, 4, 1}, 5.927619, 6},
        {{1, 5}, 1.993956, 2},
        {{1, 4, 5}, 2.721764, 5},
        {{1, 4, 5}, -13.62349, 33.50685}}},
      {"activations",
       {{{1, 3, 4}, 9.604333, 10.82406}, {{1, 3, 4}, 6.255971, 7.490069}, {{1, 3, 4}, 4.702554, 8.744715},
        {{1, 3, 4}, 12.34082, 14.42461}, {{1, 3, 4}, 3.218488, 5.953183}, {{1, 3, 4}, 4.999916, 9.372343},
        {{1, 3, 4}, 6.906988, 9.199625}, {{1, 3, 4}, 8.548903, 10.86608}, {{1, 3, 4}, 32.69539, 37.36038},
        {{1, 3, 4}, 11.07624, 14.32958}, {{1, 3, 4}, 6.462921, 12},       {{1, 3, 4}, 2.307287, 10},
        {{1, 3, 4}, 11.48082, 16},       {{1, 3, 4}, 7.176069, 14},       {{1, 3, 4}, 4.864534, 9.19724},
        {{1, 3, 4}, 2.515599, 5.733749}, {{1, 3, 4}, -8.13243, 14.32958}, {{1, 3, 4}, 8.601167, 14.81759},
        {{1, 3, 4}, 6.213252, 7.463707}, {{1, 3, 4}, 8.687032, 10.3403},  {{1, 3, 4}, 8.756761, 12.78342},
        {{1, 3, 4}, 9.09579, 11.99967},  {{1, 3, 4}, 9.309952, 11.52516}, {{1, 3, 4}, 9.125611, 11.90329},
        {{1, 3, 4}, 6.149346, 7.109447}, {{1, 3, 4}, 8.686344, 10.34007}, {{1, 3, 4}, 10.0459, 11.87571},
        {{1, 3, 4}, 2.369364, 4.062671}, {{1, 3, 4}, 1.304053, 6.668194}, {{1, 3, 4}, 5.892842, 8.04103}}},
      {"norms_18",
       {{{1, 6, 3, 4}, 2.462404, 70.26588},
        {{1, 6, 3, 4}, -3.929994, 65.38422},
        {{1, 6, 3, 4}, -12.68512, 67.24439},
        {{1, 6, 3, 4}, -4.762956, 63.9051},
        {{1, 6, 3, 4}, -0.05410053, 20.99147}}},
      {"norms_21",
       {{{1, 6, 3, 4}, 2.522661, 70.24477},
        {{1, 6, 3, 4}, -3.929994, 65.38422},
        {{1, 6, 3, 4}, -12.68512, 67.24439},
        {{1, 6, 3, 4}, -4.762956, 63.9051},
        {{1, 6, 3, 4}, -0.05410053, 20.99147}}},
      {"choices",
       {{{1, 3, 4}, 7.88641, 10.04269},
        {{1, 3, 4}, 5.039103, 6.499958},
        {{1, 3, 4}, 8.098694, 10.46617},
        {{1, 3, 4}, 2.41386, 5.323382},
        {{1, 3, 4}, 16.82347, 20.3926},
        {{1, 3, 4}, 5.607822, 6.797533},
        {{1, 3, 4}, 9.173532, 12},
        {{1, 3, 4}, 4.261159, 5.429897},
        {{1, 3, 4}, 85.96089, 120.6007},
        {{1, 3, 4}, 7.374965, 10}}},
      {"channels_last", {{{1, 5}, 0.9655197, 1}}},
  };
  return table;
}

at::Tensor input_of(const Shape& shape) {
  at::Tensor x = at::empty(shape, at::kFloat);
  for (int64_t i = 0; i < x.numel(); ++i)
    x.data_ptr<float>()[i] = static_cast<float>(std::sin(static_cast<double>(i) * 0.37 + 0.1));
  return x;
}

void expect_near(const at::Tensor& y, const Expected& expected) {
  ASSERT_EQ(y.sizes(), at::IntArrayRef(expected.shape));
  const at::Tensor flat = y.to(at::kDouble).contiguous().flatten();
  const at::Tensor waves = at::cos(at::arange(flat.numel(), at::kDouble) * 0.11);
  const double tolerance = 1e-5 * (1 + expected.total);
  EXPECT_NEAR((flat * waves).sum().item<double>(), expected.waves, tolerance);
  EXPECT_NEAR(flat.abs().sum().item<double>(), expected.total, tolerance);
}

TEST(OnnxOperators, ComputeWhatOnnxruntimeDoes) {
  c10::InferenceMode no_gradients;
  for (const SmallModel& small : small_models()) {
    SCOPED_TRACE(small.name);
    const OnnxImport found = small.model.import();
    EXPECT_TRUE(found.source->opaque.empty());
    Environment values;
    for (size_t i = 0; i < found.graph.inputs.size(); ++i)
      values[found.graph.inputs[i]] = input_of(found.input_shapes[i]);
    Weights weights(found.graph);
    Interpreter(found.graph, weights).run(values, 0, static_cast<NodeId>(found.graph.nodes.size()));
    const auto& expected = expected_outputs().at(small.name);
    ASSERT_EQ(found.graph.outputs.size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      SCOPED_TRACE(small.model.model.graph.outputs[i].name);
      expect_near(values.at(found.graph.outputs[i]), expected[i]);
    }
  }
}

}  // namespace
}  // namespace espalier::test
