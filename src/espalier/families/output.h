// Writes a model, cut or not, as a Hugging Face directory: config.json, the weights, and the source's tokenizer and
// other small files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "espalier/families/family.h"

namespace espalier {

struct OutputOptions {
  bool pack_bitmap = false;  // Linear weights with enough zeros as bitmap and values (bitmap_pack.h), always one file
  uint64_t max_shard_bytes = 4'000'000'000;
  std::function<void(const std::string& parameter)> on_written;  // after each parameter; may be empty
};

// Into `directory`, which exists. One parameter is in memory at a time; dtypes are kept. The weights appear last.
// UserError for a masked graph whose norms count masked channels: no file format holds that, so it has to be cut.
void write_model(const Model& model, const std::filesystem::path& directory, const OutputOptions& options = {});

// Re-opens the directory, builds the model from its configuration and compares every tensor byte for byte with the
// graph's. UserError naming the first difference.
void verify_written(const std::filesystem::path& directory, const Graph& graph);

}  // namespace espalier
