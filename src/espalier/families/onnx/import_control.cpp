// Branches whose condition is known, and functions that the model brings along, are taken as if they stood in the
// graph.
#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/families/onnx/import_ops.h"
#include "espalier/io/onnx/attributes.h"

namespace espalier {
namespace {

constexpr int kMostDepth = 32;
constexpr int64_t kMostNodes = int64_t{1} << 19;  // a few functions that call each other twice make 2^n nodes

const OnnxAttribute* find_in(const std::vector<OnnxAttribute>& attributes, const std::string& name) {
  const auto found = std::find_if(attributes.begin(), attributes.end(), [&](auto& a) { return a.name == name; });
  return found == attributes.end() ? nullptr : &*found;
}

// References to the function's attributes become what the call says, or their defaults, or nothing.
OnnxNode with_attributes(OnnxNode node, const OnnxNode& call, const OnnxFunction& function) {
  std::vector<OnnxAttribute> attributes;
  for (OnnxAttribute& attribute : node.attributes) {
    if (attribute.ref_attr_name.empty()) {
      attributes.push_back(std::move(attribute));
      continue;
    }
    const OnnxAttribute* given = find_in(call.attributes, attribute.ref_attr_name);
    if (!given) given = find_in(function.attribute_defaults, attribute.ref_attr_name);
    if (!given) continue;
    attributes.push_back(*given);
    attributes.back().name = attribute.name;
  }
  node.attributes = std::move(attributes);
  return node;
}

}  // namespace

void Importer::count_node() {
  if (++node_count_ > kMostNodes) throw UserError(where_, "nodes", "at most 2^19, functions taken apart", "more");
}

bool Importer::import_branch(const OnnxNode& node, const std::vector<SlotPtr>& inputs, Scope& scope) {
  if (node.op_type != "If" || inputs.empty() || !inputs[0] || !inputs[0]->constant() || scope.depth >= kMostDepth)
    return false;
  look(*inputs[0]);
  if (!inputs[0]->a || inputs[0]->a->count() != 1 || *inputs[0]->a != *inputs[0]->b) return false;
  const OnnxAttribute* chosen = find_attribute(node, inputs[0]->a->number(0) != 0 ? "then_branch" : "else_branch");
  if (!chosen || chosen->graphs.empty() || chosen->graphs[0].outputs.size() < node.outputs.size()) return false;
  const OnnxGraph& branch = chosen->graphs[0];
  Scope inner{&scope, scope.prefix + node.outputs.at(0) + "/", scope.opset, scope.depth + 1, {}};
  for (const OnnxTensor& tensor : branch.initializers) {
    auto shared = std::make_shared<const OnnxTensor>(tensor);
    bind(tensor.name, stored_slot(tensor.name, std::move(shared), inner), inner);
  }
  if (!branch.sparse_initializers.empty()) return false;
  import_nodes(branch.nodes, inner);
  for (size_t i = 0; i < node.outputs.size(); ++i) bind(node.outputs[i], inner.find(branch.outputs[i].name), scope);
  return true;
}

const OnnxFunction* Importer::function_of(const OnnxNode& node) const {
  if (functions_.empty()) return nullptr;
  const auto found = functions_.find({is_default_domain(node.domain) ? "" : node.domain, node.op_type, node.overload});
  return found == functions_.end() ? nullptr : found->second;
}

// Every node of the body is known, and the body speaks the model's version of the operators.
bool Importer::can_inline(const OnnxFunction& function, int depth) {
  if (const auto known = inlinable_.find(&function); known != inlinable_.end()) return known->second;
  const auto opset = opset_version(function.opset_imports, "");
  bool simple = depth < kMostDepth && (!opset || *opset == root_.opset);
  for (const OnnxNode& node : function.nodes) {
    if (!simple) break;
    for (const OnnxAttribute& attribute : node.attributes) simple = simple && attribute.graphs.empty();
    const OnnxFunction* inner = function_of(node);
    if (inner) {
      simple = simple && can_inline(*inner, depth + 1);
    } else {
      const std::string domain = is_default_domain(node.domain) ? "" : node.domain;
      const bool folded = domain.empty() && (is_foldable(node.op_type) || node.op_type == "Constant" ||
                                             node.op_type == "Shape" || node.op_type == "Size");
      simple = simple && (folded || find_onnx_import(domain, node.op_type));
    }
  }
  return inlinable_[&function] = simple;
}

bool Importer::import_call(const OnnxNode& node, const std::vector<SlotPtr>& inputs, Scope& scope) {
  const OnnxFunction* function = function_of(node);
  if (!function || scope.depth >= kMostDepth || !can_inline(*function, 0)) return false;
  const std::string label = node.name.empty() && !node.outputs.empty() ? node.outputs[0] : node.name;
  Scope inner{nullptr, scope.prefix + label + "/", scope.opset, scope.depth + 1, {}};
  for (size_t i = 0; i < function->inputs.size() && i < inputs.size(); ++i)
    if (inputs[i]) bind(function->inputs[i], inputs[i], inner);
  for (const OnnxNode& body : function->nodes) import_node(with_attributes(body, node, *function), inner);
  for (size_t i = 0; i < function->outputs.size() && i < node.outputs.size(); ++i)
    if (SlotPtr slot = inner.find(function->outputs[i])) bind(node.outputs[i], slot, scope);
  return true;
}

}  // namespace espalier
