#include "espalier/engine/ops/lowering.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "espalier/core/error.h"
#include "espalier/engine/ops/strided_copy.h"

namespace espalier {
namespace {

std::map<std::string, Lower>& registry() {
  static std::map<std::string, Lower> lowerings;
  return lowerings;
}

// Aligned, since kernels may rely on it.
std::shared_ptr<std::byte> aligned_bytes(uint64_t bytes) {
  const size_t rounded = (std::max<uint64_t>(bytes, 1) + 63) / 64 * 64;
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(64, rounded));
  if (!memory) throw std::bad_alloc();
  return {memory, [](std::byte* p) { std::free(p); }};
}

template <typename From, typename To>
void convert(const std::byte* from, std::byte* to, int64_t count) {
  const auto* source = reinterpret_cast<const From*>(from);
  auto* target = reinterpret_cast<To*>(to);
  for (int64_t i = 0; i < count; ++i) {
    if constexpr (std::is_same_v<To, uint8_t>) {
      target[i] = source[i] != 0;
    } else {
      target[i] = static_cast<To>(source[i]);
    }
  }
}

template <typename From>
void convert_from(const std::byte* from, DType type, std::byte* to, int64_t count) {
  if (type == DType::kF32) convert<From, float>(from, to, count);
  if (type == DType::kI64) convert<From, int64_t>(from, to, count);
  if (type == DType::kBool) convert<From, uint8_t>(from, to, count);
}

GraphStep::Place place_of(const View& view) {
  return {view.storage, static_cast<uint64_t>(view.offset) * size_of(view.dtype)};
}

}  // namespace

RegisterLowering::RegisterLowering(const std::string& op, Lower lower) { registry()[op] = lower; }

Lower find_lowering(const std::string& op) {
  const auto found = registry().find(op);
  return found == registry().end() ? nullptr : found->second;
}

DType promoted(DType a, DType b) {
  if (a == DType::kF32 || b == DType::kF32) return DType::kF32;
  return a == DType::kI64 || b == DType::kI64 ? DType::kI64 : DType::kBool;
}

const Shape& Lowering::output_shape(size_t i) const {
  return graph_.values[static_cast<size_t>(node().outputs.at(i))].shape;
}

void Lowering::set_output(size_t i, View view) {
  ++program_.storages[static_cast<size_t>(view.storage)].references;
  values_[static_cast<size_t>(fused_->outputs.at(i))] = std::move(view);
}

void Lowering::finish() {
  for (ValueId input : fused_->inputs)
    if (--uses_[static_cast<size_t>(input)] == 0)
      --program_.storages[static_cast<size_t>(value(input).storage)].references;
}

Tensor Lowering::param(const std::string& role) const {
  const Tensor tensor = graph_.parameter_of(node(), role).load();
  if (is_floating(tensor.dtype())) return tensor.to(DType::kF32);
  return Tensor::from_floats(tensor.shape(), tensor.to_floats());
}

View Lowering::with_strides(const View& view, const Shape& strides) {
  View result = view;
  if (has_strides(view, strides)) {
    result.strides = strides;
    return result;
  }
  result = make(view.dtype, view.shape, strides);
  const StridedCopy copy(view.shape, view.strides, strides, size_of(view.dtype));
  step({view}, {result}, [copy](const StepPointers& p) { copy.run(p.in[0], p.out[0]); });
  return result;
}

View Lowering::as_type(const View& view, DType dtype) {
  if (view.dtype == dtype) return view;
  const View source = dense(view);
  View result = make(dtype, source.shape, source.strides);
  step({source}, {result}, [from = view.dtype, dtype, count = source.count()](const StepPointers& p) {
    if (from == DType::kF32) convert_from<float>(p.in[0], dtype, p.out[0], count);
    if (from == DType::kI64) convert_from<int64_t>(p.in[0], dtype, p.out[0], count);
    if (from == DType::kBool) convert_from<uint8_t>(p.in[0], dtype, p.out[0], count);
  });
  return result;
}

View Lowering::make(DType dtype, const Shape& shape, const Shape& strides) {
  Storage& storage = program_.storages.emplace_back();
  storage.bytes = static_cast<uint64_t>(element_count(shape)) * size_of(dtype);
  return {dtype, shape, strides, static_cast<int>(program_.storages.size()) - 1, 0};
}

View Lowering::constant(const Tensor& tensor) {
  Tensor kept = tensor;
  if (is_floating(tensor.dtype())) {
    kept = tensor.to(DType::kF32);
  } else if (tensor.dtype() != DType::kI64 && tensor.dtype() != DType::kBool) {
    kept = Tensor::from_floats(tensor.shape(), tensor.to_floats());
  }
  View view = make(kept.dtype(), kept.shape());
  Storage& storage = program_.storages.back();
  // A mapped file need not be aligned for its type.
  if (kept.count() == 0 || reinterpret_cast<uintptr_t>(kept.bytes()) % 16 != 0) {
    auto bytes = aligned_bytes(storage.bytes);
    if (kept.count() > 0) std::memcpy(bytes.get(), kept.bytes(), storage.bytes);
    storage.constant = bytes.get();
    storage.owner = bytes;
  } else {
    auto owner = std::make_shared<Tensor>(kept);
    storage.constant = owner->bytes();
    storage.owner = owner;
  }
  return view;
}

const std::byte* Lowering::constant_bytes(const View& view) const {
  ESP_ASSERT(is_constant(view), "{}", node().name);
  return storage_of(view).constant + static_cast<uint64_t>(view.offset) * size_of(view.dtype);
}

bool Lowering::may_overwrite(const View& view) const {
  const Storage& storage = storage_of(view);
  if (storage.constant) return false;
  if (storage.references == 0) return true;  // made by this very node
  if (storage.references > 1) return false;
  int here = 0;
  for (ValueId input : fused_->inputs)
    if (value(input).storage == view.storage && uses_[static_cast<size_t>(input)] == 1) ++here;
  return here == 1;
}

void Lowering::step(std::vector<View> inputs, std::vector<View> outputs, StepFunction run, uint64_t scratch_bytes,
                    StepFunction bind) {
  if (std::all_of(outputs.begin(), outputs.end(), [](const View& v) { return v.count() == 0; })) return;
  if (std::all_of(inputs.begin(), inputs.end(), [&](const View& v) { return is_constant(v); })) {
    run_now(inputs, outputs, run, scratch_bytes, bind);
    return;
  }
  GraphStep& step = program_.steps.emplace_back();
  step.name = node().name;
  for (const View& view : inputs) step.in.push_back(place_of(view));
  for (const View& view : outputs) step.out.push_back(place_of(view));
  step.scratch_bytes = scratch_bytes;
  step.run = std::move(run);
  step.bind = std::move(bind);
}

void Lowering::run_now(const std::vector<View>& inputs, const std::vector<View>& outputs, const StepFunction& run,
                       uint64_t scratch_bytes, const StepFunction& bind) {
  StepPointers pointers;
  for (const View& view : inputs) pointers.in.push_back(constant_bytes(view));
  for (const View& view : outputs) {
    Storage& storage = program_.storages[static_cast<size_t>(view.storage)];
    auto bytes = storage.constant ? nullptr : aligned_bytes(storage.bytes);
    if (bytes) {
      storage.constant = bytes.get();
      storage.owner = bytes;
    }
    pointers.out.push_back(const_cast<std::byte*>(storage.constant) +
                           static_cast<uint64_t>(view.offset) * size_of(view.dtype));
  }
  const auto scratch = aligned_bytes(scratch_bytes);
  pointers.scratch = scratch.get();
  if (bind) bind(pointers);
  run(pointers);
}

}  // namespace espalier
