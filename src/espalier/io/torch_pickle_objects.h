// What a pickle's "calls" mean: tensors, parameters, storages.
#pragma once

#include <string>

#include "espalier/io/torch_pickle_machine.h"

namespace espalier {

// The index of the new node. UserError beyond kMaxPickleNodes.
uint32_t add_pickle_node(Pickle& pickle, PickleNode node, const std::string& where);
void count_pickle_items(Pickle& pickle, size_t added, const std::string& where);  // UserError beyond kMaxPickleItems

// The value of callee(*arguments): a node index. UserError unless callee is one of torch_pickle_globals.h and the
// arguments have the right kinds.
uint32_t build_pickle_object(Pickle& pickle, uint32_t callee, uint32_t arguments, const std::string& where);

// The storage of a persistent id ('storage', class, key, location, count[, (view key, begin, count)]).
uint32_t build_pickle_storage(Pickle& pickle, uint32_t id, const std::string& where);

}  // namespace espalier
