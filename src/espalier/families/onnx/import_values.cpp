// Values, parameters and shapes of the graph that an import makes.
#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/families/onnx/import_context.h"
#include "espalier/graph/operator.h"
#include "espalier/io/onnx/tensor.h"

namespace espalier {
namespace {

constexpr int64_t kMostDim = int64_t{1} << 24;

// Of contents that differ only by how often their rows repeat: one row.
KnownPtr repeated_row(const Known& a, const Known& b, int64_t batch) {
  if (a.shape.empty() || a.shape[0] != batch || b.shape.size() != a.shape.size() ||
      b.shape[0] != batch * kBatchFactor || !std::equal(a.shape.begin() + 1, a.shape.end(), b.shape.begin() + 1))
    return nullptr;
  auto row = std::make_shared<Known>(Known{a.type, a.shape, {}, {}});
  row->shape[0] = 1;
  const size_t size = b.count() / static_cast<size_t>(b.shape[0]);
  for (size_t i = 0; i < b.count(); ++i) {
    if (i < size) append(*row, b, i);
    if (b.real() ? b.reals[i] != b.reals[i % size] : b.ints[i] != b.ints[i % size]) return nullptr;
  }
  return row;
}

void check_dims(const std::string& node, const std::vector<Shape>& shapes) {
  for (const Shape& shape : shapes)
    for (int64_t size : shape)
      if (size > kMostDim) throw UserError(node, "output", "dims of at most 2^24", to_string(shape));
}

}  // namespace

template <typename Taken>
std::string Importer::free_name(const std::string& hint, Taken taken) {
  if (!taken(hint)) return hint;
  for (int64_t& number = suffixes_[hint];;) {
    std::string name = fmt::format("{}.{}", hint, ++number);
    if (!taken(name)) return name;
  }
}

ValueId Importer::new_value(const std::string& name) {
  const std::string free = free_name(name, [&](const std::string& n) { return value_names_.contains(n); });
  value_names_.insert(free);
  other_shapes_.emplace_back();
  batch_outers_.push_back(1);
  return graph_.add_value(free);
}

ValueId Importer::new_inner_value(const std::string& hint) {
  return new_value(
      free_name(hint, [&](const std::string& n) { return value_names_.contains(n) || reserved_.contains(n); }));
}

std::string Importer::unique_node_name(const std::string& hint) {
  const auto of_file = file_node_names_.find(hint);
  const bool own = of_file != file_node_names_.end() && of_file->second == 1;
  std::string name = free_name(hint, [&](const std::string& n) {
    return node_names_.contains(n) || (n != hint && file_node_names_.contains(n)) ||
           (n == hint && !own && file_node_names_.contains(n));
  });
  node_names_.insert(name);
  return name;
}

void Importer::fix_batch(const std::string& why) {
  if (!batch_free_) return;
  batch_free_ = false;
  notes_.push_back(fmt::format("the batch stays {}: {}", batch_, why));
}

const Shape& Importer::shape(const Slot& slot) const {
  if (slot.value >= 0) return graph_.values[static_cast<size_t>(slot.value)].shape;
  if (slot.unreadable) throw NotUnderstood{"it reads a constant of a type that espalier has no tensor for"};
  return slot.stored ? slot.stored->shape : slot.a->shape;
}

const Shape& Importer::other_shape(const Slot& slot) const {
  if (!batch_free_) return shape(slot);
  if (slot.value >= 0) return other_shapes_[static_cast<size_t>(slot.value)];
  return slot.stored || slot.unreadable ? shape(slot) : slot.b->shape;
}

void Importer::set_known(Slot& slot, KnownPtr a, KnownPtr b) {
  slot.type = a->type;
  known_elements_ += static_cast<int64_t>(a->count());
  slot.a = std::move(a);
  if (b && *b != *slot.a) known_elements_ += static_cast<int64_t>(b->count());
  slot.b = b && *b != *slot.a ? std::move(b) : slot.a;
}

void Importer::look(Slot& slot) {
  if (slot.a || slot.unreadable) return;
  if (slot.deferred) {
    const auto [a, b] = std::exchange(slot.deferred, nullptr)();
    if (a) set_known(slot, a, b);
    return;
  }
  if (!slot.stored) return;
  const int64_t count = count_of(slot.stored->shape);
  if (count < 0 || known_elements_ + count > kMostKnownElements) return;
  auto known = std::make_shared<const Known>(known_from(slot.stored->fetch(), slot.stored->type));
  set_known(slot, known, known);
}

std::string Importer::parameter_of(const StoredPtr& stored) {
  auto [entry, fresh] = parameters_.try_emplace({stored->name, stored->form});
  if (fresh) {
    entry->second = free_name(stored->name, [&](const std::string& n) { return graph_.has_parameter(n); });
    graph_.add_parameter(Parameter(entry->second, stored->dtype, stored->shape, stored->fetch));
  }
  return entry->second;
}

ValueId Importer::value_of(Slot& slot) {
  if (slot.value >= 0) return slot.value;
  shape(slot);  // refuses what cannot be read
  Node node{"Constant", unique_node_name(slot.name), {}, {}, {}, {}};
  KnownPtr row;
  if (slot.stored) {
    node.params["value"] = parameter_of(slot.stored);
  } else {
    if (batch_free_ && *slot.a != *slot.b) {
      row = repeated_row(*slot.a, *slot.b, batch_);
      if (!row) fix_batch(fmt::format("the contents of {} depend on it", printable(slot.name)));
    }
    node.params["value"] = free_name(slot.name, [&](const std::string& n) { return graph_.has_parameter(n); });
    graph_.add_parameter(node.params["value"], to_tensor(row ? *row : *slot.a));
  }
  const ValueId value = row ? new_inner_value(slot.name + "/row") : new_value(slot.name);
  node.outputs = {value};
  emit(std::move(node));
  slot.value = value;
  if (row) slot.value = over_batch(value).value_or(value);
  return slot.value;
}

std::optional<ValueId> Importer::over_batch(ValueId value) {
  const Shape& shape = graph_.values[static_cast<size_t>(value)].shape;
  if (batch_carrier_ < 0 || shape.empty() || shape[0] != 1) return std::nullopt;
  const std::string hint = graph_.values[static_cast<size_t>(value)].name + "/batch";
  Node node{"Expand", unique_node_name(hint), {value, batch_carrier_}, {}, {}, {}};
  node.attributes["shape"] = std::vector<int64_t>(shape.size(), 1);
  const ValueId result = new_inner_value(hint);
  node.outputs = {result};
  emit(std::move(node));
  return result;
}

// The second inference may fail where a file has baked in its batch in a way that is not understood.
void Importer::emit(Node node) {
  const auto shapes = infer_node(graph_, node);
  check_dims(node.name, shapes);
  auto others = shapes;
  if (batch_free_) {
    std::vector<std::pair<size_t, Shape>> saved;
    for (ValueId input : node.inputs) {
      const auto at = static_cast<size_t>(input);
      saved.emplace_back(at, std::exchange(graph_.values[at].shape, other_shapes_[at]));
    }
    try {
      others = infer_node(graph_, node);
      check_dims(node.name, others);
    } catch (const UserError& error) {
      fix_batch(error.what());
      others = shapes;
    }
    for (auto entry = saved.rbegin(); entry != saved.rend(); ++entry)
      graph_.values[entry->first].shape = std::move(entry->second);
  }
  for (size_t i = 0; i < shapes.size(); ++i) {
    graph_.values[static_cast<size_t>(node.outputs[i])].shape = shapes[i];
    other_shapes_[static_cast<size_t>(node.outputs[i])] = others[i];
  }
  pass_batch_outer(node);
  graph_.add_node(std::move(node));
}

// Of the input whose scaled dim the output has as well.
void Importer::pass_batch_outer(const Node& node) {
  for (ValueId output : node.outputs) {
    const auto to = static_cast<size_t>(output);
    const Shape &shape = graph_.values[to].shape, &other = other_shapes_[to];
    for (ValueId input : node.inputs) {
      const auto from = static_cast<size_t>(input);
      if (batch_outers_[from] == 1) continue;
      const Shape &in = graph_.values[from].shape, &in_other = other_shapes_[from];
      for (size_t i = 0; i < in.size(); ++i)
        for (size_t d = 0; d < shape.size(); ++d)
          if (in[i] != in_other[i] && in[i] == shape[d] && in_other[i] == other[d])
            batch_outers_[to] = batch_outers_[from];
    }
  }
}

bool Importer::is_read(const std::string& output, const Scope& scope) const {
  if (output.empty()) return false;
  return scope.depth > 0 || read_counts_.contains(output);
}

}  // namespace espalier
