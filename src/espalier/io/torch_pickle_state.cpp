#include "espalier/io/torch_pickle_state.h"

#include <algorithm>
#include <array>

#include "espalier/core/error.h"
#include "espalier/io/safetensors_names.h"

namespace espalier {
namespace {

constexpr int kMaxDepth = 16;
constexpr int kMaxUnwraps = 4;
constexpr size_t kMaxVisits = 1'000'000;  // dictionaries can contain each other, so paths are not bounded by the file

// What training scripts call the weights, by preference.
constexpr auto kUsualEntries = std::to_array<std::string_view>(
    {"state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "weights", "params"});

class Collector {
 public:
  Collector(const Pickle& pickle, const std::string& where) : pickle_(pickle), where_(where) {}

  void collect(const PickleNode& dict, const std::string& prefix, int depth) {
    if (depth > kMaxDepth) user_error("{}: dictionaries nested deeper than {} levels", where_, kMaxDepth);
    for (size_t i = 0; i + 1 < dict.items.size(); i += 2) {
      if (++visits_ > kMaxVisits) user_error("{}: more than {} dictionary entries", where_, kMaxVisits);
      const PickleNode& value = pickle_.node(dict.items[i + 1]);
      if (value.kind != PickleKind::kTensor && value.kind != PickleKind::kDict) continue;
      const std::string name = prefix + key_text(pickle_.node(dict.items[i]));
      if (name.size() > kMaxTensorNameBytes) user_error("{}: a tensor's name of {} bytes", where_, name.size());
      if (value.kind == PickleKind::kDict) {
        collect(value, name + ".", depth + 1);
      } else {
        names_.add(name, where_);
        result_.push_back({name, static_cast<uint32_t>(value.integer)});
      }
    }
  }

  std::vector<NamedPickleTensor> take() { return std::move(result_); }

 private:
  std::string key_text(const PickleNode& key) const {
    if (key.kind == PickleKind::kInt) return std::to_string(key.integer);
    if (key.kind != PickleKind::kText) user_error("{}: a tensor's key is neither text nor a number", where_);
    if (key.text.size() > kMaxTensorNameBytes) user_error("{}: a key of {} bytes", where_, key.text.size());
    return std::string(key.text);
  }

  const Pickle& pickle_;
  const std::string& where_;
  TensorNames names_;
  size_t visits_ = 0;
  std::vector<NamedPickleTensor> result_;
};

bool holds_tensors_itself(const Pickle& pickle, const PickleNode& dict) {
  for (size_t i = 1; i < dict.items.size(); i += 2)
    if (pickle.node(dict.items[i]).kind == PickleKind::kTensor) return true;
  return false;
}

bool reaches_tensor(const Pickle& pickle, const PickleNode& from) {
  std::vector<bool> seen(pickle.nodes.size(), false);
  std::vector<const PickleNode*> open{&from};
  while (!open.empty()) {
    const PickleNode& dict = *open.back();
    open.pop_back();
    for (size_t i = 1; i < dict.items.size(); i += 2) {
      const uint32_t index = dict.items[i];
      const PickleNode& value = pickle.node(index);
      if (value.kind == PickleKind::kTensor) return true;
      if (value.kind != PickleKind::kDict || seen[index]) continue;
      seen[index] = true;
      open.push_back(&value);
    }
  }
  return false;
}

// The entry that holds the weights of a checkpoint which holds other things too, or nullptr.
const PickleNode* usual_entry(const Pickle& pickle, const PickleNode& dict) {
  for (std::string_view name : kUsualEntries) {
    const PickleNode* entry = pickle.find(dict, name);
    if (entry && entry->kind == PickleKind::kDict && reaches_tensor(pickle, *entry)) return entry;
  }
  return nullptr;
}

}  // namespace

std::vector<NamedPickleTensor> find_state_dict(const Pickle& pickle, const std::string& where) {
  const PickleNode* dict = &pickle.node(pickle.root);
  if (dict->kind != PickleKind::kDict) user_error("{}: holds no dictionary of tensors", where);
  for (int unwraps = 0; unwraps < kMaxUnwraps && !holds_tensors_itself(pickle, *dict); ++unwraps) {
    const PickleNode* inner = usual_entry(pickle, *dict);
    if (!inner) break;
    dict = inner;
  }
  Collector collector(pickle, where);
  collector.collect(*dict, "", 1);
  auto tensors = collector.take();
  if (tensors.empty()) user_error("{}: holds no tensors", where);
  return tensors;
}

}  // namespace espalier
