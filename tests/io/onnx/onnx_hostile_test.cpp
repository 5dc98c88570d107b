// One named test for each malformed file that the reader must survive: the bytes and the graph.
#include <gtest/gtest.h>

#include <chrono>

#include "tests/io/onnx/onnx_bytes.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace pb = test::pb;

using pb::load;
using pb::model;
using pb::model_of;
using pb::node;

const pb::Parts kGood{{node("Relu", {"x"}, {"y"})}};

TEST(OnnxHostile, TruncatedProtobuf) {
  const std::string good = pb::with_tensor(pb::tensor("w", pb::kFloat, {2, 2}, pb::floats(4)));
  ASSERT_NO_THROW(load(good));
  for (size_t length = 0; length < good.size(); ++length)
    EXPECT_THROW(load(std::string_view(good).substr(0, length)), UserError) << length;
}

TEST(OnnxHostile, EmptyFile) { ESP_EXPECT_USER_ERROR(load(""), "m.onnx: graph: expected one, found none"); }

TEST(OnnxHostile, FieldLargerThanTheFile) {
  ESP_EXPECT_USER_ERROR(load(pb::number(1, 8) + pb::varint(7 << 3 | 2) + pb::varint(1000) + "abc"),
                        "1000 bytes wanted at byte 5, the end is at 8");
  ESP_EXPECT_USER_ERROR(load(pb::varint(7 << 3 | 2) + pb::varint(UINT64_MAX)), "18446744073709551615 bytes wanted");
}

TEST(OnnxHostile, FieldLargerThanItsMessage) {
  const std::string node_message = pb::varint(1 << 3 | 2) + pb::varint(50) + "x";
  ESP_EXPECT_USER_ERROR(load(model_of(pb::bytes(1, node_message))), "50 bytes wanted");
}

TEST(OnnxHostile, GroupsAndUnknownWireTypes) {
  for (int wire : {3, 4, 6, 7})
    ESP_EXPECT_USER_ERROR(load(model(kGood) + pb::varint(static_cast<uint64_t>(99 << 3 | wire))), "protobuf wire type");
}

TEST(OnnxHostile, FieldNumberZero) { ESP_EXPECT_USER_ERROR(load(pb::varint(2) + pb::varint(0)), "field number 0"); }

TEST(OnnxHostile, FieldOfAnotherWireType) {
  ESP_EXPECT_USER_ERROR(load(pb::number(7, 1)), "m.onnx: protobuf field 7 at byte 0: expected wire type 2, found 0");
}

TEST(OnnxHostile, NumberOfElevenBytes) {
  ESP_EXPECT_USER_ERROR(load(pb::varint(8) + std::string(11, '\xff')), "more than ten bytes");
}

TEST(OnnxHostile, FieldTwiceThatMayStandOnce) {
  ESP_EXPECT_USER_ERROR(load(model(kGood) + pb::bytes(7, pb::graph(kGood))),
                        "field 7: expected it once, found it twice");
}

TEST(OnnxHostile, NestingOf100000Graphs) {
  // Made from the inside out would take quadratic time: the heads go in front, from the outermost on.
  std::vector<std::string> heads;
  size_t size = 0;
  for (int level = 0; level < 100'000; ++level) {
    const auto wrap = [&](uint64_t field) {
      heads.push_back(pb::varint(field << 3 | 2) + pb::varint(size));
      size += heads.back().size();
    };
    for (uint64_t field : {6, 5, 1}) wrap(field);
  }
  std::string graph;
  for (auto head = heads.rbegin(); head != heads.rend(); ++head) graph += *head;
  ESP_EXPECT_USER_ERROR(load(model_of(graph)), "nesting: expected at most 100 messages in each other, found more");
}

TEST(OnnxHostile, MillionsOfTinyFields) {
  std::string fields;
  for (int i = 0; i < 4'000'001; ++i) fields += "\x78\x01";  // field 15, a number
  ESP_EXPECT_USER_ERROR(load(model(kGood) + fields), "more than 4000000 messages and strings");
}

TEST(OnnxHostile, Cycle) {
  const std::string file = model({{node("Add", {"x", "c"}, {"a"}, "", "add"), node("Neg", {"a"}, {"b"}),
                                   node("Abs", {"b"}, {"c"}), node("Relu", {"a"}, {"y"})}});
  ESP_EXPECT_USER_ERROR(load(file),
                        "m.onnx: graph 'g': expected a graph without cycles, found node 'add' (Add) -> node 1 (Neg) -> "
                        "node 2 (Abs) -> node 'add' (Add)");
}

TEST(OnnxHostile, NodeThatReadsItself) {
  ESP_EXPECT_USER_ERROR(load(model({{node("Add", {"x", "y"}, {"y"})}})), "found node 0 (Add) -> node 0 (Add)");
}

TEST(OnnxHostile, CycleThroughASubgraph) {
  const std::string inner = pb::graph({{node("Neg", {"later"}, {"t"})}, {}, {}, {"t"}}, "inner");
  const std::string file =
      model({{node("If", {"x"}, {"y"}, pb::subgraph("then_branch", inner)), node("Neg", {"y"}, {"later"})}});
  ESP_EXPECT_USER_ERROR(load(file), "graph 'g': expected a graph without cycles, found node 0 (If) -> node 1 (Neg)");
}

TEST(OnnxHostile, CycleOf100000Nodes) {
  pb::Parts parts{{node("Add", {"x", "v99999"}, {"v0"})}};
  for (int i = 1; i < 100'000; ++i)
    parts.nodes.push_back(node("Neg", {fmt::format("v{}", i - 1)}, {fmt::format("v{}", i)}));
  parts.outputs = {"v5"};
  const auto start = std::chrono::steady_clock::now();
  ESP_EXPECT_USER_ERROR(load(model(parts)), "node 7 (Neg) -> 99992 more -> node 0 (Add)");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST(OnnxHostile, NodesInTheWrongOrder) {
  ESP_EXPECT_USER_ERROR(
      load(model({{node("Neg", {"h"}, {"y"}), node("Abs", {"x"}, {"h"}, "", "abs")}})),
      "node 0 (Neg) reads 'h', which only the later node 'abs' (Abs) produces: expected nodes in topological order");
}

TEST(OnnxHostile, UndefinedName) {
  ESP_EXPECT_USER_ERROR(
      load(model({{node("Neg", {"nowhere"}, {"y"}, "", "n")}})),
      "m.onnx: graph 'g': node 'n' (Neg): input 'nowhere': expected the name of an input, an initialiser or "
      "a node's output, found a name that nothing produces");
}

TEST(OnnxHostile, UndefinedNameInASubgraph) {
  const std::string inner = pb::graph({{node("Neg", {"nowhere"}, {"t"})}, {}, {}, {"t"}}, "inner");
  ESP_EXPECT_USER_ERROR(load(model({{node("If", {"x"}, {"y"}, pb::subgraph("then_branch", inner))}})),
                        "graph 'inner': node 0 (Neg): input 'nowhere'");
}

TEST(OnnxHostile, NamesOfASubgraphAreNotSeenOutside) {
  const std::string inner = pb::graph({{node("Neg", {"x"}, {"t"})}, {}, {}, {"t"}}, "inner");
  ESP_EXPECT_USER_ERROR(
      load(model({{node("If", {"x"}, {"h"}, pb::subgraph("then_branch", inner)), node("Neg", {"t"}, {"y"})}})),
      "input 't'");
}

TEST(OnnxHostile, TwoProducersOfOneName) {
  ESP_EXPECT_USER_ERROR(
      load(model({{node("Neg", {"x"}, {"y"}, "", "n"), node("Abs", {"x"}, {"y"})}})),
      "node 1 (Abs): output 'y': expected a name that nothing else produces, found another producer, node 'n' (Neg)");
  ESP_EXPECT_USER_ERROR(load(model({{node("Neg", {"x"}, {"x"})}})), "another producer, an input of the graph");
  const std::string inner = pb::graph({{node("Neg", {"x"}, {"h"})}, {}, {}, {"h"}}, "inner");
  ESP_EXPECT_USER_ERROR(
      load(model({{node("Neg", {"x"}, {"h"}), node("If", {"x"}, {"y"}, pb::subgraph("then_branch", inner))}})),
      "the same name in an outer graph");
}

TEST(OnnxHostile, DuplicateInitialiser) {
  const std::string w = pb::tensor("w", pb::kFloat, {1}, pb::floats(1));
  ESP_EXPECT_USER_ERROR(load(model({{node("Relu", {"x"}, {"y"})}, {w, w}})),
                        "initializer 'w': expected it once, found it twice");
}

TEST(OnnxHostile, InitialiserWithoutAName) {
  ESP_EXPECT_USER_ERROR(load(pb::with_tensor(pb::tensor("", pb::kFloat, {1}, pb::floats(1)))),
                        "initializer: expected a name, found none");
}

TEST(OnnxHostile, InputTwice) {
  ESP_EXPECT_USER_ERROR(load(model({{node("Relu", {"x"}, {"y"})}, {}, {"x", "x"}})),
                        "input 'x': expected it once, found it twice");
}

TEST(OnnxHostile, OutputThatNothingProduces) {
  ESP_EXPECT_USER_ERROR(load(model({{node("Relu", {"x"}, {"y"})}, {}, {"x"}, {"z"}})),
                        "output 'z': expected a name that the graph defines");
}

TEST(OnnxHostile, OpsetMissing) {
  ESP_EXPECT_USER_ERROR(load(model_of(pb::graph(kGood), "")),
                        "m.onnx: opset_import: expected at least one, found none");
}

TEST(OnnxHostile, OpsetOfTheFutureAndOfThePast) {
  ESP_EXPECT_USER_ERROR(load(model_of(pb::graph(kGood), pb::opset("", 22))),
                        "opset_import 'ai.onnx': expected a version from 9 to 21, found 22");
  ESP_EXPECT_USER_ERROR(load(model_of(pb::graph(kGood), pb::opset("", 8))), "found 8");
  ESP_EXPECT_USER_ERROR(load(model_of(pb::graph(kGood), pb::opset("ai.onnx", -1))), "found -1");
  for (int version : {9, 11, 21}) EXPECT_NO_THROW(load(model_of(pb::graph(kGood), pb::opset("", version))));
}

TEST(OnnxHostile, OpsetTwice) {
  ESP_EXPECT_USER_ERROR(load(model_of(pb::graph(kGood), pb::opset("", 17) + pb::opset("ai.onnx", 18))),
                        "opset_import 'ai.onnx': expected it once, found it twice");
}

TEST(OnnxHostile, IrVersionMissingAndOfTheFuture) {
  ESP_EXPECT_USER_ERROR(load(pb::bytes(7, pb::graph(kGood)) + pb::opset("", 17)),
                        "ir_version: expected 3 to 14, found 0");
  ESP_EXPECT_USER_ERROR(load(model_of(pb::graph(kGood), pb::opset("", 17), 15)), "found 15");
}

TEST(OnnxHostile, DomainThatIsNotImported) {
  ESP_EXPECT_USER_ERROR(load(model({{node("Mine", {"x"}, {"y"}, pb::bytes(7, "my.own"))}})),
                        "node 0 (Mine): domain: expected one with an opset_import, found 'my.own'");
}

TEST(OnnxHostile, NodeWithoutAnOperator) {
  ESP_EXPECT_USER_ERROR(load(model({{pb::bytes(1, "x") + pb::bytes(2, "y")}})),
                        "op_type: expected the name of an operator");
}

TEST(OnnxHostile, AttributeTwice) {
  const std::string axis = pb::attribute("axis", 2, pb::number(3, 1));
  ESP_EXPECT_USER_ERROR(load(model({{node("Softmax", {"x"}, {"y"}, axis + axis)}})),
                        "attribute 'axis': expected it once, found it twice");
}

TEST(OnnxHostile, AttributeWithAnotherValueThanItsType) {
  ESP_EXPECT_USER_ERROR(load(model({{node("Op", {"x"}, {"y"}, pb::attribute("a", 2, pb::single(2, 1)))}})),
                        "attribute 'a': value: expected field 3 for the type INT, found field 2");
  ESP_EXPECT_USER_ERROR(load(model({{node("Op", {"x"}, {"y"}, pb::attribute("a", 15, ""))}})),
                        "type: expected 1 (FLOAT)");
  ESP_EXPECT_USER_ERROR(load(model({{node("Op", {"x"}, {"y"}, pb::attribute("a", 4, ""))}})),
                        "value: expected TENSOR, found none");
}

TEST(OnnxHostile, ReferenceToAnAttributeOutsideOfAFunction) {
  const std::string reference = pb::bytes(5, pb::bytes(1, "a") + pb::number(20, 2) + pb::bytes(21, "b"));
  ESP_EXPECT_USER_ERROR(load(model({{node("Op", {"x"}, {"y"}, reference)}})),
                        "ref_attr_name 'b' outside of a function");
}

std::string function(const std::string& name, const std::string& body, const std::string& attributes = "") {
  return pb::bytes(25, pb::bytes(1, name) + pb::bytes(4, "a") + pb::bytes(5, "b") + attributes + body +
                           pb::bytes(9, pb::bytes(1, "") + pb::number(2, 17)) +
                           pb::bytes(9, pb::bytes(1, "f") + pb::number(2, 1)) + pb::bytes(10, "f"));
}
std::string call(const std::string& name, const std::string& input, const std::string& output) {
  return node(name, {input}, {output}, pb::bytes(7, "f"));
}
std::string with_functions(const std::string& functions) {
  return model_of(pb::graph({{call("F", "x", "y")}}), pb::opset("", 17) + pb::opset("f", 1) + functions);
}

TEST(OnnxHostile, FunctionsThatCallEachOther) {
  ASSERT_NO_THROW(load(with_functions(function("F", pb::bytes(7, call("G", "a", "b"))) +
                                      function("G", pb::bytes(7, node("Neg", {"a"}, {"b"}))))));
  ESP_EXPECT_USER_ERROR(load(with_functions(function("F", pb::bytes(7, call("G", "a", "b"))) +
                                            function("G", pb::bytes(7, call("F", "a", "b"))))),
                        "functions that do not call themselves, found a circle of 2");
}

TEST(OnnxHostile, FunctionBodies) {
  const std::string good = pb::bytes(7, node("Neg", {"a"}, {"b"}));
  ESP_EXPECT_USER_ERROR(load(with_functions(function("F", good) + function("F", good))),
                        "function 'F': expected it once, found it twice");
  ESP_EXPECT_USER_ERROR(load(with_functions(function("F", pb::bytes(7, node("Neg", {"x"}, {"b"}))))),
                        "function 'F': node 0 (Neg): input 'x'");
  ESP_EXPECT_USER_ERROR(load(with_functions(function("F", pb::bytes(7, node("Neg", {"a"}, {"c"}))))), "output 'b'");
  const std::string reference = pb::bytes(5, pb::bytes(1, "a") + pb::number(20, 2) + pb::bytes(21, "k"));
  const std::string body = pb::bytes(7, node("Op", {"a"}, {"b"}, reference));
  ESP_EXPECT_USER_ERROR(load(with_functions(function("F", body))),
                        "the name of one of the function's attributes, found ref_attr_name 'k'");
  EXPECT_NO_THROW(load(with_functions(function("F", body, pb::bytes(6, "k")))));
}

TEST(OnnxHostile, ShapesOfValues) {
  const auto with_value = [](const std::string& dims) {
    return model({{node("Relu", {"x"}, {"y"})}, {}, {"x"}, {"y"}, pb::bytes(13, pb::value("v", pb::kFloat, dims))});
  };
  ESP_EXPECT_USER_ERROR(load(with_value(pb::dim(-2))), "value 'v': shape: expected sizes of at least 0, found -2");
  ESP_EXPECT_USER_ERROR(load(with_value(pb::dim(int64_t{1} << 62) + pb::dim("n") + pb::dim(4))),
                        "value 'v': shape: expected a product below 2^63");
  ESP_EXPECT_USER_ERROR(load(with_value(pb::bytes(1, pb::number(1, 2) + pb::bytes(2, "n")))),
                        "expected a number or a name, found both");
}

TEST(OnnxHostile, NamesAreShownSafely) {
  ESP_EXPECT_USER_ERROR(load(model({{node("Neg", {"a\nb\x1b[2J"}, {"y"})}})), "input '");
}

}  // namespace
}  // namespace espalier
