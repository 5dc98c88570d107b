#include "espalier/families/onnx/import.h"

#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/families/onnx/import_context.h"
#include "espalier/families/onnx/patterns.h"
#include "espalier/graph/operator.h"
#include "espalier/io/onnx/order.h"
#include "espalier/io/onnx/reader.h"
#include "espalier/io/onnx/tensor.h"
#include "espalier/io/onnx/validate.h"

namespace espalier {
namespace {

constexpr int64_t kMostInputElements = int64_t{1} << 34, kMostInputDim = int64_t{1} << 24;

std::string describe_input(const std::string& where, const std::string& name) {
  return fmt::format("{}: input '{}'", where, printable(name));
}

std::string describe_dim(const OnnxDim& dim, size_t d) {
  return dim.param.empty() ? fmt::format("dim {}", d) : fmt::format("dim {} '{}'", d, printable(dim.param));
}

void check_input_shape(const std::string& label, const Shape& shape) {
  int64_t count = 1;
  for (int64_t size : shape) {
    if (size < 0 || size > kMostInputDim || (count *= std::max<int64_t>(size, 1)) > kMostInputElements)
      throw UserError(label, "shape", "sizes of at most 2^24 and 2^34 elements", to_string(shape));
  }
}

}  // namespace

Importer::Importer(OnnxModel model, const OnnxImportOptions& options) : options_(options) {
  where_ = model.path.empty() ? "ONNX model" : model.path.string();
  source_ = std::make_shared<OnnxSource>();
  source_->model = std::move(model);
  const OnnxModel& file = source_->model;
  root_.opset = opset_version(file.opset_imports, "").value_or(kMinOnnxOpset);
  for (const OnnxFunction& function : file.functions)
    functions_[{is_default_domain(function.domain) ? "" : function.domain, function.name, function.overload}] =
        &function;
  for (const auto* list : {&file.graph.value_infos, &file.graph.outputs})
    for (const OnnxValueInfo& info : *list)
      if (info.type.has_shape) infos_[info.name] = &info;
  for (const OnnxNode& node : file.graph.nodes) {
    ++file_node_names_[node.name];
    for (const std::string& output : node.outputs) reserved_.insert(output);
    for (std::string_view name : onnx_reads(node)) ++read_counts_[std::string(name)];
  }
  for (const OnnxValueInfo& output : file.graph.outputs) ++read_counts_[output.name];
  for (const OnnxValueInfo& input : file.graph.inputs) reserved_.insert(input.name);
}

void Importer::bind_tensors(const OnnxGraph& graph, Scope& scope) {
  for (const OnnxTensor& tensor : graph.initializers) {
    if (scope.depth == 0) reserved_.insert(tensor.name);
    bind(tensor.name, stored_slot(tensor.name, std::shared_ptr<const OnnxTensor>(source_, &tensor), scope), scope);
  }
  for (const OnnxSparseTensor& sparse : graph.sparse_initializers) {
    const OnnxTypeInfo* info = onnx_type_info(sparse.values.data_type);
    SlotPtr slot = new_slot(sparse.values.name, scope);
    slot->type = sparse.values.data_type;
    slot->unreadable = !info || !info->dtype;
    if (!slot->unreadable) {
      auto fetch = [sparse = std::shared_ptr<const OnnxSparseTensor>(source_, &sparse), where = where_] {
        return to_tensor(*sparse, where);
      };
      slot->stored = std::make_shared<Stored>(
          Stored{slot->name, "", slot->type, *info->dtype, sparse.dims, std::move(fetch), nullptr});
    }
    bind(sparse.values.name, slot, scope);
  }
}

// The file's dims, those that it leaves open from the options. A batch may stay open: the graph takes any.
Shape Importer::input_shape(const OnnxValueInfo& input) const {
  const std::string label = describe_input(where_, input.name);
  const auto given = options_.input_shapes.find(input.name);
  const Shape* wanted = given == options_.input_shapes.end() ? nullptr : &given->second;
  if (input.type.kind != OnnxType::Kind::kTensor) throw UserError(label, "type", "a tensor", "another type");
  if (!input.type.has_shape) {
    if (!wanted) throw UserError(label, "shape", "one in the file or given as an option", "none");
    return *wanted;
  }
  if (wanted && wanted->size() != input.type.shape.size())
    throw UserError(label, "the given shape", fmt::format("{} dims", input.type.shape.size()), to_string(*wanted));
  Shape shape;
  for (size_t d = 0; d < input.type.shape.size(); ++d) {
    const OnnxDim& dim = input.type.shape[d];
    if (dim.fixed() && wanted && (*wanted)[d] != *dim.value)
      throw UserError(label, fmt::format("dim {} of the given shape", d), std::to_string(*dim.value),
                      std::to_string((*wanted)[d]));
    if (!dim.fixed() && !wanted && d > 0)
      throw UserError(label, describe_dim(dim, d), "a number; --input-shape NAME=SIZES gives it",
                      "a size that the file leaves open");
    shape.push_back(dim.fixed() ? *dim.value : wanted ? (*wanted)[d] : options_.dynamic_dim);
  }
  return shape;
}

void Importer::note_symbols(const OnnxValueInfo& input, const Shape& shape, const Shape& other) {
  for (size_t d = 0; d < input.type.shape.size(); ++d) {
    const OnnxDim& dim = input.type.shape[d];
    if (dim.fixed()) continue;
    if (!dim.param.empty()) symbols_.emplace(dim.param, std::pair(shape[d], other[d]));
    if (shape[d] == other[d])
      notes_.push_back(
          fmt::format("input '{}': {} is {} from now on", printable(input.name), describe_dim(dim, d), shape[d]));
  }
}

// The batch is dim 0 of the first input, and of every other one that has the same size there.
void Importer::bind_inputs() {
  for (const OnnxValueInfo& input : source_->model.graph.inputs) {
    if (root_.find(input.name)) continue;  // up to IR version 3 initialisers are inputs as well
    const Shape shape = input_shape(input);
    check_input_shape(describe_input(where_, input.name), shape);
    SlotPtr slot = new_slot(input.name, root_);
    slot->type = input.type.elem_type;
    slot->value = new_value(input.name);
    graph_.inputs.push_back(slot->value);
    input_shapes_.push_back(shape);
    Shape other = shape;
    if (batch_carrier_ < 0 && !shape.empty() && shape[0] > 0) {
      batch_ = shape[0];
      batch_carrier_ = slot->value;
    }
    if (!shape.empty() && shape[0] == batch_ && batch_carrier_ >= 0) other[0] *= kBatchFactor;
    graph_.values[static_cast<size_t>(slot->value)].shape = shape;
    other_shapes_[static_cast<size_t>(slot->value)] = other;
    note_symbols(input, shape, other);
    bind(input.name, slot, root_);
  }
  for (const auto& [name, shape] : options_.input_shapes)
    if (const SlotPtr slot = root_.find(name); !slot || slot->value < 0)
      throw UserError(where_, "the given shapes", "names of inputs", printable(name));
}

// Each output is a value of its own that has the output's name.
void Importer::bind_outputs() {
  std::unordered_set<ValueId> taken(graph_.inputs.begin(), graph_.inputs.end());
  for (const OnnxValueInfo& output : source_->model.graph.outputs) {
    const SlotPtr slot = root_.find(output.name);
    ESP_ASSERT(slot, "{}", output.name);
    if (slot->unreadable)
      throw UserError(where_, printable(output.name), "a value that can be computed", "a constant of an unknown type");
    ValueId value = value_of(*slot);
    std::string& name = graph_.values[static_cast<size_t>(value)].name;
    if (taken.contains(value) || (name != output.name && kept_names_.contains(value))) {
      value = copy_under_name(value, slot->type, output.name);
    } else {
      name = output.name;
    }
    taken.insert(value);
    graph_.outputs.push_back(value);
  }
}

void Importer::find_transformer() {
  if (!batch_free_)
    for (size_t i = 0; i < other_shapes_.size(); ++i) other_shapes_[i] = graph_.values[i].shape;
  GraphGrowth growth{graph_, other_shapes_, [&](const std::string& hint) { return new_inner_value(hint); },
                     [&](const std::string& hint) { return unique_node_name(hint); }};
  graph_.drop_unread_nodes();
  fuse_attention(growth);
  graph_.drop_unread_nodes();
  fuse_rows(growth);
  graph_.drop_unread_nodes();
  fuse_biases(graph_);
  graph_.drop_unread_nodes();
  find_blocks(growth);
  fix_tables(graph_);
}

// A graph that holds for one batch size alone must not be given back under inputs that promise any.
void Importer::state_batch() {
  if (batch_free_) return;
  for (OnnxValueInfo& input : source_->model.graph.inputs) {
    const SlotPtr slot = root_.find(input.name);
    if (!slot || slot->value < 0 || input.type.shape.empty() || input.type.shape[0].fixed()) continue;
    if (graph_.values[static_cast<size_t>(slot->value)].shape.at(0) != batch_) continue;
    input.type.shape[0].value = batch_;
    input.type.shape[0].param.clear();
  }
}

OnnxImport Importer::run() {
  bind_tensors(source_->model.graph, root_);
  bind_inputs();
  import_nodes(source_->model.graph.nodes, root_);
  bind_outputs();
  fuse_patterns(graph_);
  find_transformer();
  state_batch();
  graph_.drop_unused_parameters();
  infer_shapes(graph_, input_shapes_);
  graph_.check();
  std::unordered_set<std::string> present;
  for (const Node& node : graph_.nodes) present.insert(node.name);
  std::erase_if(source_->opaque, [&](const auto& entry) { return !present.contains(entry.first); });
  return {std::move(graph_), source_, std::move(input_shapes_), std::move(notes_)};
}

namespace {

// Names of the file stand in messages from everywhere, so control bytes are escaped here.
OnnxImport imported(OnnxModel model, const OnnxImportOptions& options) {
  constexpr size_t kLongestMessage = 4096;
  try {
    return Importer(std::move(model), options).run();
  } catch (const UserError& error) {
    throw UserError(printable(error.what(), kLongestMessage));
  }
}

}  // namespace

OnnxImport import_onnx(const std::filesystem::path& path, const OnnxImportOptions& options) {
  return imported(read_onnx(path), options);
}

OnnxImport import_onnx(OnnxModel model, const OnnxImportOptions& options) {
  validate_onnx(model, model.path.empty() ? "ONNX model" : model.path.string());
  return imported(std::move(model), options);
}

}  // namespace espalier
