// Every operator of the engine over random shapes, attributes and types, against the laboratory's interpreter.
#include <gtest/gtest.h>

#include "espalier/core/rng.h"
#include "espalier/engine/graph_runner.h"
#include "espalier/graph/ops/activation_kinds.h"
#include "tests/graph/test_graph.h"
#include "tests/lab/engine/against_interpreter.h"
#include "tests/support.h"

namespace espalier::test {
namespace {

using List = std::vector<int64_t>;
using Attributes = std::map<std::string, Attribute>;

// One graph: x (maybe moved to another arrangement by a Transpose first), the node, and what it gives.
class Case {
 public:
  Case(uint64_t seed, const std::string& what) : rng(seed, what), what_(fmt::format("{} seed {}", what, seed)) {}

  int64_t between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(rng.below(static_cast<uint64_t>(high - low + 1)));
  }
  bool coin() { return rng.below(2) == 0; }
  template <typename T>
  T one_of(std::vector<T> items) {
    return items[rng.below(items.size())];
  }
  Shape shape(int64_t least, int64_t most) {
    Shape dims(static_cast<size_t>(between(least, most)));
    for (int64_t& dim : dims) dim = between(1, 6);
    return dims;
  }

  // A value of this shape whose elements do not always lie in order.
  std::string value(const Shape& wanted, DType type = DType::kF32) {
    const std::string name = fmt::format("x{}", graph.graph.inputs.size());
    types.push_back(type);
    if (wanted.size() < 2 || coin()) {
      graph.input(name, wanted);
      return name;
    }
    List perm(wanted.size());
    std::iota(perm.begin(), perm.end(), int64_t{0});
    rng.shuffle(perm);
    Shape before(wanted.size());
    for (size_t d = 0; d < perm.size(); ++d) before[static_cast<size_t>(perm[d])] = wanted[d];
    graph.input(name, before);
    graph.node("Transpose", {name}, {name + ".t"}, {}, {{"perm", perm}});
    return name + ".t";
  }
  // A picture: as it is, or channels last because a convolution gave it.
  std::string picture(const Shape& wanted) {
    if (coin()) return value(wanted);
    const std::string x = value(wanted);
    Shape weight{wanted[1], wanted[1]};
    weight.resize(wanted.size(), 1);
    graph.param("mix.w", weight);
    graph.node("Conv", {x}, {"mixed"}, {{"weight", "mix.w"}});
    return "mixed";
  }
  void node(const std::string& op, const std::vector<std::string>& in, Attributes attributes = {},
            const std::map<std::string, Shape>& params = {}, size_t outputs = 1) {
    std::map<std::string, std::string> roles;
    for (const auto& [role, dims] : params) {
      const std::string name = role == "var"                          ? "var.running_var"
                               : role == "weight" && dims.size() == 1 ? "norm.weight"
                                                                      : "p." + role;
      graph.param(name, dims);
      roles[role] = name;
    }
    std::vector<std::string> out;
    for (size_t i = 0; i < outputs; ++i) out.push_back(fmt::format("y{}", i));
    graph.node(op, in, out, roles, std::move(attributes));
    for (const auto& name : out) graph.output(name);
  }
  void check(double tolerance = 2e-5) {
    graph.infer();
    expect_same_as_interpreter(graph.graph, types, rng, what_, tolerance, low, high);
  }

  Rng rng;
  TestGraph graph;
  std::vector<DType> types;
  double low = -3, high = 3;

 private:
  std::string what_;
};

constexpr uint64_t kSeeds = 60;

template <typename Fn>
void each_seed(const std::string& what, const Fn& fn) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    Case c(seed, what);
    fn(c);
    if (::testing::Test::HasFailure()) return;
  }
}

TEST(GraphOperators, Activations) {
  for (const auto kind : kActivationKinds)
    for (uint64_t seed = 0; seed < 6; ++seed) {
      Case c(seed, std::string(kind));
      const std::string name(kind);
      if (name == "log" || name == "sqrt" || name == "reciprocal") c.low = 0.1;
      Attributes attributes{{"kind", name}};
      if (c.coin() && (name == "leaky_relu" || name == "elu" || name == "celu" || name == "hardsigmoid"))
        attributes["alpha"] = 0.3;
      if (name == "clip" && c.coin()) attributes["min"] = -1.0;
      if (name == "clip" && c.coin()) attributes["max"] = 1.5;
      if (name == "clip" && attributes.size() == 1) attributes["max"] = 2.0;
      c.node("Activation", {c.value(c.shape(1, 4))}, attributes);
      c.check();
    }
}

TEST(GraphOperators, ActivationsOfIntegersAndTruths) {
  for (const std::string kind : {"relu", "abs", "neg", "sign", "floor", "exp", "sigmoid", "clip", "not"})
    each_seed(kind, [&](Case& c) {
      Attributes attributes{{"kind", kind}};
      if (kind == "clip") attributes["min"] = -0.5;
      c.node("Activation",
             {c.value(c.shape(1, 3), kind == "not" ? c.one_of<DType>({DType::kI64, DType::kBool}) : DType::kI64)},
             attributes);
      c.check();
    });
}

// Shapes that broadcast to one shape, one of which is that shape.
std::vector<Shape> broadcasting(Case& c, size_t count) {
  const Shape whole = c.shape(1, 4);
  std::vector<Shape> shapes(count, whole);
  for (size_t i = 1; i < count; ++i) {
    for (int64_t& dim : shapes[i])
      if (c.rng.below(3) == 0) dim = 1;
    shapes[i].erase(shapes[i].begin(), shapes[i].begin() + c.between(0, std::ssize(whole) - 1));
  }
  c.rng.shuffle(shapes);
  return shapes;
}

TEST(GraphOperators, Arithmetic) {
  for (const std::string op : {"Add", "Sub", "Mul", "Div", "Min", "Max", "Pow"})
    each_seed(op, [&](Case& c) {
      const auto shapes = broadcasting(c, 2);
      const std::vector<DType> kinds = op == "Sub" || op == "Pow"
                                           ? std::vector<DType>{DType::kF32, DType::kI64}
                                           : std::vector<DType>{DType::kF32, DType::kI64, DType::kBool};
      DType a = c.one_of(kinds), b = c.one_of(kinds);
      if (op == "Div") b = DType::kF32, c.low = 0.5;
      if (op == "Pow") a = b = DType::kF32, c.low = 0.2;
      c.node(op, {c.value(shapes[0], a), c.value(shapes[1], b)});
      c.check();
    });
}

TEST(GraphOperators, PowersByConstants) {
  for (double exponent : {2.0, 0.5, 3.0, -1.0})
    each_seed("constant power", [&](Case& c) {
      c.low = 0.2;
      const std::string x = c.value(c.shape(1, 3));
      c.graph.node("Constant", {}, {"e"}, {}, {{"shape", List{}}, {"values", std::vector<double>{exponent}}});
      c.node("Pow", {x, "e"});
      c.check();
    });
}

TEST(GraphOperators, ComparisonsAndChoices) {
  for (const std::string kind : {"equal", "less", "less_or_equal", "greater", "greater_or_equal", "and", "or", "xor"})
    each_seed(kind, [&](Case& c) {
      const auto shapes = broadcasting(c, 2);
      const std::vector<DType> kinds{DType::kF32, DType::kI64, DType::kBool};
      c.node("Compare", {c.value(shapes[0], c.one_of(kinds)), c.value(shapes[1], c.one_of(kinds))}, {{"kind", kind}});
      c.check();
    });
  each_seed("where", [&](Case& c) {
    const auto shapes = broadcasting(c, 3);
    const DType type = c.one_of<DType>({DType::kF32, DType::kI64});
    c.node("Where", {c.value(shapes[0], c.one_of<DType>({DType::kBool, DType::kF32})), c.value(shapes[1], type),
                     c.value(shapes[2], type)});
    c.check();
  });
}

TEST(GraphOperators, PReluAndGate) {
  each_seed("prelu", [](Case& c) {
    const Shape x{c.between(1, 3), c.between(1, 5), c.between(1, 4), c.between(1, 4)};
    c.node("PRelu", {c.picture(x)}, {}, {{"slope", c.coin() ? Shape{x[1], 1, 1} : Shape{1}}});
    c.check();
  });
  each_seed("gate", [](Case& c) {
    const Shape x = c.shape(2, 3);
    c.node("Gate", {c.value(x)}, {}, {{"gate", {x.back()}}});
    c.check();
  });
}

Attributes window(Case& c, size_t spatial, const List& kernel, bool symmetric_only = false) {
  List strides, dilations, pads(2 * spatial);
  for (size_t i = 0; i < spatial; ++i) {
    strides.push_back(c.between(1, 3));
    dilations.push_back(c.between(1, 2));
    const int64_t most = dilations[i] * (kernel[i] - 1);
    pads[i] = c.between(0, most);
    pads[i + spatial] = symmetric_only ? pads[i] : c.between(0, most);
  }
  return {{"strides", strides}, {"dilations", dilations}, {"pads", pads}};
}

TEST(GraphOperators, Convolutions) {
  each_seed("conv", [](Case& c) {
    const auto spatial = static_cast<size_t>(c.between(1, 2));
    const int64_t group = c.one_of<int64_t>({1, 1, 2, 3}), in = group * c.between(1, 4), out = group * c.between(1, 9);
    Shape x{c.between(1, 3), in}, weight{out, in / group};
    List kernel;
    for (size_t i = 0; i < spatial; ++i) {
      x.push_back(c.between(5, 9));
      kernel.push_back(c.between(1, 3));
    }
    weight.insert(weight.end(), kernel.begin(), kernel.end());
    Attributes attributes = window(c, spatial, kernel);
    attributes["group"] = group;
    std::map<std::string, Shape> params{{"weight", weight}};
    if (c.coin()) params["bias"] = {out};
    c.node("Conv", {c.value(x)}, attributes, params);
    c.check();
  });
}

TEST(GraphOperators, TransposedConvolutions) {
  each_seed("conv transpose", [](Case& c) {
    const auto spatial = static_cast<size_t>(c.between(1, 2));
    const int64_t group = c.one_of<int64_t>({1, 1, 2}), in = group * c.between(1, 4), out = c.between(1, 6);
    Shape x{c.between(1, 3), in}, weight{in, out};
    List kernel, extra;
    for (size_t i = 0; i < spatial; ++i) {
      x.push_back(c.between(5, 7));
      kernel.push_back(c.between(1, 3));
    }
    weight.insert(weight.end(), kernel.begin(), kernel.end());
    Attributes attributes = window(c, spatial, kernel);
    for (int64_t stride : std::get<List>(attributes["strides"])) extra.push_back(c.between(0, stride - 1));
    attributes["output_padding"] = extra;
    attributes["group"] = group;
    std::map<std::string, Shape> params{{"weight", weight}};
    if (c.coin()) params["bias"] = {group * out};
    c.node("ConvTranspose", {c.value(x)}, attributes, params);
    c.check();
  });
}

TEST(GraphOperators, Pools) {
  for (const std::string op : {"MaxPool", "AveragePool"})
    each_seed(op, [&](Case& c) {
      const auto spatial = static_cast<size_t>(c.between(1, 2));
      Shape x{c.between(1, 3), c.between(1, 20)};
      List kernel;
      for (size_t i = 0; i < spatial; ++i) {
        x.push_back(c.between(5, 9));
        kernel.push_back(c.between(1, 3));
      }
      Attributes attributes = window(c, spatial, kernel);
      if (op == "AveragePool") {
        attributes["dilations"] = List(spatial, 1);
        for (size_t i = 0; i < 2 * spatial; ++i)
          std::get<List>(attributes["pads"])[i] = c.between(0, kernel[i % spatial] - 1);
        attributes["count_include_pad"] = c.coin();
      }
      attributes["kernel_shape"] = kernel;
      attributes["ceil_mode"] = c.coin();
      c.node(op, {c.picture(x)}, attributes);
      c.check();
    });
  for (const std::string op : {"GlobalAveragePool", "GlobalMaxPool"})
    each_seed(op, [&](Case& c) {
      c.node(op, {c.picture({c.between(1, 3), c.between(1, 9), c.between(1, 6), c.between(1, 6)})});
      c.check();
    });
}

TEST(GraphOperators, Resize) {
  each_seed("resize", [](Case& c) {
    const auto spatial = static_cast<size_t>(c.between(1, 2));
    Shape x{c.between(1, 2), c.between(1, 5)};
    List sizes;
    std::vector<double> scales;
    for (size_t i = 0; i < spatial; ++i) {
      x.push_back(c.between(2, 6));
      sizes.push_back(c.between(1, 9));
      scales.push_back(c.rng.uniform(0.6, 3));
    }
    Attributes attributes{
        {"mode", c.one_of<std::string>({"nearest", "linear"})},
        {"coordinates", c.one_of<std::string>({"half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"})},
        {"nearest_mode", c.one_of<std::string>({"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"})}};
    if (c.coin()) {
      attributes["sizes"] = sizes;
    } else {
      attributes["scales"] = scales;
    }
    c.node("Resize", {c.picture(x)}, attributes);
    c.check();
  });
}

TEST(GraphOperators, Norms) {
  each_seed("batch norm", [](Case& c) {
    const Shape x = c.coin() ? Shape{c.between(1, 4), c.between(1, 9)}
                             : Shape{c.between(1, 3), c.between(1, 20), c.between(1, 5), c.between(1, 5)};
    std::map<std::string, Shape> params;
    for (const char* role : {"weight", "bias", "mean", "var"})
      if (c.coin()) params[role] = {x[1]};
    c.node("BatchNorm", {x.size() == 4 ? c.picture(x) : c.value(x)}, {{"epsilon", 1e-3}}, params);
    c.check();
  });
  for (const std::string op : {"LayerNorm", "RMSNorm"})
    each_seed(op, [&](Case& c) {
      const int64_t heads = c.between(1, 4), size = c.between(2, 20);
      const bool by_head = c.coin();
      std::map<std::string, Shape> params;
      if (c.coin() || op == "RMSNorm") params["weight"] = {by_head ? size : heads * size};
      if (c.coin() && op == "LayerNorm") params["bias"] = {by_head ? size : heads * size};
      Attributes attributes{{"epsilon", 1e-3}};
      if (by_head) attributes["head_size"] = size;
      c.node(op, {c.value({c.between(1, 3), c.between(1, 5), heads * size})}, attributes, params);
      c.check();
    });
  each_seed("group norm", [](Case& c) {
    const int64_t groups = c.between(1, 3), channels = groups * c.between(1, 4);
    std::map<std::string, Shape> params;
    for (const char* role : {"weight", "bias"})
      if (c.coin()) params[role] = {channels};
    const std::string x = c.picture({c.between(1, 3), channels, c.between(2, 5), c.between(1, 5)});
    if (c.coin()) {
      c.node("GroupNorm", {x}, {{"epsilon", 1e-3}, {"num_groups", groups}}, params);
    } else {
      c.node("InstanceNorm", {x}, {{"epsilon", 1e-3}}, params);
    }
    c.check(1e-4);
  });
}

TEST(GraphOperators, MaskedNorms) {
  for (const std::string op : {"LayerNorm", "RMSNorm", "GroupNorm"})
    each_seed("masked " + op, [&](Case& c) {
      const Shape x = op == "GroupNorm" ? Shape{2, 6, 3, 2} : Shape{2, 3, 6};
      std::map<std::string, Shape> params;
      if (c.coin()) params["weight"] = {6};
      if (c.coin() && op != "RMSNorm") params["bias"] = {6};
      Attributes attributes{{"epsilon", 1e-3}};
      if (op == "GroupNorm") attributes["num_groups"] = int64_t{2};
      c.node(op, {c.value(x)}, attributes, params);
      std::vector<float> mask(6);
      for (size_t i = 0; i < 6; ++i) mask[i] = i == 0 || i == 3 || c.coin() ? 1 : 0;
      c.graph.graph.add_parameter("mask", Tensor::from_floats({6}, mask));
      c.graph.graph.nodes.back().params["mask"] = "mask";
      c.check(1e-4);
    });
}

TEST(GraphOperators, SoftmaxAndReductions) {
  each_seed("softmax", [](Case& c) {
    const Shape x = c.shape(1, 4);
    c.node("Softmax", {c.value(x)}, {{"axis", c.between(-std::ssize(x), std::ssize(x) - 1)}});
    c.check();
  });
  for (const std::string op : {"ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin"})
    each_seed(op, [&](Case& c) {
      const Shape x = c.shape(1, 4);
      List axes;
      for (int64_t d = 0; d < std::ssize(x); ++d)
        if (c.coin()) axes.push_back(c.coin() ? d : d - std::ssize(x));
      const DType type = op == "ReduceMean" ? DType::kF32 : c.one_of<DType>({DType::kF32, DType::kF32, DType::kI64});
      Attributes attributes{{"keepdims", c.coin()}};
      if (!axes.empty()) attributes["axes"] = axes;
      c.node(op, {c.value(x, type)}, attributes);
      c.check();
    });
  each_seed("arg max", [](Case& c) {
    const Shape x = c.shape(1, 4);
    c.node("ArgMax", {c.value(x)}, {{"axes", List{c.between(0, std::ssize(x) - 1)}}, {"keepdims", c.coin()}});
    c.check();
  });
}

TEST(GraphOperators, Products) {
  each_seed("linear", [](Case& c) {
    Shape x = c.shape(1, 4);
    const int64_t out = c.between(1, 20);
    const bool transposed = c.coin();
    std::map<std::string, Shape> params{{"weight", transposed ? Shape{x.back(), out} : Shape{out, x.back()}}};
    if (c.coin()) params["bias"] = {out};
    c.node("Linear", {c.value(x)}, {{"transposed", transposed}}, params);
    c.check();
  });
  each_seed("matmul", [](Case& c) {
    const int64_t m = c.between(1, 6), k = c.between(1, 6), n = c.between(1, 6);
    const Shape lead = c.shape(1, 2);
    Shape a = lead, b = lead;
    for (int64_t& dim : b)
      if (c.rng.below(3) == 0) dim = 1;
    if (c.coin()) b.erase(b.begin());
    a.insert(a.end(), {m, k});
    b.insert(b.end(), {k, n});
    const std::string first = c.value(a), second = c.value(b);
    c.node("MatMul", {first, second});
    c.check();
  });
}

TEST(GraphOperators, Layout) {
  each_seed("reshape", [](Case& c) {
    const Shape x = c.shape(2, 4);
    Shape merged;
    for (int64_t dim : x) {
      if (!merged.empty() && c.coin()) {
        merged.back() *= dim;
      } else {
        merged.push_back(dim);
      }
    }
    c.node("Reshape", {c.value(x)}, {{"shape", merged}});
    c.check();
  });
  each_seed("flatten", [](Case& c) {
    const Shape x = c.shape(1, 4);
    c.node("Flatten", {c.value(x)}, {{"axis", c.between(0, std::ssize(x))}});
    c.check();
  });
  each_seed("unsqueeze and squeeze", [](Case& c) {
    const Shape x = c.shape(1, 3);
    const List axes{c.between(0, std::ssize(x))};
    const std::string value = c.value(x);
    c.graph.node("Unsqueeze", {value}, {"wide"}, {}, {{"axes", axes}});
    c.node("Squeeze", {"wide"}, {{"axes", axes}});
    c.check();
  });
  each_seed("expand", [](Case& c) {
    Shape wanted = c.shape(1, 4), x = wanted;
    for (int64_t& dim : x)
      if (c.coin()) dim = 1;
    c.node("Expand", {c.value(x)}, {{"shape", wanted}});
    c.check();
  });
  each_seed("tile and repeat", [](Case& c) {
    const Shape x = c.shape(1, 4);
    List repeats;
    for (size_t d = 0; d < x.size(); ++d) repeats.push_back(c.between(1, 3));
    const std::string value = c.value(x);
    if (c.coin()) {
      c.node("Tile", {value}, {{"repeats", repeats}});
    } else {
      c.node("Repeat", {value}, {{"axis", c.between(0, std::ssize(x) - 1)}, {"repeats", c.between(1, 3)}});
    }
    c.check();
  });
}

TEST(GraphOperators, PickingAndJoining) {
  each_seed("slice", [](Case& c) {
    const Shape x = c.shape(1, 4);
    List axes, starts, ends, steps;
    for (int64_t d = 0; d < std::ssize(x); ++d) {
      if (c.coin()) continue;
      axes.push_back(d);
      const bool back = c.coin();
      steps.push_back(back ? -c.between(1, 2) : c.between(1, 2));
      starts.push_back(back ? c.between(-1, 6) : c.between(-7, 0));
      ends.push_back(back ? INT64_MIN : c.one_of<int64_t>({INT64_MAX, -1, 4}));
    }
    c.node("Slice", {c.value(x)}, {{"axes", axes}, {"starts", starts}, {"ends", ends}, {"steps", steps}});
    c.check();
  });
  each_seed("gather", [](Case& c) {
    const Shape x = c.shape(1, 4);
    const int64_t axis = c.between(0, std::ssize(x) - 1), size = x[static_cast<size_t>(axis)];
    const bool scalar = c.coin();
    List indices;
    for (int64_t i = scalar ? 1 : c.between(1, 5); i > 0; --i) indices.push_back(c.between(-size, size - 1));
    c.node("Gather", {c.value(x)}, {{"axis", axis}, {"indices", indices}, {"scalar", scalar}});
    c.check();
  });
  each_seed("concat", [](Case& c) {
    Shape x = c.shape(1, 4);
    const int64_t axis = c.between(0, std::ssize(x) - 1);
    std::vector<std::string> inputs;
    for (int64_t i = c.between(1, 4); i > 0; --i) {
      x[static_cast<size_t>(axis)] = c.between(1, 4);
      inputs.push_back(c.value(x, c.one_of<DType>({DType::kF32, DType::kF32, DType::kI64})));
    }
    c.node("Concat", inputs, {{"axis", axis}});
    c.check();
  });
  each_seed("split", [](Case& c) {
    Shape x = c.shape(1, 4);
    const int64_t axis = c.between(0, std::ssize(x) - 1);
    List sizes;
    for (int64_t i = c.between(1, 4); i > 0; --i) sizes.push_back(c.between(1, 3));
    x[static_cast<size_t>(axis)] = std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
    c.node("Split", {c.value(x)}, {{"axis", axis}, {"sizes", sizes}}, {}, sizes.size());
    c.check();
  });
  each_seed("pad", [](Case& c) {
    Shape x = c.shape(2, 4);
    const std::string mode = c.one_of<std::string>({"constant", "reflect", "edge"});
    List pads;
    for (size_t i = 0; i < 2 * x.size(); ++i)
      pads.push_back(c.between(0, mode == "reflect" ? std::min<int64_t>(2, x[i % x.size()] - 1) : 2));
    c.node("Pad", {c.value(x)}, {{"pads", pads}, {"mode", mode}, {"value", 0.5}});
    c.check();
  });
}

TEST(GraphOperators, CastsAndConstants) {
  each_seed("cast", [](Case& c) {
    const std::vector<DType> kinds{DType::kF32, DType::kI64, DType::kBool};
    c.node("Cast", {c.value(c.shape(1, 3), c.one_of(kinds))},
           {{"to", c.one_of<std::string>({"float", "int64", "bool"})}});
    c.check();
  });
  each_seed("constants fold", [](Case& c) {
    c.graph.param("table", {3, 4});
    c.graph.node("Constant", {}, {"a"}, {{"value", "table"}});
    c.graph.node("Transpose", {"a"}, {"b"}, {}, {{"perm", List{1, 0}}});
    c.graph.node("Activation", {"b"}, {"d"}, {}, {{"kind", std::string("gelu")}});
    c.node("MatMul", {c.value({2, 4}), "d"});
    c.check();
  });
}

TEST(GraphOperators, Embeddings) {
  each_seed("embedding", [](Case& c) {
    c.low = 0, c.high = 7;
    const std::string ids = c.value({c.between(1, 3), c.between(1, 6)}, DType::kI64);
    c.graph.param("rows", {9, 5});
    c.graph.param("places", {8, 5});
    c.graph.node("Embedding", {ids}, {"e"}, {{"weight", "rows"}});
    c.graph.node("PositionEmbedding", {ids}, {"p"}, {{"weight", "places"}}, {{"offset", int64_t{2}}});
    c.node("Add", {"e", "p"});
    c.check();
  });
}

TEST(GraphOperators, Attention) {
  each_seed("attention", [](Case& c) {
    const int64_t size = c.between(1, 9), kv_heads = c.between(1, 3), group = c.between(1, 3), batch = c.between(1, 3);
    const bool causal = c.coin();
    const int64_t tokens = c.one_of<int64_t>({1, 5, 70}), keys = causal ? tokens : c.between(1, 80);
    Attributes attributes{{"head_size", size}, {"scale", 0.4}, {"causal", causal}};
    if (causal && c.coin()) attributes["window"] = c.between(1, 6);
    const std::string q = c.value({batch, tokens, kv_heads * group * size}),
                      k = c.value({batch, keys, kv_heads * size}), v = c.value({batch, keys, kv_heads * size});
    c.node("Attention", {q, k, v}, attributes);
    c.check();
  });
  each_seed("masked attention", [](Case& c) {
    const int64_t size = c.between(1, 5), heads = c.between(1, 3), windows = c.between(1, 3), tokens = c.between(1, 70),
                  keys = c.coin() ? tokens : c.between(1, 9), batch = windows * c.between(1, 2);
    std::vector<std::string> inputs{c.value({batch, tokens, heads * size}), c.value({batch, keys, heads * size}),
                                    c.value({batch, keys, heads * size})};
    const std::vector<Shape> shapes{{windows, c.coin() ? heads : 1, c.coin() ? tokens : 1, keys},
                                    {heads, tokens, c.coin() ? keys : 1}, {batch, 1, 1, keys}, {tokens, 1}};
    std::vector<int64_t> kinds;
    std::vector<double> fills;
    for (int64_t i = c.between(1, 3); i-- > 0;) {
      kinds.push_back(c.between(0, 2));
      fills.push_back(-static_cast<double>(c.between(1, 4)));
      const Shape& shape = shapes[static_cast<size_t>(c.between(0, 3))];
      inputs.push_back(kinds.back() == 0 ? c.value(shape) : c.value(shape, DType::kBool));
    }
    c.node("Attention", inputs, {{"head_size", size}, {"scale", 0.4}, {"causal", c.coin() && tokens == keys}, {"masks", kinds}, {"fills", fills}});
    c.check();
  });
  each_seed("rotary", [](Case& c) {
    const int64_t half = c.between(1, 4), size = 2 * half + c.between(0, 2);
    std::vector<double> frequency;
    for (int64_t i = 0; i < half; ++i) frequency.push_back(c.rng.uniform(0.01, 1));
    c.node("RotaryEmbedding", {c.value({2, 7, size * c.between(1, 3)})},
           {{"head_size", size}, {"inverse_frequency", frequency}, {"scale", 1.1}});
    c.check();
  });
}

}  // namespace
}  // namespace espalier::test
