// A pickle machine that builds inert values only: it knows the opcodes that torch.save writes and the names of
// torch_pickle_globals.h, and refuses everything else by name. Nothing is imported, called or executed.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/core/tensor.h"
#include "espalier/io/torch_pickle_globals.h"

namespace espalier {

enum class PickleKind : uint8_t {
  kNone,
  kBool,
  kInt,
  kLargeInt,  // beyond 64 bits; `text` holds its bytes, little-endian
  kFloat,
  kText,
  kBytes,
  kList,  // also sets
  kTuple,
  kDict,     // `items`: key, value, key, value, …
  kGlobal,   // `global`
  kStorage,  // `integer`: index into Pickle::storages
  kTensor,   // `integer`: index into Pickle::tensors
  kInert,
};

// Values refer to each other by their index in Pickle::nodes, so cycles do no harm.
struct PickleNode {
  PickleKind kind = PickleKind::kNone;
  TorchGlobalInfo global;
  int64_t integer = 0;
  std::string_view text;  // within the pickle's bytes
  std::vector<uint32_t> items;
};

// A storage as the pickle describes it, not yet compared with the bytes that the file holds.
struct PickleStorage {
  std::string_view key;
  TorchGlobalInfo type;
  uint64_t count = 0;                       // elements, or bytes of an untyped one
  uint64_t view_begin = 0, view_count = 0;  // the part that tensors see (the old form can share storages)
};

// A tensor as the pickle describes it; sizes and strides are not negative and as many as each other.
struct PickleTensor {
  uint32_t storage = 0;
  DType dtype = DType::kF32;
  uint64_t offset = 0;  // elements
  Shape sizes, strides;
};

struct Pickle {
  std::vector<PickleNode> nodes;
  std::vector<PickleStorage> storages;
  std::vector<PickleTensor> tensors;
  size_t item_count = 0;  // of all nodes together
  uint32_t root = 0;
  uint64_t end = 0;  // position after the last opcode

  const PickleNode& node(uint32_t index) const { return nodes[index]; }
  const PickleNode* find(const PickleNode& dict, std::string_view key) const;  // nullptr: absent
};

// A few bytes of pickle can ask for a copy of a large list, so what is built is bounded, not only what is read.
constexpr size_t kMaxPickleBytes = 256u << 20;
constexpr size_t kMaxPickleNodes = 4'000'000;
constexpr size_t kMaxPickleItems = 16'000'000;
constexpr size_t kMaxPickleTensors = 200'000;

// Runs one pickle from `begin` on. UserError with the byte position on anything not understood.
Pickle read_pickle(std::span<const std::byte> bytes, uint64_t begin, const std::string& where);

}  // namespace espalier
