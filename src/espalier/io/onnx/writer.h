// Writes ONNX files that appear whole or not at all.
#pragma once

#include <cstdint>
#include <filesystem>

#include "espalier/io/onnx/model.h"

namespace espalier {

enum class OnnxExternalData : uint8_t {
  kNever,  // UserError where the file would be too large
  kAuto,   // a data file where one was read or where the model alone would be too large
  kAlways,
};

struct OnnxWriteOptions {
  OnnxExternalData external_data = OnnxExternalData::kAuto;
  uint64_t alignment = 64;                      // of a tensor in the data file, in bytes; 4096 lets others map the file
  uint64_t min_external_bytes = 1024;           // smaller tensors stay in the model
  uint64_t max_model_bytes = (1ull << 31) - 1;  // the longest protobuf message that other programs read
};

// Writes the model to `path`, and its data file, if any, beside it as `<name>.data` (`<name>.1.data`, … where that is
// taken): the data first and the model last, so that at every moment `path` is the old model or the new one. Data files
// of the model that it replaces are then removed. Weights go from the mapped source to the file without a copy of
// the whole; what the program did not change keeps its bytes. The path may be the one that the model was read from.
// UserError: the file system's errors, a source that was changed since it was opened, a model that is too large.
void write_onnx(const OnnxModel& model, const std::filesystem::path& path, const OnnxWriteOptions& options = {});

}  // namespace espalier
