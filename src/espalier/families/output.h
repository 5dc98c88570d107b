// Writes a model, cut or not, as a Hugging Face directory: config.json, the weights, and the source's tokenizer and
// other small files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "espalier/core/run_dir.h"
#include "espalier/families/family.h"
#include "espalier/io/weight_pack.h"

namespace espalier {

struct OutputOptions {
  WeightPacker pack = nullptr;  // Linear weights that it packs are stored so (weight_pack.h), always in one file
  uint64_t max_shard_bytes = 4'000'000'000;
  std::function<void(const std::string& parameter)> on_written;  // after each parameter; may be empty
};

// Into `directory`, which exists. One parameter is in memory at a time; dtypes are kept. The weights appear last.
// UserError for a masked graph whose norms count masked channels: no file format holds that, so it has to be cut.
void write_model(const Model& model, const std::filesystem::path& directory, const OutputOptions& options = {});

// Re-opens the directory, builds the model from its configuration and compares every tensor byte for byte with the
// graph's, of packed weights each part with what `pack` makes of it. UserError naming the first difference.
void verify_written(const std::filesystem::path& directory, const Graph& graph, const WeightPacker& pack = nullptr);

// Where a result goes, and in which form. OUT is a directory; with the ending .onnx it is a file, and its run (recipe,
// manifest, findings) stands beside it in OUT.run/.
struct OutputPlace {
  bool onnx = false;                // an ONNX file, else a Hugging Face directory
  std::filesystem::path directory;  // of the run
  std::filesystem::path file;       // OUT, when it is a file: the one in the directory under a second name (a hard link)
};

// to: "hf", "onnx" or "", which is what OUT or else the model is. UserError: OUT is there and must not be replaced, or
// does not fit the form.
OutputPlace output_place(const std::filesystem::path& out, const std::string& to, const Model& model, const RunOptions& options);

// Into the run's staging directory (an ONNX file as OUT's name or as model.onnx), re-opened and compared.
void write_result(const Model& model, const OutputPlace& place, const std::filesystem::path& staging, const OutputOptions& options = {});

// After the run has finished: the file appears, whole.
void publish(const OutputPlace& place);

}  // namespace espalier
