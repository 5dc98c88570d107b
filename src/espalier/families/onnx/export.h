// From a graph to an ONNX file: every operator in standard operators of operator sets 11 to 21.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "espalier/families/onnx/import.h"
#include "espalier/graph/graph.h"
#include "espalier/io/onnx/model.h"
#include "espalier/io/onnx/writer.h"

namespace espalier {

constexpr int64_t kMinExportOpset = 11, kMaxExportOpset = 21, kDefaultExportOpset = 17;

struct OnnxExportOptions {
  int64_t opset = 0;  // 0: the source's, at least 11; 17 without a source
};

// The graph as an ONNX model. `source` is the file that the graph was imported from, or null: a graph of a family.
// - Names of values, nodes and initialisers are the graph's. Inputs and outputs keep the source's order, names, types
//   and symbolic sizes; without a source the batch is "batch" and the length of token ids "tokens", where the graph
//   allows other sizes than `input_shapes`.
// - What the source says beside the graph (versions, producer, texts, metadata, unknown fields) is kept, and so are
//   functions and operator sets of other domains that are still used. A source of an older operator set is raised to
//   11.
// - Weights keep their types and, uncut, their bytes, which stay where they are. Without a source floating weights of
//   other types than fp32 are cast where they are read: the model computes in fp32, as espalier does. A family's
//   weights [out, in] that a MatMul reads are stored transposed, up to 2 GiB of them.
// UserError: an operator set out of range, or one that an operator kept as it was does not have; a masked norm, which
// only the cut model can express; shapes that do not fit the graph.
OnnxModel export_onnx(const Graph& graph, const std::vector<Shape>& input_shapes, const OnnxSource* source,
                      const OnnxExportOptions& options = {});

// export_onnx and write_onnx; then opens the file again, which proves its rules, and compares every initialiser byte for
// byte. `out` may be the source's path. With external data if the source had some, or where the file would pass 2 GB.
// UserError also: the file system's errors, and what verify_onnx says.
void write_onnx_model(const Graph& graph, const std::vector<Shape>& input_shapes, const OnnxSource* source,
                      const std::filesystem::path& out, const OnnxExportOptions& options = {},
                      const OnnxWriteOptions& write_options = {});

// Opens the file and compares it with what was written there. UserError: the file is refused, or the first node or
// initialiser that differs, with the byte.
void verify_onnx(const OnnxModel& written, const std::filesystem::path& path);

}  // namespace espalier
