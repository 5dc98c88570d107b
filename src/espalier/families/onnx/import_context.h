// The state of one import: names, the graph so far, and the shapes of its values at two batch sizes.
//
// Whether a number in the file depends on the batch is found out by doing all arithmetic twice, for the batch size that
// the graph is made for and for kBatchFactor times as many: what differs depends on the batch. So shapes that exporters
// compute, or have baked in for a batch of one, become forms that hold for any batch (a Reshape's 0 or −1, an Expand
// that follows an input). Where that fails the graph keeps the one batch size and a note says why.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "espalier/families/onnx/import.h"
#include "espalier/families/onnx/import_slot.h"

namespace espalier {

constexpr int64_t kBatchFactor = 7;

class Importer {
 public:
  Importer(OnnxModel model, const OnnxImportOptions& options);
  OnnxImport run();

  const std::string& where() const { return where_; }
  const Graph& graph() const { return graph_; }
  bool batch_free() const { return batch_free_; }
  void fix_batch(const std::string& why);

  // Shapes of a slot at the two batch sizes.
  const Shape& shape(const Slot& slot) const;
  const Shape& other_shape(const Slot& slot) const;
  const Shape& other_shape(ValueId value) const { return other_shapes_[static_cast<size_t>(value)]; }
  // Contents at the two batch sizes, where they are known and small.
  void look(Slot& slot);
  ValueId value_of(Slot& slot);                       // a Constant where there is no value yet
  std::string parameter_of(const StoredPtr& stored);  // declared on first use
  bool is_read(const std::string& output, const Scope& scope) const;

  ValueId new_value(const std::string& name);        // of the file, or any that is free
  ValueId new_inner_value(const std::string& hint);  // takes no name of the file
  std::string unique_node_name(const std::string& hint);
  // Adds the node, whose outputs exist, and infers their shapes.
  void emit(Node node);
  // The value with its dim 0, of size 1, repeated over the batch; nothing without an input that has the batch.
  std::optional<ValueId> over_batch(ValueId value);
  int64_t batch() const { return batch_; }
  // In the dim that the batch scales: how many positions come before the batch's (ops_reshape.cpp).
  int64_t batch_outer(ValueId value) const { return batch_outers_[static_cast<size_t>(value)]; }
  void set_batch_outer(ValueId value, int64_t outer) { batch_outers_[static_cast<size_t>(value)] = outer; }
  bool is_batch(int64_t size, int64_t other_size) const {
    return size == batch_ && other_size == batch_ * kBatchFactor;
  }

 private:
  // import.cpp
  void bind_tensors(const OnnxGraph& graph, Scope& scope);
  void bind_inputs();
  Shape input_shape(const OnnxValueInfo& input) const;
  void bind_outputs();
  void find_transformer();
  void state_batch();
  void note_symbols(const OnnxValueInfo& input, const Shape& shape, const Shape& other);

  // import_nodes.cpp
  void import_nodes(const std::vector<OnnxNode>& nodes, Scope& scope);
  void import_node(const OnnxNode& node, Scope& scope);
  void translate(const OnnxNode& node, Scope& scope);
  std::vector<SlotPtr> inputs_of(const OnnxNode& node, const Scope& scope) const;
  bool import_constant(const OnnxNode& node, Scope& scope);
  bool import_shape(const OnnxNode& node, const std::vector<SlotPtr>& inputs, Scope& scope);
  bool import_folded(const OnnxNode& node, const std::vector<SlotPtr>& inputs, Scope& scope, bool weights = false);
  std::vector<std::pair<KnownPtr, KnownPtr>> folded(const OnnxNode& node, const std::vector<SlotPtr>& inputs,
                                                    int64_t opset, bool weights);
  void defer_contents(const OnnxNode& node, const std::vector<SlotPtr>& inputs, Scope& scope);
  bool import_copy(const OnnxNode& node, const std::vector<SlotPtr>& inputs, Scope& scope);
  bool import_layout(const OnnxNode& node, const std::vector<SlotPtr>& inputs, Scope& scope);
  void bind(const std::string& name, SlotPtr slot, Scope& scope);
  SlotPtr new_slot(const std::string& name, const Scope& scope);
  void set_known(Slot& slot, KnownPtr a, KnownPtr b);
  void pass_batch_outer(const Node& node);
  SlotPtr stored_slot(const std::string& name, std::shared_ptr<const OnnxTensor> tensor, const Scope& scope);

  // import_control.cpp: branches and functions
  bool import_branch(const OnnxNode& node, const std::vector<SlotPtr>& inputs, Scope& scope);
  bool import_call(const OnnxNode& node, const std::vector<SlotPtr>& inputs, Scope& scope);
  const OnnxFunction* function_of(const OnnxNode& node) const;
  bool can_inline(const OnnxFunction& function, int depth);
  void count_node();

  // import_opaque.cpp
  void import_opaque(const OnnxNode& node, Scope& scope, const std::string& why);
  std::vector<std::pair<Shape, Shape>> opaque_shapes(const OnnxNode& node, const std::vector<SlotPtr>& inputs,
                                                     const Scope& scope) const;
  std::optional<Shape> computed_shape(const OnnxNode& node, const std::vector<SlotPtr>& inputs, bool other) const;
  std::optional<std::pair<Shape, Shape>> declared_shape(const std::string& output, const Scope& scope) const;
  ValueId value_for_capture(const std::string& name, Slot& slot);
  ValueId copy_under_name(ValueId value, OnnxDataType type, const std::string& name);

  std::shared_ptr<OnnxSource> source_;
  OnnxImportOptions options_;
  std::string where_;
  Graph graph_;
  std::vector<Shape> other_shapes_;  // of each value
  std::vector<int64_t> batch_outers_;
  int64_t batch_ = 1;
  ValueId batch_carrier_ = -1;  // an input whose dim 0 is the batch
  bool batch_free_ = true;
  std::vector<Shape> input_shapes_;
  std::vector<std::string> notes_;
  std::map<std::string, std::pair<int64_t, int64_t>> symbols_;  // sizes of named dims
  std::unordered_map<std::string, const OnnxValueInfo*> infos_;
  std::unordered_set<std::string> reserved_;                               // value names of the file
  std::unordered_set<std::string> value_names_, node_names_;               // in use
  std::unordered_map<std::string, int64_t> file_node_names_;               // how many nodes of the file have it
  std::unordered_map<std::string, int64_t> read_counts_;                   // of names of the outermost graph
  std::map<std::pair<std::string, std::string>, std::string> parameters_;  // (name, form) → parameter
  std::unordered_map<std::string, int64_t> suffixes_;                      // the last number put after a taken name
  std::unordered_set<ValueId> kept_names_;                                 // values that nodes kept as they are read
  std::map<std::pair<std::string, ValueId>, ValueId> captured_;            // copies under the names that subgraphs read
  std::map<const OnnxFunction*, bool> inlinable_;
  std::map<std::tuple<std::string, std::string, std::string>, const OnnxFunction*> functions_;
  template <typename Taken>
  std::string free_name(const std::string& hint, Taken taken);
  int64_t known_elements_ = 0;
  int64_t node_count_ = 0;
  Scope root_;
  friend class NodeImport;
};

}  // namespace espalier
