// Opens ONNX files: `.onnx` of the ONNX specification, with or without external data, larger than 2 GB too.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "espalier/io/onnx/model.h"

namespace espalier {

// Maps the file, opens its external data and proves the rules of validate.h. Weights are not copied.
// UserError: the file and the byte or node or tensor, the field, what was expected and found.
OnnxModel read_onnx(const std::filesystem::path& path);

// The messages alone; neither validated nor external data opened. `where` names the bytes in errors, and `owner` keeps
// them alive for the model's views (null: the caller does).
OnnxModel parse_onnx(std::span<const std::byte> bytes, const std::string& where,
                     std::shared_ptr<const void> owner = nullptr);

}  // namespace espalier
