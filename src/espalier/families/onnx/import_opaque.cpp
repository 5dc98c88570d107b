// Nodes that are kept as they are: the graph knows what they read and the shapes of what they write.
#include <algorithm>
#include <cmath>
#include <set>

#include "espalier/core/error.h"
#include "espalier/families/onnx/import_context.h"
#include "espalier/io/onnx/attributes.h"
#include "espalier/io/onnx/order.h"

namespace espalier {
namespace {

// Operators of ONNX whose (first) output has the shape of that input.
const std::map<std::string, size_t>& shape_givers() {
  static const std::map<std::string, size_t> table = {{"ScatterND", 0},
                                                      {"ScatterElements", 0},
                                                      {"Scatter", 0},
                                                      {"GatherElements", 1},
                                                      {"CumSum", 0},
                                                      {"LRN", 0},
                                                      {"Hardmax", 0},
                                                      {"Shrink", 0},
                                                      {"ThresholdedRelu", 0},
                                                      {"LpNormalization", 0},
                                                      {"MeanVarianceNormalization", 0},
                                                      {"Trilu", 0},
                                                      {"Mod", 0},
                                                      {"IsNaN", 0},
                                                      {"IsInf", 0},
                                                      {"Sin", 0},
                                                      {"Tan", 0},
                                                      {"Sinh", 0},
                                                      {"Cosh", 0},
                                                      {"Asin", 0},
                                                      {"Acos", 0},
                                                      {"Atan", 0},
                                                      {"Asinh", 0},
                                                      {"Acosh", 0},
                                                      {"Atanh", 0},
                                                      {"Bernoulli", 0},
                                                      {"RandomNormalLike", 0},
                                                      {"RandomUniformLike", 0},
                                                      {"BitwiseNot", 0},
                                                      {"QuantizeLinear", 0},
                                                      {"DequantizeLinear", 0},
                                                      {"ReverseSequence", 0},
                                                      {"BatchNormalization", 0},
                                                      {"LayerNormalization", 0},
                                                      {"InstanceNormalization", 0},
                                                      {"GroupNormalization", 0},
                                                      {"PRelu", 0},
                                                      {"Celu", 0},
                                                      {"Selu", 0},
                                                      {"Cast", 0},
                                                      {"Softmax", 0},
                                                      {"LogSoftmax", 0},
                                                      {"Dropout", 0},
                                                      {"Div", 0}};
  return table;
}

std::string cast_word(OnnxDataType type) {
  if (type == OnnxDataType::kBool) return "bool";
  return is_real(type) || type == OnnxDataType::kUndefined ? "float" : "int64";
}

}  // namespace

// A second value that is the same and has another name.
ValueId Importer::copy_under_name(ValueId value, OnnxDataType type, const std::string& name) {
  Node node{"Cast", unique_node_name(name), {value}, {new_value(name)}, {}, {}};
  node.attributes["to"] = cast_word(type);
  const ValueId copy = node.outputs[0];
  emit(std::move(node));
  return copy;
}

// Subgraphs read by name, so the value that they mean must have it.
ValueId Importer::value_for_capture(const std::string& name, Slot& slot) {
  ValueId value = value_of(slot);
  if (const auto copied = captured_.find({name, value}); copied != captured_.end()) return copied->second;
  if (graph_.values[static_cast<size_t>(value)].name != name)
    value = captured_[{name, value}] = copy_under_name(value, slot.type, name);
  if (graph_.values[static_cast<size_t>(value)].name != name)
    user_error("a subgraph captures '{}', a name that another value has", printable(name));
  return value;
}

std::optional<std::pair<Shape, Shape>> Importer::declared_shape(const std::string& output, const Scope& scope) const {
  const auto found = infos_.find(output);
  if (scope.depth > 0 || found == infos_.end() || found->second->type.kind != OnnxType::Kind::kTensor ||
      !found->second->type.has_shape)
    return std::nullopt;
  std::pair<Shape, Shape> shapes;
  for (size_t d = 0; d < found->second->type.shape.size(); ++d) {
    const OnnxDim& dim = found->second->type.shape[d];
    const auto symbol = symbols_.find(dim.param);
    std::pair<int64_t, int64_t> size;
    if (dim.fixed()) {
      size = {*dim.value, *dim.value};
    } else if (symbol != symbols_.end()) {
      size = symbol->second;
    } else if (d == 0) {
      size = {batch_, batch_ * kBatchFactor};
    } else {
      return std::nullopt;
    }
    shapes.first.push_back(size.first);
    shapes.second.push_back(size.second);
  }
  return shapes;
}

// Of operators whose output's shape follows from what is known of their inputs, at one of the two batch sizes.
std::optional<Shape> Importer::computed_shape(const OnnxNode& node, const std::vector<SlotPtr>& inputs, bool other) const {
  const auto given = [&](size_t i) { return i < inputs.size() && inputs[i] && !inputs[i]->unreadable; };
  const auto shape_of = [&](size_t i) { return other ? other_shape(*inputs[i]) : shape(*inputs[i]); };
  if (!is_default_domain(node.domain) || !given(0)) return std::nullopt;
  if (node.op_type == "Gather" && given(1)) {
    Shape result = shape_of(0);
    const Shape indices = shape_of(1);
    const int64_t rank = std::ssize(result), axis = attribute_int(node, "axis", 0, where_), at = axis < 0 ? axis + rank : axis;
    if (at < 0 || at >= rank) return std::nullopt;
    result.erase(result.begin() + at);
    result.insert(result.begin() + at, indices.begin(), indices.end());
    return result;
  }
  if (node.op_type != "Resize" || find_attribute(node, "axes") || find_attribute(node, "keep_aspect_ratio_policy")) return std::nullopt;
  const bool has_sizes = given(3);
  const KnownPtr numbers = has_sizes ? (other ? inputs[3]->b : inputs[3]->a) : given(2) ? (other ? inputs[2]->b : inputs[2]->a) : nullptr;
  Shape result = shape_of(0);
  if (!numbers || numbers->count() != result.size()) return std::nullopt;
  for (size_t d = 0; d < result.size(); ++d) {
    const double size = has_sizes ? numbers->number(d) : std::floor(static_cast<double>(result[d]) * numbers->number(d));
    if (!(size >= 0 && size <= static_cast<double>(int64_t{1} << 40))) return std::nullopt;
    result[d] = static_cast<int64_t>(size);
  }
  return result;
}

std::vector<std::pair<Shape, Shape>> Importer::opaque_shapes(const OnnxNode& node, const std::vector<SlotPtr>& inputs,
                                                             const Scope& scope) const {
  std::vector<std::pair<Shape, Shape>> shapes;
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    if (node.outputs[i].empty() || !is_read(node.outputs[i], scope)) {
      shapes.emplace_back();
      continue;
    }
    if (const auto declared = declared_shape(node.outputs[i], scope)) {
      shapes.push_back(*declared);
      continue;
    }
    const auto computed = i == 0 ? computed_shape(node, inputs, false) : std::nullopt;
    const auto also = computed ? computed_shape(node, inputs, true) : std::nullopt;
    if (also) {
      shapes.emplace_back(*computed, *also);
      continue;
    }
    const auto giver = shape_givers().find(node.op_type);
    const bool known = i == 0 && is_default_domain(node.domain) && giver != shape_givers().end() &&
                       giver->second < inputs.size() && inputs[giver->second] && !inputs[giver->second]->unreadable;
    if (!known)
      throw UserError(fmt::format("{}: {} (kept as it is)", node.name.empty() ? node.op_type : printable(node.name),
                                  printable(node.op_type)),
                      fmt::format("shape of the output '{}'", printable(node.outputs[i])),
                      "one in the file's value_info", "none");
    shapes.emplace_back(shape(*inputs[giver->second]), other_shape(*inputs[giver->second]));
  }
  return shapes;
}

void Importer::import_opaque(const OnnxNode& node, Scope& scope, const std::string& why) {
  const std::vector<SlotPtr> inputs = inputs_of(node, scope);
  if (node.op_type == "Resize")
    for (size_t i = 2; i < inputs.size(); ++i)
      if (inputs[i]) look(*inputs[i]);
  const auto shapes = opaque_shapes(node, inputs, scope);
  const std::string hint = !node.name.empty() ? node.name : node.outputs.empty() ? node.op_type : node.outputs[0];
  Node kept{"Opaque", unique_node_name(scope.prefix + hint), {}, {}, {}, {}};
  OnnxNode original = node;
  std::set<ValueId> reads;
  auto read = [&](ValueId value) {
    if (reads.insert(value).second) kept.inputs.push_back(value);
    kept_names_.insert(value);
  };
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i] || inputs[i]->unreadable) continue;
    const ValueId value = value_of(*inputs[i]);
    read(value);
    original.inputs[i] = graph_.values[static_cast<size_t>(value)].name;
  }
  const std::set<std::string_view> direct(node.inputs.begin(), node.inputs.end());
  for (std::string_view name : onnx_reads(node)) {
    const SlotPtr slot = direct.contains(name) ? nullptr : scope.find(std::string(name));
    if (!slot || slot->unreadable) continue;
    read(value_for_capture(std::string(name), *slot));
  }
  kept.attributes["op_type"] = node.domain.empty() ? node.op_type : node.domain + "." + node.op_type;
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    kept.attributes[fmt::format("shape.{}", i)] = shapes[i].first;
    const bool named = !node.outputs[i].empty();
    SlotPtr slot = new_slot(named ? node.outputs[i] : fmt::format("{}/output.{}", hint, i), scope);
    slot->value = named ? new_value(slot->name) : new_inner_value(slot->name);
    const auto info = scope.depth == 0 ? infos_.find(node.outputs[i]) : infos_.end();
    slot->type = info != infos_.end()           ? info->second->type.elem_type
                 : !inputs.empty() && inputs[0] ? inputs[0]->type
                                                : OnnxDataType::kUndefined;
    kept.outputs.push_back(slot->value);
    if (named) original.outputs[i] = graph_.values[static_cast<size_t>(slot->value)].name;
    bind(node.outputs[i], slot, scope);
  }
  notes_.push_back(fmt::format("{} {}: kept as it is: {}", printable(node.op_type), printable(kept.name), why));
  source_->opaque[kept.name] = std::move(original);
  const auto outputs = kept.outputs;
  emit(std::move(kept));
  for (size_t i = 0; i < outputs.size(); ++i)
    if (batch_free_) other_shapes_[static_cast<size_t>(outputs[i])] = shapes[i].second;
}

}  // namespace espalier
