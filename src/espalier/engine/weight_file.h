// Between weights in packed files (io/weight_pack.h) and weights as kernels read them.
#pragma once

#include <optional>
#include <string>

#include "espalier/engine/weight_matrix.h"
#include "espalier/io/checkpoint.h"

namespace espalier {

// The weight as the checkpoint's file holds it packed, [out, in] as stored: its parts stay mapped, nothing is copied. Nothing
// for a weight that is not packed or not there. UserError for parts that do not fit each other.
std::optional<WeightMatrix> packed_matrix(const Checkpoint& checkpoint, const std::string& parameter);

// Packs each weight in the chosen form where it has that form and becomes smaller by it: a layout that does not fit leaves a
// weight dense, and dense weights are packed only as int8. Empty for the choice "none".
WeightPacker weight_packer(const PackChoice& choice);

}  // namespace espalier
