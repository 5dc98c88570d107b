// Finds the state dict in what a torch checkpoint holds.
#pragma once

#include <string>
#include <vector>

#include "espalier/io/torch_pickle_machine.h"

namespace espalier {

struct NamedPickleTensor {
  std::string name;
  uint32_t tensor = 0;  // index into Pickle::tensors
};

// A dictionary with tensors of its own is the state dict. Else the first of the usual entries ("state_dict",
// "model_state_dict", "model", …) that holds tensors is opened, and so on. Dictionaries within the state dict give
// names joined by '.'; scalars, texts and lists are ignored. In order. UserError: no tensors, names that are not text
// or numbers, a name twice, nested too deep.
std::vector<NamedPickleTensor> find_state_dict(const Pickle& pickle, const std::string& where);

}  // namespace espalier
