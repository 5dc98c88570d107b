#include "espalier/families/onnx/import_ops.h"

#include <algorithm>
#include <map>

#include "espalier/io/onnx/attributes.h"

namespace espalier {
namespace {

std::map<std::pair<std::string, std::string>, OnnxImportFunction>& functions() {
  static std::map<std::pair<std::string, std::string>, OnnxImportFunction> table;
  return table;
}

}  // namespace

RegisterOnnxImport::RegisterOnnxImport(const char* op_type, OnnxImportFunction function, const char* domain) {
  ESP_ASSERT(functions().emplace(std::pair(std::string(domain), std::string(op_type)), function).second, "{}", op_type);
}

OnnxImportFunction find_onnx_import(const std::string& domain, const std::string& op_type) {
  const auto found = functions().find({domain, op_type});
  return found == functions().end() ? nullptr : found->second;
}

Slot& NodeImport::slot(size_t i) {
  if (!has(i)) refuse(fmt::format("input {}", i), "a value", "none");
  return *inputs_[i];
}

bool NodeImport::is_read(size_t output) const {
  return output < node_.outputs.size() && importer_.is_read(node_.outputs[output], scope_);
}

std::string NodeImport::parameter(size_t i, const char* role) {
  const StoredPtr found = stored(i);
  if (!found) not_understood(fmt::format("its {} is not a tensor of the file", role));
  return importer_.parameter_of(found);
}

const Known* NodeImport::known_at(size_t i, bool other) {
  if (!has(i) || slot(i).unreadable) return nullptr;
  importer_.look(slot(i));
  return other && importer_.batch_free() ? slot(i).b.get() : slot(i).a.get();
}

const Known* NodeImport::known(size_t i) {
  const Known *a = known_at(i, false), *b = known_at(i, true);
  return a && (a == b || *a == *b) ? a : nullptr;
}

std::optional<double> NodeImport::scalar(size_t i) {
  if (!has(i) || slot(i).weight_like()) return std::nullopt;
  const Known* found = known(i);
  return found && found->count() == 1 ? std::optional(found->number(0)) : std::nullopt;
}

std::optional<std::vector<int64_t>> NodeImport::integers(size_t i, const char* attribute) {
  if (has(i)) {
    const Known* found = known(i);
    if (!found || found->real()) not_understood(fmt::format("its {} are not constant", attribute));
    return found->ints;
  }
  if (!has_attribute(attribute)) return std::nullopt;
  return integers(attribute);
}

size_t NodeImport::axis(int64_t given, size_t rank) const {
  if (!normalise_axis(given, rank))
    refuse("axis", fmt::format("{} to {}", -static_cast<int64_t>(rank), static_cast<int64_t>(rank) - 1),
           std::to_string(given));
  return static_cast<size_t>(given);
}

bool NodeImport::has_attribute(const char* name) const { return find_attribute(node_, name) != nullptr; }
int64_t NodeImport::integer(const char* name, int64_t otherwise) const {
  return attribute_int(node_, name, otherwise, importer_.where());
}
double NodeImport::real(const char* name, double otherwise) const {
  if (!has_attribute(name)) return otherwise;
  return attribute_float(node_, name, 0, importer_.where());
}
std::string NodeImport::text(const char* name, const std::string& otherwise) const {
  return attribute_string(node_, name, otherwise, importer_.where());
}
std::vector<int64_t> NodeImport::integers(const char* name) const {
  return attribute_ints(node_, name, {}, importer_.where());
}

// As in the file where that is unique there, else after the first output.
std::string NodeImport::node_name() {
  const auto named = importer_.file_node_names_.find(node_.name);
  const bool unique = !node_.name.empty() && named != importer_.file_node_names_.end() && named->second == 1;
  const std::string& output = node_.outputs.empty() ? node_.op_type : node_.outputs[0];
  return scope_.prefix + (unique || (scope_.depth > 0 && !node_.name.empty()) ? node_.name : output);
}

ValueId NodeImport::add(const char* suffix, Node node) {
  const std::string hint = fmt::format("{}/{}", node_name(), suffix);
  node.name = importer_.unique_node_name(hint);
  const ValueId value = importer_.new_inner_value(hint);
  node.outputs = {value};
  importer_.emit(std::move(node));
  return value;
}

ValueId NodeImport::add(const char* suffix, const std::string& op, std::vector<ValueId> inputs,
                        std::map<std::string, Attribute> attributes) {
  return add(suffix, Node{op, "", std::move(inputs), {}, {}, std::move(attributes)});
}

ValueId NodeImport::constant_number(const char* suffix, double value) {
  Slot number;
  number.name = fmt::format("{}/{}", node_name(), suffix);
  number.a = number.b =
      std::make_shared<const Known>(Known{OnnxDataType::kFloat, {}, {}, {rounded(OnnxDataType::kFloat, value)}});
  return importer_.value_of(number);
}

void NodeImport::give(Node node, size_t outputs) {
  for (size_t i = outputs; i < node_.outputs.size(); ++i)
    if (is_read(i)) not_understood(fmt::format("its output '{}' is read", printable(node_.outputs[i])));
  if (node_.outputs.size() < outputs) refuse("outputs", std::to_string(outputs), std::to_string(node_.outputs.size()));
  node.name = importer_.unique_node_name(node_name());
  const OnnxDataType type = type_ != OnnxDataType::kUndefined ? type_ : has(0) ? slot(0).type : type_;
  for (size_t i = 0; i < outputs; ++i) {
    const std::string name = node_.outputs[i].empty() ? fmt::format("{}/output.{}", node.name, i) : node_.outputs[i];
    SlotPtr result = importer_.new_slot(name, scope_);
    result->type = type;
    result->value =
        node_.outputs[i].empty() ? importer_.new_inner_value(result->name) : importer_.new_value(result->name);
    node.outputs.push_back(result->value);
    importer_.bind(node_.outputs[i], result, scope_);
  }
  importer_.emit(std::move(node));
}

void NodeImport::give(const std::string& op, std::vector<ValueId> inputs, std::map<std::string, Attribute> attributes) {
  give(Node{op, "", std::move(inputs), {}, {}, std::move(attributes)});
}

void NodeImport::give_value(ValueId value) {
  if (node_.outputs.empty()) return;
  SlotPtr result = importer_.new_slot(node_.outputs[0], scope_);
  result->value = value;
  result->type = type_ != OnnxDataType::kUndefined ? type_ : has(0) ? slot(0).type : type_;
  importer_.bind(node_.outputs[0], result, scope_);
}

void NodeImport::alias(size_t input) {
  slot(input);
  for (size_t i = 1; i < node_.outputs.size(); ++i)
    if (is_read(i)) not_understood(fmt::format("its output '{}' is read", printable(node_.outputs[i])));
  if (!node_.outputs.empty()) importer_.bind(node_.outputs[0], inputs_[input], scope_);
}

void NodeImport::refuse(const std::string& what, const std::string& expected, const std::string& found) const {
  throw UserError(fmt::format("{}: expected {}, found {}", what, expected, found));
}

}  // namespace espalier
