#include "espalier/families/onnx/export_emitter.h"

#include <algorithm>
#include <utility>

#include "espalier/core/error.h"
#include "espalier/families/onnx/export_parameters.h"
#include "espalier/io/onnx/tensor.h"

namespace espalier {
namespace {

std::map<std::string, OnnxEmit>& registry() {
  static std::map<std::string, OnnxEmit> functions;
  return functions;
}

bool reads_transposed(const OpenShapes& shapes, const Node& node, const std::string& role) {
  return node.op == "Linear" && role == "weight" && !node.flag_or("transposed", false) &&
         shapes.shape(node.inputs.at(0)).size() != 2;
}

std::string words(const std::string& prefix, const std::vector<int64_t>& values) {
  return values.size() > 8 ? prefix : fmt::format("{}_{}", prefix, fmt::join(values, "_"));
}

}  // namespace

RegisterOnnxEmit::RegisterOnnxEmit(const char* op, OnnxEmit emit) {
  ESP_ASSERT(registry().emplace(op, emit).second, "operator {} has two emitters", op);
}

const OnnxEmit* find_onnx_emit(const std::string& op) {
  const auto found = registry().find(op);
  return found == registry().end() ? nullptr : &found->second;
}

bool is_floating(OnnxDataType type) {
  const OnnxTypeInfo* info = onnx_type_info(type);
  return info && info->dtype && is_floating(*info->dtype);
}

std::string OnnxNames::take(const std::string& wanted) {
  std::string name = wanted.empty() ? "unnamed" : wanted;
  if (!taken_.insert(name).second) {
    int& next = next_[wanted];
    do {
      name = fmt::format("{}_{}", wanted, ++next);
    } while (!taken_.insert(name).second);
  }
  return name;
}

OnnxEmitter::OnnxEmitter(const Graph& graph, const OpenShapes& shapes, const OnnxSource* source, int64_t opset)
    : graph_(graph), shapes_(shapes), source_(source), opset_(opset) {
  types_.resize(graph.values.size(), OnnxDataType::kFloat);
  if (source)
    for (const auto* infos : {&source->model.graph.inputs, &source->model.graph.outputs, &source->model.graph.value_infos})
      for (const OnnxValueInfo& info : *infos)
        if (info.type.kind == OnnxType::Kind::kTensor) source_types_.emplace(info.name, info.type.elem_type);
  name_values();
  type_inputs();
  if (!source) find_transposed();
}

// Inputs and outputs have the first choice of names, then parameters, then the other values.
void OnnxEmitter::name_values() {
  names_.resize(graph_.values.size());
  for (ValueId input : graph_.inputs) names_[static_cast<size_t>(input)] = value_names_.take(graph_name(input));
  if (source_)  // those that the graph does not read stay part of the model
    for (const OnnxValueInfo& input : source_->model.graph.inputs)
      if (!value_names_.is_taken(input.name) && !graph_.has_parameter(input.name)) value_names_.take(input.name);
  for (size_t i = 0; i < graph_.outputs.size(); ++i) {
    std::string& own = names_[static_cast<size_t>(graph_.outputs[i])];
    const bool from_source = source_ && i < source_->model.graph.outputs.size();
    const std::string& wanted = from_source ? source_->model.graph.outputs[i].name : graph_name(graph_.outputs[i]);
    output_names_.push_back(value_names_.take(wanted));
    const auto producer = graph_.producer(graph_.outputs[i]);
    const bool renamable = producer && graph_.nodes[static_cast<size_t>(*producer)].op != "Constant";
    if (own.empty() && renamable) own = output_names_.back();
  }
  for (const auto& parameter : graph_.parameters())
    parameter_names_[parameter->name()] = value_names_.take(parameter->name());
  std::unordered_set<ValueId> constants;
  for (const Node& node : graph_.nodes)
    if (node.op == "Constant") constants.insert(node.outputs.begin(), node.outputs.end());
  for (size_t id = 0; id < names_.size(); ++id)
    if (names_[id].empty() && !constants.count(static_cast<ValueId>(id)))
      names_[id] = value_names_.take(graph_.values[id].name);
  for (const Node& node : graph_.nodes) node_names_.take(node.name);
}

void OnnxEmitter::type_inputs() {
  for (ValueId input : graph_.inputs) {
    const OnnxDataType said = source_type(graph_name(input));
    types_[static_cast<size_t>(input)] = said != OnnxDataType::kUndefined    ? said
                                         : is_token_ids(graph_, input) ? OnnxDataType::kInt64
                                                                       : OnnxDataType::kFloat;
  }
}

// Stored [in, out] for MatMul, where nobody wants the parameter as it is. The copies are in memory until the file is
// written, so large models keep their mapped weights and transpose when they are loaded.
void OnnxEmitter::find_transposed() {
  constexpr uint64_t kMostCopiedBytes = uint64_t{2} << 30;
  std::set<std::string> others;
  for (const Node& node : graph_.nodes)
    for (const auto& [role, name] : node.params)
      (reads_transposed(shapes_, node, role) ? transposed_ : others).insert(name);
  for (const auto& name : others) transposed_.erase(name);
  uint64_t bytes = 0;
  for (const auto& name : transposed_) bytes += graph_.parameter(name).byte_size();
  if (bytes > kMostCopiedBytes) transposed_.clear();
}

void OnnxEmitter::emit_all() {
  for (const Node& node : graph_.nodes) {
    const OnnxEmit* function = find_onnx_emit(node.op);
    ESP_ASSERT(function, "no ONNX form of {}", node.op);
    if (node.has_param("mask"))
      user_error("{}: the norm counts the channels that a mask leaves, which ONNX cannot say; cut the model instead",
                 node.name);
    node_ = &node;
    scope_ = node.name;
    (*function)(*this);
  }
  add_identities();
}

// Outputs that are inputs or constants, or one value under two names.
void OnnxEmitter::add_identities() {
  for (size_t i = 0; i < output_names_.size(); ++i) {
    const std::string& value = name_of(graph_.outputs[i]);
    if (value == output_names_[i]) continue;
    OnnxNode node;
    node.op_type = "Identity";
    node.name = node_names_.take(output_names_[i]);
    node.inputs = {value};
    node.outputs = {output_names_[i]};
    nodes_.push_back(std::move(node));
  }
}

std::vector<std::string> OnnxEmitter::all_inputs() const {
  std::vector<std::string> names;
  for (ValueId input : node().inputs) names.push_back(name_of(input));
  return names;
}

std::string OnnxEmitter::free_name(const std::string& op) {
  std::string name;
  do {
    name = node_names_.take(fmt::format("{}/{}", scope_, op));
  } while (value_names_.is_taken(name));
  return value_names_.take(name);
}

namespace {
OnnxNode made(OnnxCall call) {
  while (!call.inputs.empty() && call.inputs.back().empty()) call.inputs.pop_back();
  OnnxNode node;
  node.op_type = std::move(call.op);
  node.inputs = std::move(call.inputs);
  node.attributes = std::move(call.attributes);
  return node;
}
}  // namespace

std::string OnnxEmitter::emit(OnnxCall call) {
  OnnxNode node = made(std::move(call));
  node.name = free_name(node.op_type);
  node.outputs = {node.name};
  nodes_.push_back(std::move(node));
  return nodes_.back().name;
}

void OnnxEmitter::finish(OnnxCall call, OnnxDataType type) {
  OnnxNode node = made(std::move(call));
  node.name = this->node().name;  // reserved from the start
  for (ValueId output : this->node().outputs) {
    node.outputs.push_back(name_of(output));
    types_[static_cast<size_t>(output)] = type;
  }
  nodes_.push_back(std::move(node));
}

void OnnxEmitter::finish_node(OnnxNode node) {
  for (ValueId output : this->node().outputs) {
    const OnnxDataType said = source_type(graph_name(output));
    const bool guessed = said == OnnxDataType::kUndefined && !this->node().inputs.empty();
    types_[static_cast<size_t>(output)] = guessed ? type() : said;
  }
  nodes_.push_back(std::move(node));
}

void OnnxEmitter::finish_as(const std::string& name, OnnxDataType type) {
  const auto output = static_cast<size_t>(node().outputs.at(0));
  names_[output] = name;
  types_[output] = type;
  constant_values_.insert(node().outputs[0]);
}

OnnxDataType OnnxEmitter::stored_type(const Parameter& parameter) const {
  return onnx_type_of(stored_dtype(parameter.dtype(), opset_));
}

OnnxDataType OnnxEmitter::value_type_of(const std::string& role) const {
  const OnnxDataType type = param_type(role);
  return !source_ && is_floating(type) ? OnnxDataType::kFloat : type;
}

std::string OnnxEmitter::use_parameter(const std::string& name) {
  used_parameters_.insert(name);
  return parameter_names_.at(name);
}

std::string OnnxEmitter::param(const std::string& role, OnnxDataType type) {
  const std::string& name = node().params.at(role);
  ESP_ASSERT(!transposed_.count(name) || reads_transposed(shapes_, node(), role), "{}", name);
  return cast(use_parameter(name), param_type(role), type);
}

std::string OnnxEmitter::param_or_filled(const std::string& role, int64_t count, double value, OnnxDataType type) {
  return node().has_param(role) ? param(role, type) : filled({count}, value, type);
}

std::string OnnxEmitter::transposed_param(const std::string& role, OnnxDataType type) {
  const std::string& name = node().params.at(role);
  if (transposed_.count(name)) return param(role, type);
  const std::string as_stored = param(role, type);
  return shared("transposed " + as_stored, as_stored,
                [&] { return transpose(as_stored, {1, 0}); });
}

std::string OnnxEmitter::constant(const std::string& wanted_name, const Tensor& tensor) {
  std::string key = fmt::format("{} {} ", espalier::name_of(tensor.dtype()), to_string(tensor.shape()));
  key.append(reinterpret_cast<const char*>(tensor.bytes()), tensor.byte_size());
  const auto [entry, fresh] = constants_by_bytes_.try_emplace(std::move(key));
  if (!fresh) return entry->second;
  entry->second = value_names_.take(wanted_name);
  constants_.push_back(onnx_tensor(entry->second, tensor));
  return entry->second;
}

std::string OnnxEmitter::ints(const std::vector<int64_t>& values) {
  Tensor tensor(DType::kI64, {std::ssize(values)});
  std::copy(values.begin(), values.end(), tensor.mutable_as<int64_t>().begin());
  return constant(words("ints", values), tensor);
}

std::string OnnxEmitter::integer(int64_t value) {
  Tensor tensor(DType::kI64, {});
  tensor.mutable_as<int64_t>()[0] = value;
  return constant(fmt::format("int_{}", value), tensor);
}

std::string OnnxEmitter::scalar(double value, OnnxDataType type) { return filled({}, value, type); }

std::string OnnxEmitter::filled(const Shape& shape, double value, OnnxDataType type) {
  if (type == OnnxDataType::kUndefined) type = OnnxDataType::kFloat;  // after a node of unknown type
  const OnnxTypeInfo* info = onnx_type_info(type);
  if (!info || !info->dtype) user_error("{}: no constant can be made of {}", node().name, describe_onnx_type(type));
  const std::string wanted =
      shape.empty() ? fmt::format("value_{:g}", value) : fmt::format("all_{:g}_{}", value, fmt::join(shape, "_"));
  if (!is_floating(*info->dtype)) {
    Tensor integers(DType::kI64, shape);
    for (int64_t& element : integers.mutable_as<int64_t>()) element = static_cast<int64_t>(value);
    const std::string name = constant(wanted, integers);
    return cast(name, OnnxDataType::kInt64, type);
  }
  if (*info->dtype == DType::kF64) {
    Tensor doubles(DType::kF64, shape);
    for (double& element : doubles.mutable_as<double>()) element = value;
    return constant(wanted, doubles);
  }
  const std::vector<float> values(static_cast<size_t>(element_count(shape)), static_cast<float>(value));
  return constant(wanted, Tensor::from_floats(shape, values).to(*info->dtype));
}

std::string OnnxEmitter::cast(const std::string& value, OnnxDataType from, OnnxDataType to) {
  if (from == to || to == OnnxDataType::kUndefined || from == OnnxDataType::kUndefined) return value;
  return shared(fmt::format("cast {} {}", static_cast<int>(to), value), value, [&] {
    return emit("Cast", {value}, {onnx_int("to", static_cast<int64_t>(to))});
  });
}

OnnxDataType OnnxEmitter::common_type(size_t first) const {
  for (bool constants : {false, true})
    for (size_t i = first; i < node().inputs.size(); ++i)
      if (is_floating(type(i)) && (constants || !constant_values_.count(node().inputs[i]))) return type(i);
  return type(first);
}

std::vector<std::string> OnnxEmitter::unified(size_t first, OnnxDataType& type) {
  type = common_type(first);
  std::vector<std::string> names;
  for (size_t i = first; i < node().inputs.size(); ++i) names.push_back(cast(in(i), this->type(i), type));
  return names;
}

OnnxCall OnnxEmitter::reduce_call(const std::string& op, const std::string& x, const std::vector<int64_t>& axes,
                                  bool keep) {
  OnnxCall call{op, {x}, {onnx_int("keepdims", keep)}};
  if (axes.empty()) return call;
  if (opset_ >= (op == "ReduceSum" ? 13 : 18)) {
    call.inputs.push_back(ints(axes));
  } else {
    call.attributes.push_back(onnx_ints("axes", axes));
  }
  return call;
}

OnnxCall OnnxEmitter::squeeze_call(const std::string& op, const std::string& x, const std::vector<int64_t>& axes) {
  if (opset_ >= 13) return {op, {x, ints(axes)}};
  return {op, {x}, {onnx_ints("axes", axes)}};
}

std::string OnnxEmitter::slice(const std::string& x, int64_t axis, int64_t start, int64_t end) {
  return emit("Slice", {x, ints({start}), ints({end}), ints({axis})});
}

std::string OnnxEmitter::shared(const std::string& key, const std::string& scope,
                                const std::function<std::string()>& make) {
  if (const auto found = shared_.find(key); found != shared_.end()) return found->second;
  const std::string outer = std::exchange(scope_, scope);
  std::string name = make();
  scope_ = outer;
  return shared_[key] = std::move(name);
}

void OnnxEmitter::use_source_tensor(const OnnxTensor& tensor) {
  if (value_names_.is_taken(tensor.name)) return;
  value_names_.take(tensor.name);
  carried_.push_back(tensor);
}

OnnxDataType OnnxEmitter::source_type(const std::string& value) const {
  const auto found = source_types_.find(value);
  return found == source_types_.end() ? OnnxDataType::kUndefined : found->second;
}

// In the graph's order, then the constants made here.
std::vector<OnnxTensor> OnnxEmitter::take_initializers() {
  std::unordered_map<std::string, const OnnxTensor*> originals;
  if (source_)
    for (const OnnxTensor& tensor : source_->model.graph.initializers) originals.emplace(tensor.name, &tensor);
  std::vector<OnnxTensor> tensors;
  for (const auto& parameter : graph_.parameters()) {
    if (!used_parameters_.count(parameter->name())) continue;
    const auto original = originals.find(parameter->name());
    tensors.push_back(initializer_of(*parameter, parameter_names_.at(parameter->name()),
                                     original == originals.end() ? nullptr : original->second,
                                     transposed_.count(parameter->name()) != 0, opset_));
  }
  for (auto* more : {&carried_, &constants_})
    tensors.insert(tensors.end(), std::make_move_iterator(more->begin()), std::make_move_iterator(more->end()));
  return tensors;
}

}  // namespace espalier
