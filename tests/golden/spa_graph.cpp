#include "spa_graph.h"

#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/graph/operator.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"

namespace espalier::golden {
namespace {

using List = std::vector<int64_t>;

class Reader {
 public:
  Reader(const Case& c, Graph& graph) : case_(c), graph_(graph), json_(c.params.at("graph")) {
    add_parameters();
    for (const auto& [name, shape] : json_.at("inputs").items()) {
      graph_.inputs.push_back(value(name));
      graph_.values.back().shape = shape.get<Shape>();
    }
    for (const Json& node : json_.at("nodes")) add_node(node);
    for (const Json& output : json_.at("outputs")) graph_.outputs.push_back(values_.at(output.get<std::string>()));
  }

 private:
  using Build = void (Reader::*)(Node&, const Json& json);

  void add_parameters() {
    std::vector<std::string> order;
    if (case_.params.contains("order")) {
      order = case_.params.at("order").get<std::vector<std::string>>();
    } else {
      for (const auto& [name, shape] : json_.at("params").items()) order.push_back(name);
    }
    for (const auto& name : order) graph_.add_parameter(name, from_torch(case_.floats(name), DType::kF32));
  }

  ValueId value(const std::string& name) { return values_[name] = graph_.add_value(name); }

  // A parameter where a value is expected becomes a Constant.
  ValueId operand(const std::string& name) {
    if (const auto found = values_.find(name); found != values_.end()) return found->second;
    Node constant{"Constant", name + ".value", {}, {}, {{"value", name}}, {}, -1};
    constant.outputs = {value(name)};
    push(std::move(constant));
    return values_.at(name);
  }

  void push(Node node) {
    const auto shapes = find_operator(node.op).infer(NodeView(graph_, node));
    for (size_t i = 0; i < shapes.size(); ++i) graph_.values[static_cast<size_t>(node.outputs[i])].shape = shapes[i];
    graph_.add_node(std::move(node));
  }

  const Shape& shape(ValueId id) const { return graph_.values[static_cast<size_t>(id)].shape; }
  static int64_t number(const Json& attr, const char* key, int64_t otherwise) {
    return attr.contains(key) ? attr.at(key).get<int64_t>() : otherwise;
  }
  static List list(const Json& attr, const char* plural, const char* single) {
    if (attr.contains(plural)) return attr.at(plural).get<List>();
    return attr.contains(single) ? List{attr.at(single).get<int64_t>()} : List{};
  }

  void add_node(const Json& json);
  void inputs(Node& node, const Json& json, size_t from, std::initializer_list<const char*> roles);
  void gemm(Node& node, const Json& json);
  void matmul(Node& node, const Json& json);
  void gather(Node& node, const Json& json);
  void convolution(Node& node, const Json& json);
  void transposed_convolution(Node& node, const Json& json);
  void pool(Node& node, const Json& json);
  void resize(Node& node, const Json& json);
  void norm(Node& node, const Json& json);
  void prelu(Node& node, const Json& json);
  void layout(Node& node, const Json& json);
  void pad(Node& node, const Json& json);
  void slice(Node& node, const Json& json);
  void plain(Node& node, const Json& json);
  void unary(Node& node, const Json& json);
  void unknown(Node& node, const Json& json);
  static const std::map<std::string, std::pair<const char*, Build>>& table();

  const Case& case_;
  Graph& graph_;
  const Json& json_;
  std::map<std::string, ValueId> values_;
};

std::string in_of(const Json& json, size_t i) { return json.at("in").at(i).get<std::string>(); }

const Json& attr_of(const Json& json) {
  static const Json none = Json::object();
  return json.contains("attr") ? json.at("attr") : none;
}

// Input `from` on are parameters with these roles.
void Reader::inputs(Node& node, const Json& json, size_t from, std::initializer_list<const char*> roles) {
  node.inputs = {operand(in_of(json, 0))};
  for (const char* role : roles) {
    if (from >= json.at("in").size()) break;
    node.params[role] = in_of(json, from++);
  }
}

void Reader::gemm(Node& node, const Json& json) {
  inputs(node, json, 1, {"weight", "bias"});
  const Json& attr = attr_of(json);
  if (attr.contains("transB") && !attr.at("transB").get<int>()) node.attributes["transposed"] = true;
}

void Reader::matmul(Node& node, const Json& json) {
  const std::string weight = in_of(json, 1);
  if (graph_.has_parameter(weight) && graph_.parameter(weight).shape().size() == 2) {
    node.op = "Linear";
    inputs(node, json, 1, {"weight"});
    node.attributes["transposed"] = true;
  } else {
    node.inputs = {operand(in_of(json, 0)), operand(weight)};
  }
}

void Reader::gather(Node& node, const Json& json) {
  const Json& attr = attr_of(json);
  if (attr.contains("indices")) {
    node.inputs = {operand(in_of(json, 0))};
    node.attributes = {{"axis", number(attr, "axis", 0)}, {"indices", attr.at("indices").get<List>()}};
  } else {
    node.op = "Embedding";
    node.inputs = {operand(in_of(json, 1))};
    node.params["weight"] = in_of(json, 0);
  }
}

// Strides and pads with which windows of this size leave `out` of `in` positions.
struct Fit {
  int64_t stride = 1, pad = 0;
};
Fit fit_window(int64_t in, int64_t out, int64_t kernel) {
  for (int64_t stride = 1; stride <= in + kernel; ++stride) {
    const int64_t pad = std::max<int64_t>(0, (out - 1) * stride + kernel - in);
    if ((in + pad - kernel) / stride + 1 == out) return {stride, pad};
  }
  user_error("no windows of {} leave {} of {} positions", kernel, out, in);
}

List spatial_out(const Json& attr, const Shape& x) {
  List out(x.begin() + 2, x.end());
  const char* keys[] = {"h", "w"};
  for (size_t i = 0; i < out.size(); ++i)
    if (attr.contains(keys[i + 2 - out.size()])) out[i] = attr.at(keys[i + 2 - out.size()]).get<int64_t>();
  return out;
}

void set_windows(Node& node, const Shape& x, const List& out, const List& kernel) {
  List strides, pads(2 * out.size(), 0);
  for (size_t i = 0; i < out.size(); ++i) {
    const Fit fit = fit_window(x[i + 2], out[i], kernel[i]);
    strides.push_back(fit.stride);
    pads[i + out.size()] = fit.pad;
  }
  node.attributes["strides"] = strides;
  node.attributes["pads"] = pads;
}

void Reader::convolution(Node& node, const Json& json) {
  inputs(node, json, 1, {"weight", "bias"});
  node.attributes["group"] = number(attr_of(json), "group", 1);
  const Shape& weight = graph_.parameter_of(node, "weight").shape();
  const Shape& x = shape(node.inputs[0]);
  set_windows(node, x, spatial_out(attr_of(json), x), {weight.begin() + 2, weight.end()});
}

void Reader::transposed_convolution(Node& node, const Json& json) {
  inputs(node, json, 1, {"weight", "bias"});
  node.attributes["group"] = number(attr_of(json), "group", 1);
  const Shape& weight = graph_.parameter_of(node, "weight").shape();
  const Shape& x = shape(node.inputs[0]);
  const List out = spatial_out(attr_of(json), x);
  List strides, pads(2 * out.size(), 0), extra;
  for (size_t i = 0; i < out.size(); ++i) {
    int64_t stride = 1;
    auto reach = [&] { return (x[i + 2] - 1) * stride + weight[i + 2]; };
    while (out[i] - reach() >= stride) ++stride;
    strides.push_back(stride);
    pads[i + out.size()] = std::max<int64_t>(0, reach() - out[i]);
    extra.push_back(std::max<int64_t>(0, out[i] - reach()));
  }
  node.attributes["strides"] = strides;
  node.attributes["pads"] = pads;
  node.attributes["output_padding"] = extra;
}

void Reader::pool(Node& node, const Json& json) {
  inputs(node, json, 1, {});
  const Shape& x = shape(node.inputs[0]);
  const List kernel(x.size() - 2, 1);
  node.attributes["kernel_shape"] = kernel;
  set_windows(node, x, spatial_out(attr_of(json), x), kernel);
}

void Reader::resize(Node& node, const Json& json) {
  inputs(node, json, 1, {});
  node.attributes["sizes"] = spatial_out(attr_of(json), shape(node.inputs[0]));
}

void Reader::norm(Node& node, const Json& json) {
  inputs(node, json, 1, {"weight", "bias", "mean", "var"});
  node.attributes["epsilon"] = 1e-5;
  if (node.op == "GroupNorm") node.attributes["num_groups"] = number(attr_of(json), "num_groups", 1);
}

void Reader::prelu(Node& node, const Json& json) { inputs(node, json, 1, {"slope"}); }

void Reader::layout(Node& node, const Json& json) {
  const Json& attr = attr_of(json);
  inputs(node, json, 1, {});
  const auto rank = std::ssize(shape(node.inputs[0]));
  if (node.op == "Reshape") node.attributes["shape"] = attr.at("shape").get<List>();
  if (node.op == "Flatten") node.attributes["axis"] = number(attr, "axis", 1);
  if (node.op == "Softmax" || node.op == "Split")
    node.attributes["axis"] = number(attr, "axis", node.op == "Split" ? 0 : -1);
  if (node.op == "Split") node.attributes["sizes"] = attr.at("sizes").get<List>();
  if (node.op == "Squeeze" || node.op == "Unsqueeze") node.attributes["axes"] = list(attr, "axes", "axis");
  if (node.op == "Transpose") {
    List reversed;
    for (int64_t d = rank; d-- > 0;) reversed.push_back(d);
    node.attributes["perm"] = attr.contains("perm") ? attr.at("perm").get<List>() : reversed;
  }
  if (node.op == "Repeat") {
    node.attributes["axis"] = number(attr, "axis", 0);
    node.attributes["repeats"] = number(attr, "rep", 1);
  }
  if (node.op.starts_with("Reduce") || node.op == "ArgMax") {
    node.attributes["axes"] = list(attr, "axes", "axis");
    node.attributes["keepdims"] = number(attr, "keepdims", 1) != 0;
  }
}

void Reader::pad(Node& node, const Json& json) {
  const Json& attr = attr_of(json);
  inputs(node, json, 1, {});
  const int64_t rank = std::ssize(shape(node.inputs[0])), axis = (number(attr, "axis", 1) + rank) % rank;
  List pads(static_cast<size_t>(2 * rank), 0);
  pads[static_cast<size_t>(axis)] = number(attr, "before", 0);
  pads[static_cast<size_t>(axis + rank)] = number(attr, "after", 0);
  node.attributes["pads"] = pads;
}

void Reader::slice(Node& node, const Json& json) {
  const Json& attr = attr_of(json);
  inputs(node, json, 1, {});
  node.attributes = {{"axes", List{number(attr, "axis", 1)}},
                     {"starts", List{number(attr, "start", 0)}},
                     {"ends", List{number(attr, "end", INT64_MAX)}},
                     {"steps", List{number(attr, "step", 1)}}};
}

void Reader::plain(Node& node, const Json& json) {
  for (size_t i = 0; i < json.at("in").size(); ++i) node.inputs.push_back(operand(in_of(json, i)));
  if (node.op == "Concat") node.attributes["axis"] = number(attr_of(json), "axis", 1);
}

// What couples like any other elementwise function need not be told apart.
void Reader::unary(Node& node, const Json& json) {
  inputs(node, json, 1, {});
  node.op = "Activation";
  node.attributes["kind"] = std::string("relu");
}

void Reader::unknown(Node& node, const Json& json) {
  for (size_t i = 0; i < json.at("in").size(); ++i) node.inputs.push_back(operand(in_of(json, i)));
  node.attributes["op_type"] = node.op;
  node.op = "Opaque";
  for (size_t i = 0; i < node.outputs.size(); ++i)
    node.attributes[fmt::format("shape.{}", i)] = shape(node.inputs.at(0));
}

const std::map<std::string, std::pair<const char*, Reader::Build>>& Reader::table() {
  static const std::map<std::string, std::pair<const char*, Build>> known = {
      {"Gemm", {"Linear", &Reader::gemm}},
      {"Linear", {"Linear", &Reader::gemm}},
      {"MatMul", {"MatMul", &Reader::matmul}},
      {"Gather", {"Gather", &Reader::gather}},
      {"Conv", {"Conv", &Reader::convolution}},
      {"ConvTranspose", {"ConvTranspose", &Reader::transposed_convolution}},
      {"MaxPool", {"MaxPool", &Reader::pool}},
      {"AveragePool", {"AveragePool", &Reader::pool}},
      {"Resize", {"Resize", &Reader::resize}},
      {"Upsample", {"Resize", &Reader::resize}},
      {"GlobalAveragePool", {"GlobalAveragePool", &Reader::plain}},
      {"GlobalMaxPool", {"GlobalMaxPool", &Reader::plain}},
      {"BatchNormalization", {"BatchNorm", &Reader::norm}},
      {"InstanceNormalization", {"InstanceNorm", &Reader::norm}},
      {"GroupNormalization", {"GroupNorm", &Reader::norm}},
      {"LayerNormalization", {"LayerNorm", &Reader::norm}},
      {"RMSNormalization", {"RMSNorm", &Reader::norm}},
      {"PRelu", {"PRelu", &Reader::prelu}},
      {"Reshape", {"Reshape", &Reader::layout}},
      {"Flatten", {"Flatten", &Reader::layout}},
      {"Transpose", {"Transpose", &Reader::layout}},
      {"Squeeze", {"Squeeze", &Reader::layout}},
      {"Unsqueeze", {"Unsqueeze", &Reader::layout}},
      {"Expand", {"Repeat", &Reader::layout}},
      {"Split", {"Split", &Reader::layout}},
      {"Softmax", {"Softmax", &Reader::layout}},
      {"ArgMax", {"ArgMax", &Reader::layout}},
      {"ReduceMean", {"ReduceMean", &Reader::layout}},
      {"ReduceSum", {"ReduceSum", &Reader::layout}},
      {"ReduceMax", {"ReduceMax", &Reader::layout}},
      {"ReduceMin", {"ReduceMin", &Reader::layout}},
      {"Pad", {"Pad", &Reader::pad}},
      {"Slice", {"Slice", &Reader::slice}},
      {"Concat", {"Concat", &Reader::plain}},
      {"Add", {"Add", &Reader::plain}},
      {"Sub", {"Sub", &Reader::plain}},
      {"Mul", {"Mul", &Reader::plain}},
      {"Div", {"Div", &Reader::plain}},
      {"Pow", {"Pow", &Reader::plain}},
      {"Min", {"Min", &Reader::plain}},
      {"Max", {"Max", &Reader::plain}},
      {"Where", {"Where", &Reader::plain}}};
  return known;
}

bool is_unary(const std::string& op) {
  static const std::vector<std::string> names = {
      "Relu",       "Sigmoid", "Tanh", "Gelu",    "Silu",     "Swish",    "HardSwish", "HardSigmoid", "LeakyRelu",
      "Elu",        "Selu",    "Celu", "Clip",    "Softplus", "Softsign", "Mish",      "Erf",         "Sqrt",
      "Reciprocal", "Exp",     "Log",  "Neg",     "Abs",      "Sign",     "Floor",     "Ceil",        "Round",
      "Sin",        "Cos",     "Not",  "Dropout", "Cast",     "Identity"};
  return std::find(names.begin(), names.end(), op) != names.end();
}

void Reader::add_node(const Json& json) {
  const std::string op = json.at("op").get<std::string>();
  Node node;
  node.name = fmt::format("{}.{}", op, graph_.nodes.size());
  const auto known = table().find(op);
  node.op = known == table().end() ? op : known->second.first;
  std::vector<std::string> outputs = json.at("out").get<std::vector<std::string>>();
  for (const auto& name : outputs) node.outputs.push_back(value(name));
  const Build build = known != table().end() ? known->second.second : is_unary(op) ? &Reader::unary : &Reader::unknown;
  (this->*build)(node, json);
  push(std::move(node));
}

}  // namespace

SpaGraph read_spa_graph(const Case& c) {
  SpaGraph read;
  Reader reader(c, read.graph);
  const Json& graph = c.params.at("graph");
  const Json policy = graph.contains("policy") ? graph.at("policy") : Json::object();
  if (policy.value("group_conv", "keep_groups") == "drop_groups")
    read.options.group_conv = GroupConvPolicy::kDropGroups;
  if (policy.value("split", "outer") == "inner") read.options.split = SplitPolicy::kInner;
  return read;
}

}  // namespace espalier::golden
