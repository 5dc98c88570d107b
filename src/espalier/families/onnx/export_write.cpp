#include <algorithm>
#include <cstring>

#include "espalier/core/error.h"
#include "espalier/families/onnx/export.h"
#include "espalier/io/onnx/external.h"
#include "espalier/io/onnx/reader.h"
#include "espalier/io/onnx/tensor.h"

namespace espalier {
namespace {

void compare(const OnnxTensor& expected, const OnnxTensor& found, const std::string& where) {
  const std::string place = fmt::format("initialiser '{}'", printable(expected.name));
  if (expected.name != found.name || expected.data_type != found.data_type || expected.dims != found.dims)
    throw UserError(where, place,
                    fmt::format("{} {}", describe_onnx_type(expected.data_type), to_string(expected.dims)),
                    fmt::format("'{}' {} {}", printable(found.name), describe_onnx_type(found.data_type),
                                to_string(found.dims)));
  if (expected.storage == OnnxStorage::kStrings) {
    if (expected.strings != found.strings) user_error("{}: {}: other strings than were written", where, place);
    return;
  }
  const OnnxBytes a = onnx_raw_bytes(expected, where), b = onnx_raw_bytes(found, where);
  if (a.view == b.view) return;
  const auto first = std::mismatch(a.view.begin(), a.view.end(), b.view.begin(), b.view.end()).first - a.view.begin();
  user_error("{}: {}: byte {} is not what was written", where, place, first);
}

void compare(const OnnxNode& expected, size_t index, const OnnxNode& found, const std::string& where) {
  const bool same = expected.op_type == found.op_type && expected.inputs == found.inputs &&
                    expected.outputs == found.outputs && expected.attributes.size() == found.attributes.size();
  if (!same) throw UserError(where, "written node", describe(expected, index), describe(found, index));
}

}  // namespace

void verify_onnx(const OnnxModel& written, const std::filesystem::path& path) {
  const OnnxModel found = read_onnx(path);
  const std::string where = path.string();
  const auto count = [&](const std::string& what, size_t expected, size_t now) {
    if (expected != now) throw UserError(where, what, std::to_string(expected), std::to_string(now));
  };
  count("nodes", written.graph.nodes.size(), found.graph.nodes.size());
  for (size_t i = 0; i < written.graph.nodes.size(); ++i) compare(written.graph.nodes[i], i, found.graph.nodes[i], where);
  count("initialisers", written.graph.initializers.size(), found.graph.initializers.size());
  for (size_t i = 0; i < written.graph.initializers.size(); ++i)
    compare(written.graph.initializers[i], found.graph.initializers[i], where);
}

void write_onnx_model(const Graph& graph, const std::vector<Shape>& input_shapes, const OnnxSource* source,
                      const std::filesystem::path& out, const OnnxExportOptions& options,
                      const OnnxWriteOptions& write_options) {
  const OnnxModel model = export_onnx(graph, input_shapes, source, options);
  OnnxWriteOptions writing = write_options;
  // Cut weights lie in memory, so the model no longer tells that the source had a data file.
  if (writing.external_data == OnnxExternalData::kAuto && source && has_external_data(source->model))
    writing.external_data = OnnxExternalData::kAlways;
  write_onnx(model, out, writing);
  verify_onnx(model, out);
}

}  // namespace espalier
