#include "espalier/engine/graph_memory.h"

#include <algorithm>

namespace espalier {
namespace {

constexpr uint64_t kAlignment = 64;
constexpr int kUnused = -2;

uint64_t aligned(uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

void hold(Storage& storage, int step) {
  storage.first_step = storage.first_step == kUnused ? step : std::min(storage.first_step, step);
  storage.last_step = std::max(storage.last_step, step);
}

void find_lifetimes(Program& program, const std::vector<View>& inputs, const std::vector<View>& outputs) {
  for (Storage& storage : program.storages) storage.first_step = storage.last_step = kUnused;
  auto at = [&](int id) -> Storage& { return program.storages[static_cast<size_t>(id)]; };
  for (const View& view : inputs) hold(at(view.storage), -1);
  for (size_t s = 0; s < program.steps.size(); ++s)
    for (const auto* places : {&program.steps[s].in, &program.steps[s].out})
      for (const GraphStep::Place& place : *places) hold(at(place.storage), static_cast<int>(s));
  for (const View& view : outputs) hold(at(view.storage), static_cast<int>(program.steps.size()));
}

// The lowest gap among those placed already that hold at the same time; `placed` is ordered by offset.
uint64_t lowest_gap(const Storage& storage, const std::vector<const Storage*>& placed) {
  uint64_t offset = 0;
  for (const Storage* other : placed) {
    if (other->last_step < storage.first_step || other->first_step > storage.last_step) continue;
    if (other->offset >= offset + storage.bytes) break;
    offset = std::max(offset, aligned(other->offset + other->bytes));
  }
  return offset;
}

}  // namespace

MemoryPlan plan_memory(Program& program, const std::vector<View>& inputs, const std::vector<View>& outputs) {
  find_lifetimes(program, inputs, outputs);
  std::vector<Storage*> wanted;
  for (Storage& storage : program.storages) {
    if (storage.first_step == kUnused) storage.owner.reset();  // a constant that was folded away
    if (storage.first_step != kUnused && !storage.constant && storage.bytes > 0) wanted.push_back(&storage);
  }
  std::stable_sort(wanted.begin(), wanted.end(),
                   [](const Storage* a, const Storage* b) { return a->bytes > b->bytes; });
  std::vector<const Storage*> placed;
  MemoryPlan plan;
  for (Storage* storage : wanted) {
    storage->offset = lowest_gap(*storage, placed);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), storage,
                                   [](const Storage* a, const Storage* b) { return a->offset < b->offset; }),
                  storage);
    plan.scratch_offset = std::max(plan.scratch_offset, aligned(storage->offset + storage->bytes));
  }
  plan.bytes = plan.scratch_offset;
  for (const GraphStep& step : program.steps) plan.bytes = std::max(plan.bytes, plan.scratch_offset + step.scratch_bytes);
  return plan;
}

}  // namespace espalier
