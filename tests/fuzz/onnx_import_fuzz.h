// The ONNX importer under any bytes, see targets.h: it makes a graph that can be coupled, or refuses.
#pragma once

#include <algorithm>

#include "espalier/families/onnx/import.h"
#include "espalier/graph/operator.h"
#include "espalier/io/onnx/reader.h"
#include "espalier/io/onnx/serialise.h"
#include "espalier/structure/coupling.h"
#include "tests/families/onnx/onnx_model.h"
#include "tests/fuzz/targets.h"

namespace espalier::fuzz {

inline bool is_small(const Graph& graph) {
  return std::all_of(graph.values.begin(), graph.values.end(), [](const Value& value) {
    return std::all_of(value.shape.begin(), value.shape.end(), [](int64_t size) { return size <= 4096; });
  });
}

inline bool fuzz_onnx_import(const uint8_t* data, size_t size) {
  return accepts([&] {
    OnnxModel model = parse_onnx(std::as_bytes(std::span(data, size)), "fuzz");
    model.path = "fuzz";
    const OnnxImport found = import_onnx(std::move(model));
    found.graph.check();
    if (!is_small(found.graph)) return;
    find_coupling(found.graph);
    total_cost(found.graph);
  });
}

// Small models that between them use most of the importer.
inline std::vector<std::string> onnx_import_seeds() {
  using test::ModelBuilder;
  std::vector<std::string> seeds;
  auto add = [&](const ModelBuilder& b) { seeds.push_back(to_string(serialise_onnx(b.model))); };
  ModelBuilder cnn;
  cnn.input("x", {"n", 3, 8, 8}).weight("w", {4, 3, 3, 3}).weight("b", {4}).weight("fc", {5, 4});
  cnn.node("Conv", {"x", "w", "b"}, {"c"}, {onnx_ints("pads", {1, 1, 1, 1}), onnx_ints("strides", {2, 2})});
  cnn.node("BatchNormalization", {"c", "b", "b", "b", "b"}, {"bn"})
      .node("Sigmoid", {"bn"}, {"s"})
      .node("Mul", {"bn", "s"}, {"a"});
  cnn.node("MaxPool", {"a"}, {"m"}, {onnx_ints("kernel_shape", {2, 2}), onnx_string("auto_pad", "SAME_UPPER")});
  cnn.node("ConvTranspose", {"m", "w"}, {"t"}, {onnx_ints("strides", {2, 2})}).node("GlobalAveragePool", {"m"}, {"p"});
  cnn.node("Flatten", {"p"}, {"f"}).node("Gemm", {"f", "fc"}, {"y"}, {onnx_int("transB", 1), onnx_float("alpha", 2)});
  add(cnn.output("y").output("t"));

  ModelBuilder shapes;
  shapes.input("x", {"n", 4, 6}).ints("zero", {0}).ints("heads", {-1, 2, 3}).ints("axes", {1}).weight("w", {6, 6});
  shapes.node("MatMul", {"x", "w"}, {"h"}).node("Shape", {"h"}, {"s"}).node("Gather", {"s", "zero"}, {"n"});
  shapes.node("Concat", {"n", "heads"}, {"shape"}, {onnx_int("axis", 0)}).node("Reshape", {"h", "shape"}, {"r"});
  shapes.node("Transpose", {"r"}, {"t"}, {onnx_ints("perm", {0, 2, 1, 3})})
      .node("Softmax", {"t"}, {"p"}, {onnx_int("axis", -1)});
  shapes.node("ConstantOfShape", {"s"}, {"c"}).node("Add", {"h", "c"}, {"a"}).node("Unsqueeze", {"a", "axes"}, {"u"});
  shapes.ints("stretched", {1, 3, 4, 6})
      .node("Expand", {"u", "stretched"}, {"e"})
      .ints("three", {3}, true)
      .ints("start", {0}, true)
      .ints("step", {1}, true);
  shapes.node("Range", {"start", "three", "step"}, {"g"}).node("Gather", {"a", "g"}, {"k"}, {onnx_int("axis", 2)});
  shapes.ints("from", {1})
      .ints("to", {-1})
      .node("Slice", {"a", "from", "to", "axes"}, {"l"})
      .ints("pads", {0, 1, 0, 0, 0, 1});
  add(shapes.node("Pad", {"l", "pads"}, {"d"}).output("p").output("k").output("d").output("e"));

  ModelBuilder norm(14);
  const auto last = std::vector{onnx_ints("axes", {-1})};
  norm.input("ids", {"n", 5}, OnnxDataType::kInt64)
      .weight("table", {9, 4})
      .number("two", 2)
      .number("eps", 1e-5f)
      .weight("g", {4});
  norm.node("Gather", {"table", "ids"}, {"h"}).node("ReduceMean", {"h"}, {"m"}, last).node("Sub", {"h", "m"}, {"d"});
  norm.node("Pow", {"d", "two"}, {"q"}).node("ReduceMean", {"q"}, {"v"}, last).node("Add", {"v", "eps"}, {"e"});
  norm.node("Sqrt", {"e"}, {"s"})
      .node("Div", {"d", "s"}, {"n0"})
      .node("Mul", {"n0", "g"}, {"n1"})
      .node("Add", {"n1", "g"}, {"n2"});
  norm.node("Transpose", {"table"}, {"tt"}, {onnx_ints("perm", {1, 0})});
  add(norm.node("MatMul", {"n2", "tt"}, {"y"}).output("y"));

  ModelBuilder attention;  // a block with packed heads, a mask and a table that blocks share
  attention.input("x", {"n", 3, 8}).weight("qkv", {8, 24}).weight("o", {8, 8}).weight("up", {8, 6}).weight("down", {6, 8});
  attention.ints("apart", {0, 0, 3, 2, 4}).ints("flat", {0, 0, 8}).number("scale", 0.5f).weight("bias", {2, 3, 3});
  const std::vector<std::string> parts = {"q", "k", "v"};
  for (size_t i = 0; i < 3; ++i) attention.ints(parts[i] + "at", {static_cast<int64_t>(i)}, true);
  std::string stream = "x";
  for (const std::string at : {"a.", "b."}) {
    attention.node("MatMul", {stream, "qkv"}, {at + "p"}).node("Reshape", {at + "p", "apart"}, {at + "r"});
    attention.node("Transpose", {at + "r"}, {at + "t"}, {onnx_ints("perm", {2, 0, 3, 1, 4})});
    for (const auto& part : parts) attention.node("Gather", {at + "t", part + "at"}, {at + part}, {onnx_int("axis", 0)});
    attention.node("Transpose", {at + "k"}, {at + "kt"}, {onnx_ints("perm", {0, 1, 3, 2})}).node("MatMul", {at + "q", at + "kt"}, {at + "s"});
    attention.node("Mul", {at + "s", "scale"}, {at + "m"}).node("Add", {at + "m", "bias"}, {at + "b"});
    attention.node("Softmax", {at + "b"}, {at + "w"}, {onnx_int("axis", -1)}).node("MatMul", {at + "w", at + "v"}, {at + "c"});
    attention.node("Transpose", {at + "c"}, {at + "ct"}, {onnx_ints("perm", {0, 2, 1, 3})}).node("Reshape", {at + "ct", "flat"}, {at + "j"});
    attention.node("MatMul", {at + "j", "o"}, {at + "y"}).node("Add", {stream, at + "y"}, {at + "h"});
    attention.node("MatMul", {at + "h", "up"}, {at + "u"}).node("Relu", {at + "u"}, {at + "l"}).node("MatMul", {at + "l", "down"}, {at + "d"});
    stream = at + "z";
    attention.node("Add", {at + "h", at + "d"}, {stream});
  }
  add(attention.node("Tanh", {stream}, {"y"}).output("y"));

  ModelBuilder calls;
  calls.model.opset_imports.push_back({"local", 1, {}});
  OnnxFunction f;
  f.name = "Act";
  f.domain = "local";
  f.inputs = {"x"};
  f.outputs = {"y"};
  f.opset_imports.push_back({"", 17, {}});
  f.nodes = {ModelBuilder::made("Relu", {"x"}, {"m"}), ModelBuilder::made("Neg", {"m"}, {"y"})};
  calls.model.functions.push_back(f);
  OnnxGraph branch;
  branch.name = "branch";
  branch.nodes = {ModelBuilder::made("Tanh", {"a"}, {"t"})};
  branch.outputs.push_back(ModelBuilder::info("t", {"n", 4}));
  Tensor yes(DType::kBool, {});
  yes.mutable_bytes()[0] = std::byte{1};
  calls.model.graph.initializers.push_back(onnx_tensor("yes", yes));
  calls.model.graph.value_infos.push_back(ModelBuilder::info("o", {"n", 4}));
  calls.input("x", {"n", 4}).node("Act", {"x"}, {"a"}, {}, "local");
  calls.node("If", {"yes"}, {"b"},
             {onnx_graph_attribute("then_branch", branch), onnx_graph_attribute("else_branch", branch)});
  add(calls.node("Hardmax", {"b"}, {"o"}).node("Relu", {"o"}, {"y"}).output("y"));
  return seeds;
}

}  // namespace espalier::fuzz
