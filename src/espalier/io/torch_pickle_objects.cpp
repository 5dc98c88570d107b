#include "espalier/io/torch_pickle_objects.h"

#include "espalier/core/error.h"
#include "espalier/io/safetensors.h"

namespace espalier {
namespace {

// The arguments of one call, read by position and kind.
class Arguments {
 public:
  Arguments(const Pickle& pickle, uint32_t tuple, const std::string& what, const std::string& where)
      : pickle_(pickle), tuple_(pickle.node(tuple)), what_(what), where_(where) {
    if (tuple_.kind != PickleKind::kTuple) refuse("a tuple of arguments");
  }

  size_t size() const { return tuple_.items.size(); }
  uint32_t index(size_t i) const {
    if (i >= size()) refuse(fmt::format("at least {} arguments", i + 1));
    return tuple_.items[i];
  }
  const PickleNode& of_kind(size_t i, PickleKind kind, const char* expected) const {
    const PickleNode& node = pickle_.node(index(i));
    if (node.kind != kind) refuse(fmt::format("{} as argument {}", expected, i + 1));
    return node;
  }
  uint64_t count(size_t i) const { return as_count(of_kind(i, PickleKind::kInt, "an integer")); }
  Shape counts(size_t i) const {
    Shape result;
    const PickleNode& tuple = of_kind(i, PickleKind::kTuple, "a tuple of integers");
    if (tuple.items.size() > kMaxTensorRank) refuse(fmt::format("at most {} axes", kMaxTensorRank));
    for (uint32_t item : tuple.items) result.push_back(static_cast<int64_t>(as_count(pickle_.node(item))));
    return result;
  }
  [[noreturn]] void refuse(const std::string& expected) const {
    user_error("{}: {}: expected {}", where_, what_, expected);
  }

 private:
  uint64_t as_count(const PickleNode& node) const {
    if (node.kind != PickleKind::kInt || node.integer < 0) refuse("integers of at least 0");
    return static_cast<uint64_t>(node.integer);
  }

  const Pickle& pickle_;
  const PickleNode& tuple_;
  std::string what_, where_;
};

uint32_t build_tensor(Pickle& pickle, uint32_t tuple, bool typed_by_argument, const std::string& where) {
  const Arguments arguments(pickle, tuple, "tensor", where);
  PickleTensor tensor;
  tensor.storage = static_cast<uint32_t>(arguments.of_kind(0, PickleKind::kStorage, "a storage").integer);
  tensor.offset = arguments.count(1);
  tensor.sizes = arguments.counts(2);
  tensor.strides = arguments.counts(3);
  if (tensor.sizes.size() != tensor.strides.size()) arguments.refuse("as many strides as sizes");
  const TorchGlobalInfo& type = pickle.storages[tensor.storage].type;
  if (typed_by_argument) {
    const TorchGlobalInfo dtype = arguments.of_kind(6, PickleKind::kGlobal, "a dtype").global;
    if (dtype.kind != TorchGlobal::kDType) arguments.refuse("a dtype as argument 7");
    tensor.dtype = dtype.dtype;
  } else {
    if (type.kind != TorchGlobal::kStorage) arguments.refuse("a storage with an element type");
    tensor.dtype = type.dtype;
  }
  if (pickle.tensors.size() == kMaxPickleTensors)
    arguments.refuse(fmt::format("at most {} tensors", kMaxPickleTensors));
  pickle.tensors.push_back(std::move(tensor));
  return add_pickle_node(pickle, {PickleKind::kTensor, {}, static_cast<int64_t>(pickle.tensors.size() - 1)}, where);
}

// OrderedDict() or OrderedDict([(key, value), …]).
uint32_t build_dict(Pickle& pickle, uint32_t tuple, const std::string& where) {
  PickleNode dict{PickleKind::kDict};
  const Arguments arguments(pickle, tuple, "OrderedDict", where);
  if (arguments.size() > 0) {
    const PickleNode& list = arguments.of_kind(0, PickleKind::kList, "a list of pairs");
    for (uint32_t item : list.items) {
      const PickleNode& pair = pickle.node(item);
      const bool is_pair =
          (pair.kind == PickleKind::kTuple || pair.kind == PickleKind::kList) && pair.items.size() == 2;
      if (!is_pair) arguments.refuse("a list of pairs");
      dict.items.insert(dict.items.end(), pair.items.begin(), pair.items.end());
    }
  }
  return add_pickle_node(pickle, std::move(dict), where);
}

// _rebuild_from_type_v2(function, type, arguments, state): a tensor with Python attributes, which do not matter.
uint32_t build_from_type(Pickle& pickle, uint32_t tuple, const std::string& where) {
  const Arguments arguments(pickle, tuple, "_rebuild_from_type_v2", where);
  const TorchGlobal kind = arguments.of_kind(0, PickleKind::kGlobal, "a function").global.kind;
  const bool makes_tensor =
      kind == TorchGlobal::kTensor || kind == TorchGlobal::kTensorV3 || kind == TorchGlobal::kParameter;
  if (!makes_tensor) arguments.refuse("a function that makes a tensor");
  return build_pickle_object(pickle, arguments.index(0), arguments.index(2), where);
}

}  // namespace

uint32_t add_pickle_node(Pickle& pickle, PickleNode node, const std::string& where) {
  if (pickle.nodes.size() == kMaxPickleNodes)
    user_error("{}: more than {} values in one pickle", where, kMaxPickleNodes);
  count_pickle_items(pickle, node.items.size(), where);
  pickle.nodes.push_back(std::move(node));
  return static_cast<uint32_t>(pickle.nodes.size() - 1);
}

void count_pickle_items(Pickle& pickle, size_t added, const std::string& where) {
  pickle.item_count += added;
  if (pickle.item_count > kMaxPickleItems) user_error("{}: more than {} items in one pickle", where, kMaxPickleItems);
}

uint32_t build_pickle_object(Pickle& pickle, uint32_t callee, uint32_t tuple, const std::string& where) {
  if (pickle.node(callee).kind == PickleKind::kInert) return callee;
  if (pickle.node(callee).kind != PickleKind::kGlobal) user_error("{}: a call of what is not a Python name", where);
  switch (pickle.node(callee).global.kind) {
    case TorchGlobal::kOrderedDict:
      return build_dict(pickle, tuple, where);
    case TorchGlobal::kTensor:
      return build_tensor(pickle, tuple, false, where);
    case TorchGlobal::kTensorV3:
      return build_tensor(pickle, tuple, true, where);
    case TorchGlobal::kFromType:
      return build_from_type(pickle, tuple, where);
    case TorchGlobal::kInert:
      return add_pickle_node(pickle, {PickleKind::kInert}, where);
    case TorchGlobal::kParameter: {
      const Arguments arguments(pickle, tuple, "parameter", where);
      arguments.of_kind(0, PickleKind::kTensor, "a tensor");
      return arguments.index(0);
    }
    case TorchGlobal::kTuple: {
      const Arguments arguments(pickle, tuple, "torch.Size", where);
      arguments.of_kind(0, PickleKind::kTuple, "a tuple");
      return arguments.index(0);
    }
    case TorchGlobal::kStorage:
    case TorchGlobal::kUntypedStorage:
    case TorchGlobal::kDType:
      break;
  }
  user_error("{}: a storage class or dtype is called", where);
}

uint32_t build_pickle_storage(Pickle& pickle, uint32_t id, const std::string& where) {
  const Arguments arguments(pickle, id, "persistent id", where);
  if (arguments.of_kind(0, PickleKind::kText, "text").text != "storage") arguments.refuse("'storage' as first value");
  PickleStorage storage;
  storage.type = arguments.of_kind(1, PickleKind::kGlobal, "a storage class").global;
  if (storage.type.kind != TorchGlobal::kStorage && storage.type.kind != TorchGlobal::kUntypedStorage)
    arguments.refuse("a storage class as second value");
  storage.key = arguments.of_kind(2, PickleKind::kText, "text").text;
  arguments.of_kind(3, PickleKind::kText, "text");  // the device it lay on
  storage.count = storage.view_count = arguments.count(4);
  if (arguments.size() > 5 && pickle.node(arguments.index(5)).kind != PickleKind::kNone) {
    const Arguments view(pickle, arguments.index(5), "storage view", where);
    storage.view_begin = view.count(1);
    storage.view_count = view.count(2);
    if (storage.view_begin > storage.count || storage.view_count > storage.count - storage.view_begin)
      view.refuse("a part of its storage");
  }
  pickle.storages.push_back(storage);
  return add_pickle_node(pickle, {PickleKind::kStorage, {}, static_cast<int64_t>(pickle.storages.size() - 1)}, where);
}

}  // namespace espalier
