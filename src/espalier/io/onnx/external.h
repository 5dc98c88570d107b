// Tensors whose bytes lie in other files beside the model (TensorProto.external_data of the ONNX specification).
#pragma once

#include "espalier/io/onnx/model.h"

namespace espalier {

// Maps the files that the model's external tensors name, beside model.path, and points the tensors' data into them; the
// maps join model.files. UserError naming the tensor and the field:
// - location: absent, absolute, with "..", through a symbolic link, not a regular file, one with several hard links, or
//   the model itself
// - offset, length: not a number from 0 on, past the end of the file, not the size of the tensor (an absent length is
//   the tensor's size), overlapping another tensor's bytes
// - checksum: not the file's SHA-1
void open_external_data(OnnxModel& model);

bool has_external_data(const OnnxModel& model);  // as read: some tensor's bytes lie in another file

}  // namespace espalier
