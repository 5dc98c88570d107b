// One node after the other: what can be folded is, the rest goes to the operators' import functions.
#include <algorithm>
#include <cstring>

#include "espalier/families/onnx/import_ops.h"
#include "espalier/graph/operator.h"
#include "espalier/io/onnx/attributes.h"
#include "espalier/io/onnx/tensor.h"

namespace espalier {
namespace {

// Elements in the order of the permuted dims.
Tensor permuted(const Tensor& from, const std::vector<int64_t>& perm) {
  Shape shape, strides;
  const Shape source = strides_of(from.shape());
  for (int64_t axis : perm) {
    shape.push_back(from.dim(static_cast<size_t>(axis)));
    strides.push_back(source[static_cast<size_t>(axis)]);
  }
  Tensor to(from.dtype(), shape);
  const size_t size = size_of(from.dtype());
  Shape at(shape.size(), 0);
  std::byte* out = to.mutable_bytes();
  int64_t place = 0;
  for (int64_t i = 0; i < from.count(); ++i, out += size) {
    std::memcpy(out, from.bytes() + static_cast<size_t>(place) * size, size);
    for (size_t d = shape.size(); d-- > 0;) {
      place += strides[d];
      if (++at[d] < shape[d]) break;
      place -= strides[d] * shape[d];
      at[d] = 0;
    }
  }
  return to;
}

Tensor viewed(const Tensor& from, const Shape& shape) {
  const auto owner = std::make_shared<const Tensor>(from);
  return Tensor(from.dtype(), shape, owner, owner->bytes());
}

// What an operator does to the layout of a tensor of the file, as a node of the graph; an empty op: something else.
Node layout_node(NodeImport& n) {
  Node node;
  const std::string& op = n.op_type();
  if (op == "Reshape" && n.known(1) && n.integer("allowzero", 0) == 0) {
    node.attributes["shape"] = n.known(1)->ints;
  } else if (op == "Transpose") {
    auto perm = n.integers("perm");
    if (perm.empty())
      for (size_t d = n.rank(0); d-- > 0;) perm.push_back(static_cast<int64_t>(d));
    node.attributes["perm"] = perm;
  } else if (op == "Flatten") {
    node.attributes["axis"] = n.integer("axis", 1);
  } else if (op == "Squeeze" || op == "Unsqueeze") {
    const auto axes = n.integers(1, "axes");
    if (!axes) return node;
    node.attributes["axes"] = *axes;
  } else {
    return node;
  }
  node.op = op;
  node.name = n.node().name.empty() ? op : n.node().name;
  return node;
}

StoredPtr laid_out(const StoredPtr& from, Node node) {
  if (node.op == "Transpose" && from->untransposed) return from->untransposed;
  Graph probe;
  node.inputs = {probe.add_value("x")};
  probe.values[0].shape = from->shape;
  node.outputs = {probe.add_value("y")};
  auto to = std::make_shared<Stored>(*from);
  to->shape = infer_node(probe, node)[0];
  to->untransposed = nullptr;
  if (node.op == "Transpose") {
    const auto perm = node.integers("perm");
    to->form += fmt::format("|perm {}", fmt::join(perm, ","));
    to->fetch = [from, perm] { return permuted(from->fetch(), perm); };
    if (perm == std::vector<int64_t>{1, 0}) to->untransposed = from;
  } else {
    to->form += fmt::format("|shape {}", fmt::join(to->shape, ","));
    to->fetch = [from, shape = to->shape] { return viewed(from->fetch(), shape); };
  }
  return to;
}

StoredPtr converted(const StoredPtr& from, OnnxDataType type) {
  if (type == from->type) return from;
  auto to = std::make_shared<Stored>(*from);
  to->type = type;
  to->dtype = *onnx_type_info(type)->dtype;
  to->form += fmt::format("|{}", onnx_type_info(type)->name);
  to->untransposed = nullptr;
  to->fetch = [from, dtype = to->dtype] { return from->fetch().to(dtype); };
  return to;
}

bool holds_one_number(const Tensor& tensor) {
  const size_t size = size_of(tensor.dtype());
  for (size_t at = size; at < tensor.byte_size(); at += size)
    if (std::memcmp(tensor.bytes(), tensor.bytes() + at, size) != 0) return false;
  return true;
}

StoredPtr stored_form(const StoredPtr& origin, const std::string& form, const KnownPtr& contents) {
  const Tensor tensor = to_tensor(*contents);
  return std::make_shared<Stored>(Stored{origin->name, origin->form + form, contents->type, tensor.dtype(),
                                         tensor.shape(), [tensor] { return tensor; }, nullptr});
}

OnnxTensor numbers(const OnnxAttribute& attribute) {
  using Type = OnnxAttribute::Type;
  if (attribute.type == Type::kInt || attribute.type == Type::kInts) {
    Known known = attribute.type == Type::kInt ? known_integers({attribute.i}) : known_integers(attribute.ints);
    if (attribute.type == Type::kInt) known.shape.clear();
    return onnx_tensor("", to_tensor(known));
  }
  Known known{OnnxDataType::kFloat, {}, {}, {}};
  if (attribute.type == Type::kFloat) known.reals = {attribute.f};
  if (attribute.type == Type::kFloats) {
    known.reals.assign(attribute.floats.begin(), attribute.floats.end());
    known.shape = {std::ssize(attribute.floats)};
  }
  return onnx_tensor("", to_tensor(known));
}

// Only the type of the second input matters.
OnnxNode plain_cast(OnnxNode node, OnnxDataType type) {
  node.op_type = "Cast";
  node.inputs.resize(1);
  node.attributes = {onnx_int("to", static_cast<int64_t>(type))};
  return node;
}

}  // namespace

void Importer::bind(const std::string& name, SlotPtr slot, Scope& scope) {
  if (!name.empty()) scope.slots[name] = std::move(slot);
}

SlotPtr Importer::new_slot(const std::string& name, const Scope& scope) {
  auto slot = std::make_shared<Slot>();
  slot->name = scope.prefix + name;
  return slot;
}

SlotPtr Importer::stored_slot(const std::string& name, std::shared_ptr<const OnnxTensor> tensor, const Scope& scope) {
  SlotPtr slot = new_slot(name, scope);
  slot->type = tensor->data_type;
  const OnnxTypeInfo* info = onnx_type_info(tensor->data_type);
  slot->unreadable = !info || !info->dtype;
  if (slot->unreadable) return slot;
  auto fetch = [tensor, where = where_] { return to_tensor(*tensor, where); };
  slot->stored = std::make_shared<Stored>(
      Stored{slot->name, "", tensor->data_type, *info->dtype, tensor->dims, std::move(fetch), nullptr});
  return slot;
}

std::vector<SlotPtr> Importer::inputs_of(const OnnxNode& node, const Scope& scope) const {
  std::vector<SlotPtr> inputs;
  for (const std::string& name : node.inputs) inputs.push_back(name.empty() ? nullptr : scope.find(name));
  while (!inputs.empty() && !inputs.back()) inputs.pop_back();
  return inputs;
}

bool Importer::import_constant(const OnnxNode& node, Scope& scope) {
  if (node.op_type != "Constant" || !is_default_domain(node.domain) || node.outputs.empty()) return false;
  for (const OnnxAttribute& attribute : node.attributes) {
    using Type = OnnxAttribute::Type;
    if (attribute.name == "value" && !attribute.tensors.empty()) {
      auto tensor = std::make_shared<const OnnxTensor>(attribute.tensors[0]);
      bind(node.outputs[0], stored_slot(node.outputs[0], std::move(tensor), scope), scope);
      return true;
    }
    if (attribute.type == Type::kInt || attribute.type == Type::kInts || attribute.type == Type::kFloat ||
        attribute.type == Type::kFloats) {
      auto tensor = std::make_shared<const OnnxTensor>(numbers(attribute));
      bind(node.outputs[0], stored_slot(node.outputs[0], std::move(tensor), scope), scope);
      return true;
    }
  }
  SlotPtr slot = new_slot(node.outputs[0], scope);
  slot->unreadable = true;  // strings, sparse tensors
  bind(node.outputs[0], slot, scope);
  return true;
}

bool Importer::import_shape(const OnnxNode& node, const std::vector<SlotPtr>& inputs, Scope& scope) {
  if ((node.op_type != "Shape" && node.op_type != "Size") || inputs.empty() || !inputs[0] || inputs[0]->unreadable)
    return false;
  auto known = [&](const Shape& shape) {
    if (node.op_type == "Size") {
      Known count = known_integers({element_count(shape)});
      count.shape.clear();
      return std::make_shared<const Known>(std::move(count));
    }
    const auto rank = std::ssize(shape);
    auto bound = [&](const char* name, int64_t otherwise) {
      const int64_t given = attribute_int(node, name, otherwise, where_);
      return std::clamp<int64_t>(given < 0 ? given + rank : given, 0, rank);
    };
    const int64_t start = bound("start", 0), end = std::max(start, bound("end", rank));
    return std::make_shared<const Known>(known_integers({shape.begin() + start, shape.begin() + end}));
  };
  SlotPtr slot = new_slot(node.outputs[0], scope);
  set_known(*slot, known(shape(*inputs[0])), known(other_shape(*inputs[0])));
  bind(node.outputs[0], slot, scope);
  return true;
}

// PyTorch stores equal tensors once and copies them; what were weights of two layers become two parameters again.
// Matrices stay tied, unless they are equal only because nothing has been learnt: a copied embedding is the classifier.
bool Importer::import_copy(const OnnxNode& node, const std::vector<SlotPtr>& inputs, Scope& scope) {
  if (node.op_type != "Identity" || inputs.empty() || !inputs[0] || !inputs[0]->stored || !inputs[0]->weight_like())
    return false;
  const Shape& shape = inputs[0]->stored->shape;
  const bool vector = std::count_if(shape.begin(), shape.end(), [](int64_t size) { return size != 1; }) <= 1;
  if (!vector && !holds_one_number(inputs[0]->stored->fetch())) return false;
  SlotPtr slot = new_slot(node.outputs.at(0), scope);
  auto own = std::make_shared<Stored>(*inputs[0]->stored);
  own->name = slot->name;
  own->form.clear();
  own->untransposed = nullptr;
  slot->type = own->type;
  slot->stored = std::move(own);
  bind(node.outputs[0], slot, scope);
  return true;
}

bool Importer::import_layout(const OnnxNode& node, const std::vector<SlotPtr>& inputs, Scope& scope) {
  if (inputs.empty() || !inputs[0] || !inputs[0]->stored || !inputs[0]->weight_like()) return false;
  NodeImport call(*this, node, inputs, scope);
  const StoredPtr from = inputs[0]->stored;
  StoredPtr to;
  if (node.op_type == "Cast") {
    const auto type = static_cast<OnnxDataType>(call.integer("to", 0));
    if (!is_real(type)) return false;
    to = converted(from, type);
  } else {
    Node layout = layout_node(call);
    if (layout.op.empty()) return false;
    to = laid_out(from, std::move(layout));
  }
  SlotPtr slot = new_slot(node.outputs.at(0), scope);
  slot->type = to->type;
  slot->stored = to;
  bind(node.outputs[0], slot, scope);
  return true;
}

// The outputs' contents at both batch sizes; none where the operator or an input is not known. Trained numbers count as
// known only with `weights`.
std::vector<std::pair<KnownPtr, KnownPtr>> Importer::folded(const OnnxNode& node, const std::vector<SlotPtr>& inputs,
                                                            int64_t opset, bool weights) {
  if (!is_foldable(node.op_type) || known_elements_ > kMostKnownElements) return {};
  FoldCall call{node, opset, where_, {}}, other = call;
  for (const SlotPtr& input : inputs)
    if (input && (!input->constant() || input->unreadable || (input->weight_like() && !weights))) return {};
  for (const SlotPtr& input : inputs) {
    if (input) look(*input);
    if (input && !input->a) return {};
    call.inputs.push_back(input ? input->a.get() : nullptr);
    other.inputs.push_back(input ? input->b.get() : nullptr);
  }
  std::vector<Known> results = fold(call), others;
  if (results.size() < node.outputs.size() && (results.empty() || node.op_type == "Split")) return {};
  const bool differ = batch_free_ && call.inputs != other.inputs;
  if (differ) others = fold(other);
  if (differ && others.size() != results.size()) {
    fix_batch(fmt::format("{} cannot be folded for another", printable(node.op_type)));
    others.clear();
  }
  std::vector<std::pair<KnownPtr, KnownPtr>> contents;
  for (size_t i = 0; i < results.size(); ++i) {
    auto a = std::make_shared<const Known>(std::move(results[i]));
    contents.emplace_back(a, others.empty() ? a : std::make_shared<const Known>(std::move(others[i])));
  }
  return contents;
}

bool Importer::import_folded(const OnnxNode& node, const std::vector<SlotPtr>& inputs, Scope& scope, bool weights) {
  const auto contents = folded(node, inputs, scope.opset, weights);
  if (contents.empty()) return false;
  StoredPtr origin;
  for (const SlotPtr& input : inputs)
    if (input && input->weight_like() && !origin) origin = input->stored;
  for (size_t i = 0; i < contents.size() && i < node.outputs.size(); ++i) {
    SlotPtr slot = new_slot(node.outputs[i], scope);
    set_known(*slot, contents[i].first, contents[i].second);
    if (origin && slot->a == slot->b) slot->stored = stored_form(origin, fmt::format("|{}", slot->name), slot->a);
    bind(node.outputs[i], slot, scope);
  }
  return true;
}

// What nodes of the graph compute from tensors of the file alone may still be folded, should a later node need it.
void Importer::defer_contents(const OnnxNode& node, const std::vector<SlotPtr>& inputs, Scope& scope) {
  constexpr int kMostDeferred = 256;
  if (node.outputs.size() != 1 || inputs.empty() || !is_foldable(node.op_type)) return;
  int depth = 0;
  for (const SlotPtr& input : inputs) {
    if (input && !input->constant()) return;
    if (input) depth = std::max(depth, input->deferred_depth);
  }
  const SlotPtr slot = scope.find(node.outputs[0]);
  if (!slot || slot->constant() || depth >= kMostDeferred) return;
  slot->deferred_depth = depth + 1;
  slot->deferred = [this, copy = std::make_shared<const OnnxNode>(node), inputs, opset = scope.opset] {
    const auto contents = folded(*copy, inputs, opset, true);
    return contents.empty() ? std::pair<KnownPtr, KnownPtr>{} : contents[0];
  };
}

void Importer::translate(const OnnxNode& node, Scope& scope) {
  if (import_constant(node, scope)) return;
  const std::vector<SlotPtr> inputs = inputs_of(node, scope);
  if (node.op_type == "CastLike" && inputs.size() == 2 && inputs[0] && inputs[1]->type != OnnxDataType::kUndefined)
    return translate(plain_cast(node, inputs[1]->type), scope);
  const std::string domain = is_default_domain(node.domain) ? "" : node.domain;
  if (import_call(node, inputs, scope)) return;
  if (domain.empty()) {
    if (import_branch(node, inputs, scope) || import_shape(node, inputs, scope)) return;
    if (import_copy(node, inputs, scope) || import_layout(node, inputs, scope) || import_folded(node, inputs, scope))
      return;
  }
  const OnnxImportFunction function = find_onnx_import(domain, node.op_type);
  if (!function) NodeImport::not_understood("espalier does not know the operator");
  NodeImport call(*this, node, inputs, scope);
  function(call);
  defer_contents(node, inputs, scope);
}

void Importer::import_node(const OnnxNode& node, Scope& scope) {
  count_node();
  try {
    translate(node, scope);
  } catch (const NotUnderstood& reason) {
    if (is_default_domain(node.domain) && import_folded(node, inputs_of(node, scope), scope, true)) return;
    import_opaque(node, scope, reason.why);
  }
}

void Importer::import_nodes(const std::vector<OnnxNode>& nodes, Scope& scope) {
  for (size_t i = 0; i < nodes.size(); ++i) {
    try {
      import_node(nodes[i], scope);
    } catch (const UserError& error) {
      const std::string_view message = error.what();
      if (message.starts_with(where_)) throw;
      throw UserError(fmt::format("{}: {}: {}", where_, describe(nodes[i], i), message));
    }
  }
}

}  // namespace espalier
