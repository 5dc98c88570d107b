// The ONNX importer under damaged files and under models whose parts are exchanged.
#include "tests/fuzz/onnx_import_fuzz.h"

#include <gtest/gtest.h>

#include "tests/fuzz/runner.h"

namespace espalier::fuzz {
namespace {

TEST(OnnxImportFuzz, DamagedFiles) { fuzz(fuzz_onnx_import, onnx_import_seeds(), 60'000); }

// Damage that keeps the file readable: operators, inputs, attributes, sizes and numbers of another place.
void exchange(OnnxModel& model, Rng& rng) {
  static const std::vector<std::string> kOps = {"Relu",
                                                "MatMul",
                                                "Gemm",
                                                "Conv",
                                                "Reshape",
                                                "Transpose",
                                                "Concat",
                                                "Split",
                                                "Slice",
                                                "Gather",
                                                "GatherND",
                                                "ScatterND",
                                                "Expand",
                                                "Tile",
                                                "Squeeze",
                                                "Unsqueeze",
                                                "Softmax",
                                                "ReduceMean",
                                                "Pad",
                                                "Resize",
                                                "Where",
                                                "Einsum",
                                                "Clip",
                                                "Cast",
                                                "DepthToSpace",
                                                "GroupNormalization",
                                                "LayerNormalization",
                                                "MaxPool",
                                                "AveragePool",
                                                "ConvTranspose",
                                                "Flatten",
                                                "ConstantOfShape",
                                                "Range",
                                                "Trilu",
                                                "CumSum",
                                                "NonZero",
                                                "Hardmax",
                                                "ArgMax",
                                                "Mod",
                                                "Div"};
  static const std::vector<int64_t> kNumbers = {0, 1, -1, 2, 3, 7, -3, 1 << 20, INT64_MAX, INT64_MIN, int64_t{1} << 32};
  OnnxGraph& graph = model.graph;
  OnnxNode& node = graph.nodes[rng.below(graph.nodes.size())];
  switch (rng.below(5)) {
    case 0:
      node.op_type = kOps[rng.below(kOps.size())];
      break;
    case 1:
      if (!node.inputs.empty()) {
        const OnnxNode& from = graph.nodes[rng.below(graph.nodes.size())];
        if (!from.inputs.empty())
          node.inputs[rng.below(node.inputs.size())] = from.inputs[rng.below(from.inputs.size())];
      }
      break;
    case 2:
      if (!node.attributes.empty()) {
        OnnxAttribute& attribute = node.attributes[rng.below(node.attributes.size())];
        attribute.i = kNumbers[rng.below(kNumbers.size())];
        if (!attribute.ints.empty())
          attribute.ints[rng.below(attribute.ints.size())] = kNumbers[rng.below(kNumbers.size())];
      }
      break;
    case 3:
      if (!graph.initializers.empty()) {
        OnnxTensor& tensor = graph.initializers[rng.below(graph.initializers.size())];
        if (tensor.data_type != OnnxDataType::kInt64) break;
        std::string bytes(tensor.data.view);
        const int64_t number = kNumbers[rng.below(kNumbers.size())];
        std::memcpy(bytes.data() + rng.below(bytes.size() / 8) * 8, &number, 8);
        tensor.data = OnnxBytes::own(std::move(bytes));
      }
      break;
    default:
      if (!graph.inputs[0].type.shape.empty())
        graph.inputs[0].type.shape[rng.below(graph.inputs[0].type.shape.size())].value =
            kNumbers[rng.below(kNumbers.size())];
  }
}

TEST(OnnxImportFuzz, ExchangedParts) {
  std::vector<OnnxModel> models;
  const auto seeds = onnx_import_seeds();
  for (const std::string& seed : seeds) models.push_back(parse_onnx(std::as_bytes(std::span(seed)), "seed"));
  Rng rng(2, "fuzz");
  int accepted = 0;
  for (int i = 0; i < 20'000; ++i) {
    OnnxModel model = models[rng.below(models.size())];
    for (uint64_t n = 1 + rng.below(3); n-- > 0;) exchange(model, rng);
    const std::string bytes = to_string(serialise_onnx(model));
    ASSERT_NO_THROW(accepted += run(fuzz_onnx_import, bytes)) << "round " << i;
  }
  EXPECT_GT(accepted, 1000);
  EXPECT_LT(accepted, 19'000);
}

}  // namespace
}  // namespace espalier::fuzz
