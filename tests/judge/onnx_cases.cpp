// onnx_cases DIR: for onnx_export_judge.py. Writes each case of tests/families/onnx/export_cases.h and tiny models of
// every family as ONNX files at several operator sets, and what the interpreter computes for some inputs. DIR/cases.json
// lists them: {"name", "file", "opset", "tolerance", "inputs": [{"name", "type", "shape", "file"}], "outputs": […]}.
#include <cstdio>

#include "espalier/core/json.h"
#include "espalier/families/onnx/export.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/torch.h"
#include "tests/families/onnx/export_cases.h"
#include "tests/families/vision_models.h"

namespace espalier::test {
namespace {

namespace fs = std::filesystem;

Json write_tensor(const fs::path& dir, const std::string& file, const std::string& name, const at::Tensor& tensor) {
  const at::Tensor dense = tensor.contiguous();
  write_file_atomically(dir / file, {static_cast<const char*>(dense.data_ptr()), dense.nbytes()});
  const char* type = dense.scalar_type() == at::kLong ? "int64" : dense.scalar_type() == at::kBool ? "bool" : "float32";
  return {{"name", name}, {"type", type}, {"shape", dense.sizes().vec()}, {"file", file}};
}

at::Tensor input_values(const ExportCase& item, const std::string& name, const Shape& shape) {
  if (item.vocab > 0) return (at::arange(element_count(shape), at::kLong) * 5 % item.vocab).view(shape);
  const std::vector<float> values = tiny_values(item.name + name, shape);
  const at::Tensor x = at::tensor(values).view(shape) * 4;
  return item.positive ? x * 0.45 + 0.5 : x;
}

class Writer {
 public:
  explicit Writer(fs::path dir) : dir_(std::move(dir)) {}
  Json cases = Json::array();

  void write(const ExportCase& item) {
    Json runs = Json::array();
    for (const auto* shapes : {&item.shapes, &item.other})
      if (!shapes->empty()) runs.push_back(run(item, *shapes, runs.size()));
    for (int64_t opset : {11, 13, 17, 18, 21}) {
      if (opset < item.min_opset) continue;
      const std::string file = fmt::format("{}-{}.onnx", item.name, opset);
      write_onnx_model(item.graph, item.shapes, nullptr, dir_ / file, {.opset = opset});
      for (const Json& values : runs) {
        Json entry = {{"name", item.name}, {"file", file}, {"opset", opset}, {"tolerance", item.tolerance}};
        entry.update(values);
        cases.push_back(std::move(entry));
      }
    }
  }

 private:
  Json run(const ExportCase& item, const std::vector<Shape>& shapes, size_t number) {
    const Graph& graph = item.graph;
    Environment values;
    Json inputs = Json::array(), outputs = Json::array();
    std::vector<at::Tensor> given;
    for (size_t i = 0; i < shapes.size(); ++i) {
      const std::string& name = graph.values[static_cast<size_t>(graph.inputs[i])].name;
      given.push_back(input_values(item, name, shapes[i]));
      values[graph.inputs[i]] = given.back();
      inputs.push_back(write_tensor(dir_, fmt::format("{}.{}.in{}", item.name, number, i), name, given.back()));
    }
    Weights weights(graph);
    Interpreter(graph, weights).run(values, 0, static_cast<NodeId>(graph.nodes.size()));
    for (size_t i = 0; i < graph.outputs.size(); ++i)
      outputs.push_back(write_tensor(dir_, fmt::format("{}.{}.out{}", item.name, number, i), "", values.at(graph.outputs[i])));
    return {{"inputs", inputs}, {"outputs", outputs}};
  }

  fs::path dir_;
};

void write_families(Writer& writer, const fs::path& dir) {
  for (const std::string type : {"llama", "mistral", "qwen2", "qwen3", "gpt2", "opt", "phi"})
    for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
      TinyOptions options;
      options.dtype = dtype;
      options.qk_norm = true;
      options.tied = type == "qwen2";
      if (type == "mistral") options.config["sliding_window"] = 4;
      ExportCase item{fmt::format("{}_{}", type, name_of(dtype)), {}, {{1, 8}}, {{3, 13}}};
      item.graph = load_tiny(dir / item.name, type, options).graph;
      item.vocab = options.vocab;
      if (dtype == DType::kBF16) item.min_opset = 13;
      writer.write(item);
    }
}

// Pictures in batches of other sizes than the exported one; BERTs with other lengths too.
void write_vision(Writer& writer, const fs::path& dir) {
  for (const auto& [name, config] : tiny_vision_configs()) {
    std::filesystem::create_directory(dir / name);
    Model model = load_tiny_vision(dir / name, config);
    ExportCase item{name, std::move(model.graph), model.example_inputs, model.example_inputs};
    for (Shape& shape : item.other) shape[0] += 2;
    item.vocab = config.value("vocab_size", 0);
    if (item.vocab > 0) item.other[0][1] -= 3;
    writer.write(item);
  }
}

int run(const fs::path& dir) {
  Writer writer(dir);
  for (const ExportCase& item : export_cases()) writer.write(item);
  write_families(writer, dir);
  write_vision(writer, dir);
  write_file_atomically(dir / "cases.json", writer.cases.dump(1));
  return 0;
}

}  // namespace
}  // namespace espalier::test

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: onnx_cases DIR\n");
    return 2;
  }
  try {
    return espalier::test::run(argv[1]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
