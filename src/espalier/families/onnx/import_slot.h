// What a name of an ONNX file stands for while it is imported.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>

#include "espalier/families/onnx/fold.h"
#include "espalier/graph/graph.h"

namespace espalier {

// A tensor of the file, perhaps laid out anew. Its bytes are read when somebody asks for them.
struct Stored {
  std::string name;  // of the initialiser, or of the Constant node's output
  std::string form;  // what was done to the layout; the same name and form are one parameter
  OnnxDataType type = OnnxDataType::kFloat;
  DType dtype = DType::kF32;
  Shape shape;
  std::function<Tensor()> fetch;
  std::shared_ptr<const Stored> untransposed;  // when all that was done is to swap the two dims of this one
};
using StoredPtr = std::shared_ptr<const Stored>;

// A value of the graph, a tensor of the file or folded contents; a value is made of the latter two where one is needed.
// Everything is worked out for two batch sizes: `a` is what the graph is made for, `b` another one.
struct Slot {
  std::string name;  // the value's name in the graph
  OnnxDataType type = OnnxDataType::kUndefined;
  ValueId value = -1;
  StoredPtr stored;
  KnownPtr a, b;
  std::function<std::pair<KnownPtr, KnownPtr>()> deferred;  // contents of what is computed from tensors of the file
  int deferred_depth = 0;
  bool unreadable = false;  // a constant of a type that espalier has no tensor for

  bool constant() const { return stored || a || unreadable || deferred; }
  // Trained numbers, as opposed to sizes, positions and factors, which are folded.
  bool weight_like() const { return deferred || (stored && is_real(stored->type) && element_count(stored->shape) > 1); }
};
using SlotPtr = std::shared_ptr<Slot>;

// The names of a graph, a branch or a function body.
struct Scope {
  const Scope* outer = nullptr;  // a branch sees the names around it
  std::string prefix;            // of values and nodes whose names are taken
  int64_t opset = 0;             // of the default domain
  int depth = 0;
  std::unordered_map<std::string, SlotPtr> slots;

  SlotPtr find(const std::string& name) const {
    for (const Scope* scope = this; scope; scope = scope->outer)
      if (const auto found = scope->slots.find(name); found != scope->slots.end()) return found->second;
    return nullptr;
  }
};

// Thrown when an operator, or this use of it, has no form in the graph: the node is kept as it is.
struct NotUnderstood {
  std::string why;
};

}  // namespace espalier
