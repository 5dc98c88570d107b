// Small networks, by hand, with everything in them that couples channels.
#pragma once

#include "tests/graph/test_graph.h"

namespace espalier::test {

using List = std::vector<int64_t>;

class Network : public TestGraph {
 public:
  std::string conv(const std::string& x, const std::string& name, Shape weight, int64_t group = 1, int64_t stride = 1) {
    const int64_t pad = weight[2] / 2, out = weight[0];
    param(name + ".w", std::move(weight));
    param(name + ".b", {out});
    node("Conv", {x}, {name}, {{"weight", name + ".w"}, {"bias", name + ".b"}},
         {{"group", group}, {"strides", List{stride, stride}}, {"pads", List{pad, pad, pad, pad}}});
    return name;
  }
  std::string batch_norm(const std::string& x, int64_t channels) {
    const std::string name = x + ".bn";
    for (const char* role : {".scale.weight", ".bias", ".mean", ".var.weight"}) param(name + role, {channels});
    node("BatchNorm", {x}, {name},
         {{"weight", name + ".scale.weight"},
          {"bias", name + ".bias"},
          {"mean", name + ".mean"},
          {"var", name + ".var.weight"}},
         {{"epsilon", 1e-5}});
    return name;
  }
  std::string activation(const std::string& x, const std::string& kind) {
    node("Activation", {x}, {x + "." + kind}, {}, {{"kind", kind}});
    return x + "." + kind;
  }
  std::string linear(const std::string& x, const std::string& name, int64_t out, int64_t in) {
    param(name + ".w", {out, in});
    param(name + ".b", {out});
    node("Linear", {x}, {name}, {{"weight", name + ".w"}, {"bias", name + ".b"}});
    return name;
  }
  std::string layer_norm(const std::string& x, int64_t width) {
    const std::string name = x + ".ln";
    param(name + ".weight", {width});
    param(name + ".bias", {width});
    node("LayerNorm", {x}, {name}, {{"weight", name + ".weight"}, {"bias", name + ".bias"}}, {{"epsilon", 1e-5}});
    return name;
  }
  std::string constant(const std::string& name, Shape shape) {
    param(name + ".value", std::move(shape));
    node("Constant", {}, {name}, {{"value", name + ".value"}});
    return name;
  }
  std::string layout(const std::string& op, const std::string& x, const std::string& name, const std::string& key,
                     List value) {
    node(op, {x}, {name}, {}, {{key, std::move(value)}});
    return name;
  }
  std::string add(const std::string& a, const std::string& b, const std::string& name) {
    node("Add", {a, b}, {name});
    return name;
  }
  // Pooled, flattened and classified.
  void head(const std::string& x, int64_t channels) {
    node("GlobalAveragePool", {x}, {"pooled"});
    node("Flatten", {"pooled"}, {"features"});
    output(linear("features", "classes", 5, channels));
    infer();
  }
};

inline Network residual_network() {
  Network n;
  n.input("x", {2, 3, 8, 8});
  const std::string stem = n.activation(n.batch_norm(n.conv("x", "stem", {10, 3, 3, 3}), 10), "relu");
  const std::string inner = n.activation(n.batch_norm(n.conv(stem, "c1", {12, 10, 3, 3}), 12), "relu");
  n.head(n.add(n.batch_norm(n.conv(inner, "c2", {10, 12, 3, 3}), 10), stem, "sum"), 10);
  return n;
}

inline Network depthwise_network() {
  Network n;
  n.input("x", {2, 3, 8, 8});
  const std::string a = n.activation(n.batch_norm(n.conv("x", "expand", {10, 3, 1, 1}), 10), "hardswish");
  const std::string b = n.activation(n.batch_norm(n.conv(a, "depthwise", {10, 1, 3, 3}, 10, 2), 10), "silu");
  const std::string c = n.conv(b, "project", {10, 10, 1, 1});
  const std::string d = n.activation(n.conv(c, "multiplier", {20, 1, 3, 3}, 10), "relu");
  n.head(n.conv(d, "last", {6, 20, 1, 1}), 6);
  return n;
}

inline Network grouped_network() {
  Network n;
  n.input("x", {2, 3, 6, 6});
  const std::string a = n.activation(n.conv("x", "stem", {12, 3, 3, 3}), "relu");
  const std::string b = n.activation(n.conv(a, "grouped", {15, 4, 3, 3}, 3), "gelu");
  n.head(n.conv(b, "last", {8, 15, 1, 1}), 8);
  return n;
}

inline Network group_norm_network() {
  Network n;
  n.input("x", {2, 3, 6, 6});
  n.conv("x", "stem", {12, 3, 3, 3});
  n.param("gn.weight", {12});
  n.param("gn.bias", {12});
  n.node("GroupNorm", {"stem"}, {"gn"}, {{"weight", "gn.weight"}, {"bias", "gn.bias"}},
         {{"num_groups", int64_t{3}}, {"epsilon", 1e-5}});
  n.head(n.conv(n.activation("gn", "relu"), "last", {8, 12, 1, 1}), 8);
  return n;
}

// Two branches side by side, padding and a slice of the channels, positions flattened into features.
inline Network concat_network() {
  Network n;
  n.input("x", {2, 3, 8, 8});
  const std::string a = n.activation(n.conv("x", "a", {7, 3, 3, 3}), "relu");
  const std::string b = n.activation(n.conv("x", "b", {5, 3, 1, 1}), "sigmoid");
  n.node("Concat", {a, b, "x"}, {"joined"}, {}, {{"axis", int64_t{1}}});
  n.node("MaxPool", {"joined"}, {"pooled"}, {}, {{"kernel_shape", List{2, 2}}, {"strides", List{2, 2}}});
  n.layout("Pad", "pooled", "padded", "pads", {0, 1, 0, 0, 0, 2, 0, 0});
  const std::string c = n.activation(n.conv("padded", "c", {10, 18, 1, 1}), "relu");
  n.node("Slice", {c}, {"sliced"}, {},
         {{"axes", List{1}}, {"starts", List{1}}, {"ends", List{10}}, {"steps", List{2}}});
  n.node("Gather", {c}, {"gathered"}, {}, {{"axis", int64_t{1}}, {"indices", List{9, 0, -3, 4}}});
  n.node("Concat", {"sliced", "gathered"}, {"picked"}, {}, {{"axis", int64_t{1}}});
  n.node("Split", {"picked"}, {"left", "right"}, {}, {{"axis", int64_t{1}}, {"sizes", List{4, 5}}});
  n.node("Concat", {"right", "left"}, {"swapped"}, {}, {{"axis", int64_t{1}}});
  n.conv("swapped", "d", {6, 9, 1, 1});
  n.node("Flatten", {"d"}, {"features"});
  n.output(n.linear("features", "classes", 5, 96));
  n.infer();
  return n;
}

inline std::string shuffle(Network& n, const std::string& x, const std::string& name, Shape shape, int64_t groups) {
  const int64_t channels = shape[1];
  n.layout("Reshape", x, name + ".apart", "shape", {shape[0], groups, channels / groups, shape[2], shape[3]});
  n.layout("Transpose", name + ".apart", name + ".swapped", "perm", {0, 2, 1, 3, 4});
  return n.layout("Reshape", name + ".swapped", name, "shape", {shape[0], channels, shape[2], shape[3]});
}

// A shuffle between plain convolutions, and one before a grouped one.
inline Network shuffle_network() {
  Network n;
  n.input("x", {2, 3, 4, 4});
  const std::string a = n.activation(n.conv("x", "a", {12, 3, 1, 1}), "relu");
  const std::string b = n.conv(shuffle(n, a, "shuffle1", {2, 12, 4, 4}, 3), "b", {12, 12, 1, 1});
  const std::string c = n.conv(shuffle(n, b, "shuffle2", {2, 12, 4, 4}, 2), "c", {16, 6, 1, 1}, 2);
  n.head(n.conv(n.activation(c, "relu"), "d", {6, 16, 1, 1}), 6);
  return n;
}

inline Network gated_network() {
  Network n;
  n.input("x", {2, 3, 6, 6});
  const std::string a = n.activation(n.batch_norm(n.conv("x", "a", {12, 3, 3, 3}), 12), "silu");
  n.layout("ReduceMean", a, "squeezed", "axes", {2, 3});
  const std::string s = n.activation(n.conv("squeezed", "reduce", {10, 12, 1, 1}), "relu");
  const std::string gate = n.activation(n.conv(s, "restore", {12, 10, 1, 1}), "hardsigmoid");
  n.node("Mul", {a, gate}, {"gated"});
  n.node("Mul", {"gated", n.constant("scale", {12, 1, 1})}, {"scaled"});
  n.head(n.conv("scaled", "last", {8, 12, 1, 1}), 8);
  return n;
}

inline Network upsampling_network() {
  Network n;
  n.input("x", {2, 3, 6, 6});
  n.conv("x", "a", {10, 3, 3, 3}, 1, 2);
  n.param("slope", {10, 1, 1});
  n.node("PRelu", {"a"}, {"p"}, {{"slope", "slope"}});
  n.param("up.w", {10, 12, 2, 2});
  n.param("up.b", {12});
  n.node("ConvTranspose", {"p"}, {"up"}, {{"weight", "up.w"}, {"bias", "up.b"}}, {{"strides", List{2, 2}}});
  n.param("in.weight", {12});
  n.param("in.bias", {12});
  n.node("InstanceNorm", {"up"}, {"in"}, {{"weight", "in.weight"}, {"bias", "in.bias"}}, {{"epsilon", 1e-5}});
  n.param("group.w", {12, 5, 3, 3});
  n.param("group.b", {10});
  n.node("ConvTranspose", {"in"}, {"group"}, {{"weight", "group.w"}, {"bias", "group.b"}},
         {{"group", int64_t{2}}, {"pads", List{1, 1, 1, 1}}});
  n.node("Resize", {"group"}, {"larger"}, {}, {{"scales", std::vector<double>{2, 2}}, {"mode", std::string("linear")}});
  n.node("AveragePool", {"larger"}, {"mean"}, {}, {{"kernel_shape", List{3, 3}}, {"pads", List{1, 1, 1, 1}}});
  n.head("mean", 10);
  return n;
}

// A vision transformer's block as exporters write it: packed projections, heads by Reshape and Transpose.
inline Network attention_network() {
  Network n;
  n.input("x", {2, 6, 4});
  n.linear("x", "embed", 16, 4);
  n.add("embed", n.constant("positions", {1, 6, 16}), "tokens");
  n.linear(n.layer_norm("tokens", 16), "qkv", 48, 16);
  n.layout("Reshape", "qkv", "parts", "shape", {2, 6, 3, 4, 4});
  n.layout("Transpose", "parts", "moved", "perm", {2, 0, 3, 1, 4});
  for (int64_t i = 0; i < 3; ++i)
    n.node("Gather", {"moved"}, {std::string(1, "qkv"[i])}, {},
           {{"axis", int64_t{0}}, {"indices", List{i}}, {"scalar", true}});
  n.layout("Transpose", "k", "kt", "perm", {0, 1, 3, 2});
  n.node("MatMul", {"q", "kt"}, {"scores"});
  n.node("Softmax", {"scores"}, {"shares"});
  n.node("MatMul", {"shares", "v"}, {"mixed"});
  n.layout("Transpose", "mixed", "back", "perm", {0, 2, 1, 3});
  n.layout("Reshape", "back", "joined", "shape", {2, 6, 16});
  n.add(n.linear("joined", "project", 16, 16), "tokens", "h1");
  n.linear(n.activation(n.linear(n.layer_norm("h1", 16), "up", 20, 16), "gelu"), "down", 16, 20);
  n.add("down", "h1", "h2");
  n.node("ReduceMean", {n.layer_norm("h2", 16)}, {"mean"}, {}, {{"axes", List{1}}, {"keepdims", false}});
  n.output(n.linear("mean", "classes", 5, 16));
  n.infer();
  return n;
}

// Two query heads for each of four K/V heads, which are repeated by Unsqueeze, Expand and Reshape.
inline Network grouped_query_network() {
  Network n;
  n.input("x", {2, 5, 6});
  n.linear("x", "q", 24, 6);
  n.linear("x", "k", 12, 6);
  n.linear("x", "v", 12, 6);
  n.layout("Transpose", n.layout("Reshape", "q", "q4", "shape", {2, 5, 8, 3}), "qt", "perm", {0, 2, 1, 3});
  for (const std::string side : {"k", "v"}) {
    n.layout("Transpose", n.layout("Reshape", side, side + "4", "shape", {2, 5, 4, 3}), side + "t", "perm",
             {0, 2, 1, 3});
    n.layout("Unsqueeze", side + "t", side + "5", "axes", {2});
    n.layout("Expand", side + "5", side + "e", "shape", {2, 4, 2, 5, 3});
    n.layout("Reshape", side + "e", side + "r", "shape", {2, 8, 5, 3});
  }
  n.layout("Transpose", "kr", "krt", "perm", {0, 1, 3, 2});
  n.node("MatMul", {"qt", "krt"}, {"scores"});
  n.node("Softmax", {"scores"}, {"shares"});
  n.node("MatMul", {"shares", "vr"}, {"mixed"});
  n.layout("Reshape", n.layout("Transpose", "mixed", "back", "perm", {0, 2, 1, 3}), "joined", "shape", {2, 5, -1});
  n.output(n.linear("joined", "project", 6, 24));
  n.infer();
  return n;
}

}  // namespace espalier::test
