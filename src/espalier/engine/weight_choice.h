// In which form a layer's weight is multiplied.
#pragma once

#include "espalier/engine/decoder_program.h"

namespace espalier {

// Of a Linear node: packed as the checkpoint stores it, else converted as the options ask, else in place.
ProgramMatrix load_matrix(const Model& model, const Node& node, const DecoderOptions& options);

}  // namespace espalier
