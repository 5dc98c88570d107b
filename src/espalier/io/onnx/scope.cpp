#include "espalier/io/onnx/scope.h"

#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/io/onnx/order.h"

namespace espalier {
namespace {

std::string in_quotes(std::string_view name) { return fmt::format("'{}'", printable(name)); }

void require_name(const std::string& name, const std::string& label, const char* what) {
  if (name.empty()) throw UserError(label, what, "a name", "none");
}

}  // namespace

const OnnxScope::Definition* OnnxScope::find(std::string_view name) const {
  const auto found = names_.find(name);
  return found == names_.end() ? nullptr : &found->second;
}

std::string OnnxScope::describe_definition(const Definition& definition) const {
  if (definition.origin == Origin::kNode) return describe(nodes_[definition.node], definition.node);
  return definition.origin == Origin::kInput ? "an input of the graph" : "an initialiser";
}

void OnnxScope::define_input(const std::string& name) {
  require_name(name, label_, "input");
  if (!names_.emplace(name, Definition{Origin::kInput, 0}).second)
    throw UserError(label_, "input " + in_quotes(name), "it once", "it twice");
}

void OnnxScope::define_initializer(const std::string& name) {
  require_name(name, label_, "initializer");
  const auto [at, is_new] = names_.emplace(name, Definition{Origin::kInitializer, 0});
  if (is_new) return;
  if (at->second.origin == Origin::kInitializer)
    throw UserError(label_, "initializer " + in_quotes(name), "it once", "it twice");
  at->second.origin = Origin::kInitializer;
}

void OnnxScope::define_output_of_node(const std::string& name) {
  if (name.empty()) return;
  for (const OnnxScope* scope = this; scope; scope = scope->outer_)
    if (const Definition* other = scope->find(name))
      throw UserError(
          label_of(node_), "output " + in_quotes(name), "a name that nothing else produces",
          scope == this ? "another producer, " + describe_definition(*other) : "the same name in an outer graph");
  names_.emplace(name, Definition{Origin::kNode, node_});
}

void OnnxScope::require(const std::string& name) const {
  for (const OnnxScope* scope = this; scope; scope = scope->outer_)
    if (scope->defines(name)) return;
  refuse_missing(name);
}

void OnnxScope::refuse_missing(const std::string& name) const {
  for (const OnnxScope* scope = this; scope; scope = scope->outer_)
    for (size_t later = scope->node_; later < scope->nodes_.size(); ++later)
      if (const auto& outputs = scope->nodes_[later].outputs;
          std::find(outputs.begin(), outputs.end(), name) != outputs.end())
        user_error("{}: {}", scope->label_, describe_disorder(scope->nodes_, scope->node_, later, name));
  throw UserError(label_of(node_), "input " + in_quotes(name),
                  "the name of an input, an initialiser or a node's output", "a name that nothing produces");
}

}  // namespace espalier
