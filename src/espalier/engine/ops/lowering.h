// How an operator becomes steps of a flat program. One function an operator, registered by name; it sees the views of
// its inputs, says what its outputs are, and adds the steps that compute them. Steps whose inputs are all known are run
// at once: that is constant folding.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "espalier/engine/ops/view.h"
#include "espalier/graph/graph.h"

namespace espalier {

// A node with the nodes after it that its kernel does too.
struct FusedNode {
  const Node* node = nullptr;
  const Node* batch_norm = nullptr;  // right after it, to be folded into the weights
  struct Tail {
    const Node* node;    // Activation, or Add
    ValueId other = -1;  // of Add: what is added
  };
  std::vector<Tail> tail;
  std::vector<ValueId> inputs, outputs;  // of the whole
};

// What a step reads and writes, in the order in which its inputs and outputs were given.
struct StepPointers {
  std::vector<const std::byte*> in;
  std::vector<std::byte*> out;
  std::byte* scratch = nullptr;

  template <typename T>
  const T* input(size_t i) const {
    return reinterpret_cast<const T*>(in[i]);
  }
  template <typename T>
  T* output(size_t i) const {
    return reinterpret_cast<T*>(out[i]);
  }
};

using StepFunction = std::function<void(const StepPointers&)>;

struct Storage {
  uint64_t bytes = 0;
  std::shared_ptr<const void> owner;    // of a constant
  const std::byte* constant = nullptr;  // null: computed in every run
  int references = 0;                   // values that live in it, while the program is made
  int first_step = -1, last_step = -1;  // of the program, -1: the inputs
  uint64_t offset = 0;                  // in the workspace
};

struct GraphStep {
  std::string name;  // of the node, for profiles
  struct Place {
    int storage;
    uint64_t offset;  // bytes
  };
  std::vector<Place> in, out;
  uint64_t scratch_bytes = 0;
  StepFunction run, bind;  // bind: once, when the pointers are known; may be empty
  StepPointers pointers;
};

// The program while it is made, and afterwards.
struct Program {
  std::vector<Storage> storages;
  std::vector<GraphStep> steps;
};

class Lowering {
 public:
  Lowering(const Graph& graph, Program& program, std::vector<View>& values, std::vector<int>& uses)
      : graph_(graph), program_(program), values_(values), uses_(uses) {}
  void start(const FusedNode& fused) { fused_ = &fused; }
  void finish();  // inputs that nothing reads any more lose their storage

  const Graph& graph() const { return graph_; }
  const FusedNode& fused() const { return *fused_; }
  const Node& node() const { return *fused_->node; }
  size_t input_count() const { return node().inputs.size(); }
  const View& input(size_t i) const { return values_[static_cast<size_t>(node().inputs.at(i))]; }
  const View& value(ValueId id) const { return values_[static_cast<size_t>(id)]; }
  const Shape& output_shape(size_t i = 0) const;  // of the node itself
  size_t axis(int64_t given, size_t rank) const {
    return static_cast<size_t>(given < 0 ? given + static_cast<int64_t>(rank) : given);
  }
  void set_output(size_t i, View view);  // of the fused whole

  Tensor param(const std::string& role) const;  // fp32
  std::vector<float> floats(const std::string& role) const { return param(role).to_floats(); }

  View contiguous(const View& view) { return with_strides(view, contiguous_strides(view.shape)); }
  View channels_last(const View& view) { return with_strides(view, channels_last_strides(view.shape)); }
  View with_strides(const View& view, const Shape& strides);  // copies if it must
  View as_type(const View& view, DType dtype);
  View dense(const View& view) { return is_dense(view) ? view : contiguous(view); }

  View make(DType dtype, const Shape& shape) { return make(dtype, shape, contiguous_strides(shape)); }
  View make(DType dtype, const Shape& shape, const Shape& strides);  // strides of a dense view
  View constant(const Tensor& tensor);                               // kF32, kI64 or kBool
  bool is_constant(const View& view) const { return storage_of(view).constant != nullptr; }
  const std::byte* constant_bytes(const View& view) const;  // of the first element; asserts is_constant
  // Whether this node is the last to read anything in the storage of its i-th input, so that its output may go there.
  bool may_overwrite(const View& view) const;

  void step(std::vector<View> inputs, std::vector<View> outputs, StepFunction run, uint64_t scratch_bytes = 0,
            StepFunction bind = {});

 private:
  const Storage& storage_of(const View& view) const { return program_.storages[static_cast<size_t>(view.storage)]; }
  void run_now(const std::vector<View>& inputs, const std::vector<View>& outputs, const StepFunction& run,
               uint64_t scratch_bytes, const StepFunction& bind);

  const Graph& graph_;
  Program& program_;
  std::vector<View>& values_;  // by ValueId
  std::vector<int>& uses_;     // of each value, that are still to come
  const FusedNode* fused_ = nullptr;
};

using Lower = void (*)(Lowering&);

// Null: no kernel of this name.
Lower find_lowering(const std::string& op);

struct RegisterLowering {
  RegisterLowering(const std::string& op, Lower lower);
};

// The type that bool < int64 < fp32 give together.
DType promoted(DType a, DType b);

}  // namespace espalier
