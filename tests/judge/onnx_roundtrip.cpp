// onnx_roundtrip IN OUT FOLDER [SEED]: for onnx_roundtrip_judge.py. Imports IN, with the input shapes of
// FOLDER/inputs.json ([{"name", "type", "shape", "file"}], int64 and float32), and exports it to OUT. With a SEED about 30 % of
// every coupling group that surgery can cut is removed before. The interpreter's outputs for the inputs in the folder go to
// FOLDER/out.N; standard output gets {"outputs": shapes, "opaque", "cuts", "bytes": [before, after]}. With opaque nodes there are no
// outputs. Exit 2 with one line on standard error where a file is refused.
#include <algorithm>
#include <cstdio>
#include <cstring>

#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/core/json.h"
#include "espalier/core/rng.h"
#include "espalier/families/onnx/export.h"
#include "espalier/families/onnx/import.h"
#include "espalier/graph/operator.h"
#include "espalier/io/onnx/reader.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/torch.h"
#include "espalier/structure/surgery.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

std::vector<int64_t> kept_sets(int64_t count, Rng& rng) {
  std::vector<int64_t> kept;
  for (int64_t set = 0; set < count; ++set)
    if (rng.uniform() >= 0.3) kept.push_back(set);
  if (kept.empty()) kept.push_back(0);
  return kept;
}

// Groups one by one, as a cut changes the coupling of the others.
int cut_everything(Graph& graph, uint64_t seed) {
  int cuts = 0;
  const auto count = find_coupling(graph).groups.size();
  for (size_t i = 0; i < count; ++i) {
    const Coupling coupling = find_coupling(graph);
    if (i >= coupling.groups.size() || coupling.groups[i].set_count < 2) continue;
    Rng rng(seed, coupling.groups[i].label);
    Graph smaller = graph.clone();
    try {
      cut(smaller, coupling, static_cast<int>(coupling.groups[i].id), kept_sets(coupling.groups[i].set_count, rng));
      infer_shapes(smaller, input_shapes(graph));
    } catch (const UserError& error) {
      std::fprintf(stderr, "not cut: %s\n", error.what());
      continue;
    }
    graph = std::move(smaller);
    ++cuts;
  }
  return cuts;
}

at::Tensor read_tensor(const fs::path& folder, const Json& entry) {
  const bool ids = entry.at("type") == "int64";
  at::Tensor tensor = at::empty(entry.at("shape").get<Shape>(), ids ? at::kLong : at::kFloat);
  const std::string bytes = read_file(folder / entry.at("file").get<std::string>(), 1u << 30);
  ESP_ASSERT(bytes.size() == tensor.nbytes(), "{}", entry.dump());
  std::memcpy(tensor.data_ptr(), bytes.data(), bytes.size());
  return tensor;
}

Json run(const Graph& graph, const Json& inputs, const fs::path& folder) {
  Environment values;
  for (ValueId input : graph.inputs)
    for (const Json& entry : inputs)
      if (entry.at("name") == graph.values[static_cast<size_t>(input)].name) values[input] = read_tensor(folder, entry);
  Weights weights(graph);
  Interpreter(graph, weights).run(values, 0, static_cast<NodeId>(graph.nodes.size()));
  Json outputs = Json::array();
  for (size_t i = 0; i < graph.outputs.size(); ++i) {
    const at::Tensor value = values.at(graph.outputs[i]).to(at::kFloat).contiguous();
    write_file_atomically(folder / fmt::format("out.{}", i), {static_cast<const char*>(value.data_ptr()), value.nbytes()});
    outputs.push_back(value.sizes().vec());
  }
  return outputs;
}

Json roundtrip(const fs::path& in, const fs::path& out, const fs::path& folder, const char* seed) {
  const Json inputs = read_json(folder / "inputs.json");
  OnnxImportOptions options;
  const OnnxModel file = read_onnx(in);
  for (const Json& entry : inputs)
    for (const OnnxValueInfo& info : file.graph.inputs)
      if (info.name == entry.at("name")) options.input_shapes[info.name] = entry.at("shape").get<Shape>();
  OnnxImport imported = import_onnx(in, options);
  Graph graph = std::move(imported.graph);
  const uint64_t before = graph.parameter_bytes();
  const int cuts = seed ? cut_everything(graph, std::stoull(seed)) : 0;
  write_onnx_model(graph, imported.input_shapes, imported.source.get(), out);
  const auto opaque = std::count_if(graph.nodes.begin(), graph.nodes.end(), [](const Node& node) { return node.op == "Opaque"; });
  Json result = {{"opaque", opaque}, {"cuts", cuts}, {"bytes", {before, graph.parameter_bytes()}}, {"notes", imported.notes}};
  if (opaque == 0) result["outputs"] = run(graph, inputs, folder);
  return result;
}

}  // namespace
}  // namespace espalier

int main(int argc, char** argv) {
  if (argc < 4 || argc > 5) {
    std::fprintf(stderr, "usage: onnx_roundtrip IN OUT FOLDER [SEED]\n");
    return 2;
  }
  try {
    std::puts(espalier::roundtrip(argv[1], argv[2], argv[3], argc == 5 ? argv[4] : nullptr).dump().c_str());
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
