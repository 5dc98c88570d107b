// Graphs that came from an ONNX file go back into that file.
#include <gtest/gtest.h>

#include <algorithm>

#include "espalier/families/onnx/export.h"
#include "espalier/io/onnx/attributes.h"
#include "espalier/io/onnx/serialise.h"
#include "espalier/io/onnx/tensor.h"
#include "espalier/io/onnx/validate.h"
#include "tests/families/onnx/export_cases.h"
#include "tests/support.h"

namespace espalier::export_source_test {
namespace {

using test::List;
using Words = std::vector<std::string>;

OnnxValueInfo info(const std::string& name, const std::vector<std::string>& dims,
                   OnnxDataType type = OnnxDataType::kFloat) {
  OnnxValueInfo value;
  value.name = name;
  value.type.kind = OnnxType::Kind::kTensor;
  value.type.elem_type = type;
  value.type.has_shape = true;
  for (const std::string& dim : dims) {
    OnnxDim made;
    if (dim.find_first_not_of("0123456789") == std::string::npos) {
      made.value = std::stoll(dim);
    } else {
      made.param = dim;
    }
    value.type.shape.push_back(std::move(made));
  }
  return value;
}

OnnxTensor weight(const std::string& name, Shape shape) {
  const auto values = test::tiny_values(name, shape);
  return onnx_tensor(name, Tensor::from_floats(std::move(shape), values));
}

OnnxNode node(const std::string& op, Words inputs, Words outputs, std::vector<OnnxAttribute> attributes = {}) {
  OnnxNode made;
  made.op_type = op;
  made.name = "make_" + outputs.at(0);
  made.inputs = std::move(inputs);
  made.outputs = std::move(outputs);
  made.attributes = std::move(attributes);
  return made;
}

// relu(x · w + b), then · v
OnnxModel two_layers(int64_t opset = 17) {
  OnnxModel model;
  model.ir_version = 8;
  model.producer_name = "somebody";
  model.producer_version = "1.2";
  model.domain = "org.somebody";
  model.model_version = 3;
  model.doc_string = "two layers";
  model.metadata_props.push_back({"licence", "free", {}});
  model.extras.unknown.push_back({200, OnnxBytes::own("\xc2\x0c\x02hi")});
  model.opset_imports = {{"", opset, {}}, {"org.unused", 1, {}}};
  model.graph.name = "layers";
  model.graph.doc_string = "inner text";
  model.graph.inputs = {info("x", {"n", "4"})};
  model.graph.outputs = {info("y", {"n", "3"})};
  model.graph.value_infos = {info("h", {"n", "6"}), info("gone", {"1"})};
  model.graph.initializers = {weight("w", {4, 6}), weight("b", {6}), weight("v", {3, 6})};
  model.graph.nodes = {node("Gemm", {"x", "w", "b"}, {"h"}), node("Relu", {"h"}, {"r"}),
                       node("Gemm", {"r", "v"}, {"y"}, {onnx_int("transB", 1)})};
  model.graph.nodes[1].doc_string = "keeps what is positive";
  return model;
}

const OnnxTensor& initializer(const OnnxModel& model, const std::string& name) {
  const auto& all = model.graph.initializers;
  return *std::find_if(all.begin(), all.end(), [&](const OnnxTensor& tensor) { return tensor.name == name; });
}

OnnxModel again(const OnnxImport& imported, const OnnxExportOptions& options = {}) {
  OnnxModel model = export_onnx(imported.graph, imported.input_shapes, imported.source.get(), options);
  validate_onnx(model, "exported");
  return model;
}

TEST(OnnxExportSource, WhatTheFileSaysIsKept) {
  const OnnxModel before = two_layers(), after = again(import_onnx(two_layers()));
  EXPECT_EQ(after.ir_version, 8);
  EXPECT_EQ(after.producer_name, "somebody");
  EXPECT_EQ(after.producer_version, "1.2");
  EXPECT_EQ(after.domain, "org.somebody");
  EXPECT_EQ(after.model_version, 3);
  EXPECT_EQ(after.doc_string, "two layers");
  ASSERT_EQ(after.metadata_props.size(), 1u);
  EXPECT_EQ(after.metadata_props[0].value, "free");
  ASSERT_EQ(after.extras.unknown.size(), 1u);
  EXPECT_EQ(after.extras.unknown[0].bytes.view, before.extras.unknown[0].bytes.view);
  EXPECT_EQ(after.graph.name, "layers");
  EXPECT_EQ(after.graph.doc_string, "inner text");
  ASSERT_EQ(after.opset_imports.size(), 1u);  // nobody uses the other domain
  EXPECT_EQ(after.opset_imports[0].version, 17);
}

// The whole file comes back but for what nobody uses.
TEST(OnnxExportSource, AnUnderstoodFileIsTheSame) {
  OnnxModel before = two_layers();
  before.opset_imports.pop_back();
  before.graph.value_infos.pop_back();
  const OnnxModel after = again(import_onnx(before));
  ASSERT_EQ(after.graph.nodes.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(after.graph.nodes[i].op_type, before.graph.nodes[i].op_type);
    EXPECT_EQ(after.graph.nodes[i].name, before.graph.nodes[i].name);
    EXPECT_EQ(after.graph.nodes[i].inputs, before.graph.nodes[i].inputs);
    EXPECT_EQ(after.graph.nodes[i].outputs, before.graph.nodes[i].outputs);
    EXPECT_EQ(after.graph.nodes[i].doc_string, before.graph.nodes[i].doc_string);
  }
  EXPECT_EQ(to_string(serialise_onnx(before)), to_string(serialise_onnx(after)));
}

TEST(OnnxExportSource, UncutWeightsAreTheFilesBytes) {
  OnnxModel model = two_layers();
  OnnxTensor& w = model.graph.initializers[0];  // as a typed list, with a text
  w.storage = OnnxStorage::kFloats;
  w.doc_string = "first layer";
  OnnxImport imported = import_onnx(model);
  imported.graph.parameter("v").cut(0, {0, 2});
  imported.graph.parameter("b").assign(Tensor::from_floats({6}, std::vector<float>{1, 2, 3, 4, 5, 6}));
  const OnnxModel after = again(imported);
  EXPECT_EQ(initializer(after, "w").storage, OnnxStorage::kFloats);
  EXPECT_EQ(initializer(after, "w").doc_string, "first layer");
  EXPECT_EQ(initializer(after, "w").data.view.data(), initializer(imported.source->model, "w").data.view.data());
  EXPECT_EQ(initializer(after, "v").dims, (Shape{2, 6}));
  EXPECT_EQ(to_tensor(initializer(after, "b"), "test").to_floats(), (std::vector<float>{1, 2, 3, 4, 5, 6}));
}

TEST(OnnxExportSource, ValueInfosFollowTheSizes) {
  OnnxImport imported = import_onnx(two_layers());
  imported.graph.parameter("w").cut(1, {0, 1, 5});
  imported.graph.parameter("b").cut(0, {0, 1, 5});
  imported.graph.parameter("v").cut(1, {0, 1, 5});
  const OnnxModel after = again(imported);
  ASSERT_EQ(after.graph.value_infos.size(), 1u);
  EXPECT_EQ(after.graph.value_infos[0].name, "h");
  EXPECT_EQ(after.graph.value_infos[0].type.shape[0].param, "n");
  EXPECT_EQ(after.graph.value_infos[0].type.shape[1].value, 3);
  EXPECT_EQ(after.graph.outputs[0].type.shape[0].param, "n");
  EXPECT_EQ(after.graph.outputs[0].type.shape[1].value, 3);
}

TEST(OnnxExportSource, AnOldOperatorSetIsRaised) {
  OnnxModel old = two_layers(9);
  old.ir_version = 3;  // where initialisers are inputs
  for (const OnnxTensor& tensor : old.graph.initializers) {
    Words dims;
    for (int64_t size : tensor.dims) dims.push_back(std::to_string(size));
    old.graph.inputs.push_back(info(tensor.name, dims));
  }
  OnnxImport imported = import_onnx(old);
  imported.graph.parameter("v").cut(0, {0, 2});
  const OnnxModel after = again(imported);
  EXPECT_EQ(opset_version(after.opset_imports, ""), 11);
  EXPECT_EQ(after.ir_version, 6);
  ASSERT_EQ(after.graph.inputs.size(), 4u);
  EXPECT_EQ(after.graph.inputs[3].name, "v");
  EXPECT_EQ(after.graph.inputs[3].type.fixed_shape(), (Shape{2, 6}));
}

TEST(OnnxExportSource, IrVersion3DeclaresConstantsAsInputs) {
  OnnxModel old = two_layers(11);
  old.ir_version = 3;
  old.graph.nodes[1] = node("Unsqueeze", {"h"}, {"u"}, {onnx_ints("axes", {0})});
  old.graph.nodes.insert(old.graph.nodes.begin() + 2, node("Transpose", {"u"}, {"t"}, {onnx_ints("perm", {1, 0, 2})}));
  old.graph.nodes.insert(old.graph.nodes.begin() + 3, node("Flatten", {"t"}, {"r"}));
  old.graph.initializers.push_back(onnx_tensor("starts", Tensor(DType::kI64, {1})));
  const OnnxModel after = again(import_onnx(old));
  EXPECT_EQ(after.ir_version, 3);
  for (const OnnxTensor& tensor : after.graph.initializers)
    EXPECT_TRUE(std::any_of(after.graph.inputs.begin(), after.graph.inputs.end(),
                            [&](const OnnxValueInfo& input) { return input.name == tensor.name; }))
        << tensor.name;
}

TEST(OnnxExportSource, InputsThatNobodyReadsStay) {
  OnnxModel model = two_layers();
  model.graph.inputs.insert(model.graph.inputs.begin(), info("unused", {"n", "7"}, OnnxDataType::kInt64));
  const OnnxModel after = again(import_onnx(model));
  ASSERT_EQ(after.graph.inputs.size(), 2u);
  EXPECT_EQ(after.graph.inputs[0].name, "unused");
  EXPECT_EQ(after.graph.inputs[0].type.elem_type, OnnxDataType::kInt64);
}

// The output is now the value before the last node, but callers know its name.
TEST(OnnxExportSource, OutputsKeepTheirNames) {
  OnnxImport imported = import_onnx(two_layers());
  imported.graph.outputs[0] = imported.graph.nodes[1].outputs[0];
  imported.graph.drop_unread_nodes();
  const OnnxModel after = again(imported);
  EXPECT_EQ(after.graph.outputs[0].name, "y");
  EXPECT_EQ(after.graph.outputs[0].type.shape[1].value, 6);
  EXPECT_EQ(after.graph.nodes.back().outputs, Words{"y"});
}

OnnxModel with_opaque(int64_t opset = 17) {
  OnnxModel model = two_layers(opset);
  model.opset_imports = {{"", opset, {}}, {"org.own", 2, {}}};
  OnnxNode own = node("Blur", {"h", "", "factor"}, {"r"}, {onnx_float("strength", 0.5f)});
  own.domain = "org.own";
  own.doc_string = "of ours";
  model.graph.nodes[1] = own;
  model.graph.value_infos.push_back(info("r", {"n", "6"}));
  model.graph.initializers.push_back(weight("factor", {2}));
  return model;
}

TEST(OnnxExportSource, NodesThatAreNotUnderstoodComeBack) {
  const OnnxModel before = with_opaque(), after = again(import_onnx(before));
  ASSERT_EQ(after.graph.nodes.size(), 3u);
  const OnnxNode &a = before.graph.nodes[1], &b = after.graph.nodes[1];
  EXPECT_EQ(b.op_type, "Blur");
  EXPECT_EQ(b.domain, "org.own");
  EXPECT_EQ(b.name, a.name);
  EXPECT_EQ(b.doc_string, "of ours");
  EXPECT_EQ(b.inputs, a.inputs);
  EXPECT_EQ(b.outputs, a.outputs);
  EXPECT_EQ(attribute_float(b, "strength", 0, ""), 0.5f);
  EXPECT_EQ(initializer(after, "factor").data.view, initializer(before, "factor").data.view);
  EXPECT_EQ(opset_version(after.opset_imports, "org.own"), 2);
}

TEST(OnnxExportSource, AnInputThatWasReplacedIsRenamed) {
  OnnxImport imported = import_onnx(with_opaque());
  Graph& graph = imported.graph;
  const ValueId h = graph.nodes[0].outputs[0], other = graph.add_value("other");
  Node relu{"Activation", "new", {h}, {other}, {}, {{"kind", std::string("relu")}}};
  auto opaque = std::find_if(graph.nodes.begin(), graph.nodes.end(), [](const Node& node) { return node.op == "Opaque"; });
  ASSERT_NE(opaque, graph.nodes.end());
  std::replace(opaque->inputs.begin(), opaque->inputs.end(), h, other);
  graph.nodes.insert(opaque, std::move(relu));
  const OnnxModel after = again(imported);
  const auto blur = std::find_if(after.graph.nodes.begin(), after.graph.nodes.end(),
                                 [](const OnnxNode& node) { return node.op_type == "Blur"; });
  EXPECT_EQ(blur->inputs, (Words{"other", "", "factor"}));
}

// Subgraphs read names of the graph around them.
TEST(OnnxExportSource, CapturedNamesStay) {
  OnnxModel model = two_layers();
  OnnxGraph body;
  body.name = "body";
  body.inputs = {info("step", {}, OnnxDataType::kInt64), info("going", {}, OnnxDataType::kBool), info("state", {"n", "6"})};
  body.nodes = {node("Mul", {"state", "b"}, {"next"}), node("Identity", {"going"}, {"still"})};
  body.outputs = {info("still", {}, OnnxDataType::kBool), info("next", {"n", "6"})};
  Tensor trips(DType::kI64, {});
  trips.mutable_as<int64_t>()[0] = 3;
  model.graph.initializers.push_back(onnx_tensor("trips", trips));
  model.graph.nodes[1] = node("Loop", {"trips", "", "h"}, {"r"}, {onnx_graph_attribute("body", body)});
  model.graph.value_infos.push_back(info("r", {"n", "6"}));
  const OnnxImport imported = import_onnx(model);
  const OnnxModel after = again(imported);
  const auto loop = std::find_if(after.graph.nodes.begin(), after.graph.nodes.end(),
                                 [](const OnnxNode& node) { return node.op_type == "Loop"; });
  ASSERT_NE(loop, after.graph.nodes.end());
  const OnnxGraph& written = loop->attributes.at(0).graphs.at(0);
  const std::string& captured = written.nodes[0].inputs[1];
  EXPECT_EQ(to_tensor(initializer(after, captured), "test").to_floats(), to_tensor(model.graph.initializers[1], "test").to_floats());
}

TEST(OnnxExportSource, KeptNodesForbidOtherOperatorSets) {
  OnnxModel model = two_layers(9);
  model.graph.nodes[1] = node("Scatter", {"h", "where", "what"}, {"r"});
  model.graph.inputs.push_back(info("where", {"n", "6"}, OnnxDataType::kInt64));
  model.graph.inputs.push_back(info("what", {"n", "6"}));
  model.graph.value_infos.push_back(info("r", {"n", "6"}));
  ESP_EXPECT_USER_ERROR(again(import_onnx(model)), "operator set of Scatter");
  model.opset_imports[0].version = 13;
  model.graph.nodes[1].op_type = "ScatterElements";
  EXPECT_EQ(opset_version(again(import_onnx(model)).opset_imports, ""), 13);
  ESP_EXPECT_USER_ERROR(again(import_onnx(model), {.opset = 17}), "expected 13, found 17");
  EXPECT_EQ(opset_version(again(import_onnx(two_layers(13)), {.opset = 21}).opset_imports, ""), 21);
}

OnnxFunction function(const std::string& name, std::vector<OnnxNode> nodes) {
  OnnxFunction made;
  made.name = name;
  made.domain = "org.own";
  made.inputs = {"a"};
  made.outputs = {"b"};
  made.nodes = std::move(nodes);
  made.opset_imports = {{"", 17, {}}, {"org.own", 2, {}}, {"org.deep", 1, {}}};
  return made;
}

TEST(OnnxExportSource, FunctionsThatAreCalledStay) {
  OnnxModel model = with_opaque();
  OnnxNode call = node("Inner", {"a"}, {"b"}), deep = node("Deep", {"a"}, {"b"});
  call.domain = "org.own";
  deep.domain = "org.deep";
  model.graph.nodes[1].inputs = {"h"};
  model.functions = {function("Blur", {call}), function("Inner", {deep}), function("Idle", {node("Neg", {"a"}, {"b"})})};
  model.opset_imports.push_back({"org.deep", 1, {}});
  const OnnxModel after = again(import_onnx(model));
  Words names;
  for (const OnnxFunction& kept : after.functions) names.push_back(kept.name);
  // Whether the importer looks into Blur or keeps it, nothing that is called is missing and Idle is gone.
  EXPECT_EQ(std::count(names.begin(), names.end(), "Idle"), 0);
  EXPECT_TRUE(opset_version(after.opset_imports, "org.deep"));
  for (const OnnxNode& made : after.graph.nodes)
    if (made.domain == "org.own") {
      EXPECT_EQ(std::count(names.begin(), names.end(), made.op_type), 1) << made.op_type;
    }
}

TEST(OnnxExportSource, TheFileItselfMayBeReplaced) {
  const test::TempDir dir;
  write_onnx(two_layers(), dir / "model.onnx", {.external_data = OnnxExternalData::kAlways, .min_external_bytes = 1});
  OnnxImport imported = import_onnx(dir / "model.onnx");
  imported.graph.parameter("v").cut(0, {0, 2});
  write_onnx_model(imported.graph, imported.input_shapes, imported.source.get(), dir / "model.onnx", {}, {.min_external_bytes = 1});
  const OnnxImport found = import_onnx(dir / "model.onnx");
  EXPECT_EQ(initializer(found.source->model, "v").storage, OnnxStorage::kExternal);
  EXPECT_EQ(found.graph.parameter("v").shape(), (Shape{2, 6}));
  EXPECT_EQ(found.graph.parameter("w").load().to_floats(), imported.graph.parameter("w").load().to_floats());
}

}  // namespace
}  // namespace espalier::export_source_test
