#include "espalier/families/family.h"

#include <algorithm>
#include <map>
#include <unordered_set>

#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/families/onnx/import.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

std::vector<Family>& registry() {
  static std::vector<Family> list;
  return list;
}

DType main_dtype(const Graph& graph) {
  std::map<DType, int64_t> counts{{DType::kF32, 0}};
  for (const auto& parameter : graph.parameters()) counts[parameter->dtype()] += parameter->count();
  return std::max_element(counts.begin(), counts.end(), [](auto& a, auto& b) { return a.second < b.second; })->first;
}

int64_t context_length(const Json& config, const std::string& where) {
  for (const char* key : {"max_position_embeddings", "n_positions", "n_ctx"})
    if (config.contains(key)) return json_int(config, key, where, 1, INT32_MAX);
  return 2048;
}

bool has_extension(const fs::path& path, std::initializer_list<const char*> extensions) {
  return std::any_of(extensions.begin(), extensions.end(), [&](const char* e) { return path.extension() == e; });
}

std::vector<fs::path> files_with(const fs::path& directory, std::initializer_list<const char*> extensions) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(directory))
    if (has_extension(entry.path(), extensions)) files.push_back(entry.path());
  return files;
}

// A mask stands beside pruned weights, in an ONNX file's directory too, and holds none.
bool has_weights(const fs::path& directory) {
  const auto files = files_with(directory, {".safetensors", ".bin", ".pt", ".pth", ".th"});
  return std::any_of(files.begin(), files.end(), [](const fs::path& file) { return file.filename() != "mask.safetensors"; }) ||
         fs::exists(directory / "model.safetensors.index.json") || fs::exists(directory / "pytorch_model.bin.index.json");
}

// What the graph's shapes and the configuration say about the data that the model reads.
void describe_inputs(Model& model, const std::string& where) {
  model.dtype = main_dtype(model.graph);
  if (model.task == Task::kText) {
    model.context_length = context_length(model.config, where);
    model.vocab_size = json_int(model.config, "vocab_size", where, 1, INT32_MAX);
    model.example_inputs = {{1, 1}};
    model.input_dtypes = {DType::kI64};
    return;
  }
  if (model.example_inputs.empty()) model.example_inputs = input_shapes(model.graph);
  if (model.input_dtypes.empty())
    for (const Shape& shape : model.example_inputs) model.input_dtypes.push_back(shape.size() < 3 ? DType::kI64 : DType::kF32);
  if (model.task != Task::kImages) return;
  model.image = image_input(model.directory(), model.config, model.example_inputs.front());
  model.classes = model.graph.values[static_cast<size_t>(model.graph.outputs.front())].shape.back();
}

void read_config(Model& model, const fs::path& file) {
  const std::string where = file.string();
  model.config = read_json(file);
  if (!model.config.is_object()) throw UserError(where, "top level", "an object", describe(model.config));
  if (model.config.contains("auto_map")) warn("{}: auto_map names code of the model's author; espalier ignores it", where);
}

Model load_configured(const fs::path& directory, uint64_t seed) {
  Model model;
  model.path = directory;
  const fs::path file = directory / "config.json";
  read_config(model, file);
  const std::string where = file.string();
  model.family = &find_family(json_string(model.config, "model_type", where), where);
  model.task = model.family->task;
  if (model.family->fresh && !has_weights(directory)) {
    inform("{}: no weights there; initial ones are made from seed {}", directory.string(), seed);
    model.graph = model.family->fresh(model.config, seed, where);
  } else {
    model.checkpoint = Checkpoint::open(directory);
    model.graph = model.family->build(model.config, *model.checkpoint, where);
  }
  describe_inputs(model, where);
  return model;
}

// A checkpoint alone: the names of its tensors have to tell what it is.
Model load_recognised(const fs::path& path) {
  Model model;
  model.path = path;
  model.checkpoint = Checkpoint::open(path);
  std::vector<std::string> asked;
  for (const auto* family : families()) {
    if (!family->recognise) continue;
    asked.push_back(family->name);
    auto config = family->recognise(*model.checkpoint);
    if (!config) continue;
    if (model.family) user_error("{}: could be a {} or a {}; put a config.json beside the weights", path.string(), model.family->name, family->name);
    model.family = family;
    model.config = std::move(*config);
  }
  if (!model.family)
    user_error("{}: there is no config.json, and the tensors are named like those of no known family ({})", path.string(), fmt::join(asked, ", "));
  model.task = model.family->task;
  model.graph = model.family->build(model.config, *model.checkpoint, path.string());
  describe_inputs(model, path.string());
  return model;
}

bool is_picture_classifier(const Graph& graph, const std::vector<Shape>& inputs) {
  if (inputs.size() != 1 || inputs[0].size() != 4 || graph.outputs.size() != 1) return false;
  const Shape& output = graph.values[static_cast<size_t>(graph.outputs[0])].shape;
  return output.size() == 2 && output[0] == inputs[0][0];
}

// Ids, masks and flags are whole numbers.
bool is_integer_input(const OnnxModel& onnx, const std::string& name) {
  for (const auto& input : onnx.graph.inputs) {
    if (input.name != name) continue;
    const auto* info = onnx_type_info(input.type.elem_type);
    return info && info->dtype && !is_floating(*info->dtype);
  }
  return false;
}

// Pictures as Keras has them, [n, h, w, c]: all that reads them turns them into planes, perhaps after a rescaling.
bool has_channels_last(const Graph& graph, ValueId pictures) {
  static const std::vector<int64_t> kToPlanes{0, 3, 1, 2};
  std::unordered_set<ValueId> same{pictures};  // the pictures, perhaps rescaled
  bool turned = false;
  for (const Node& node : graph.nodes) {
    if (std::none_of(node.inputs.begin(), node.inputs.end(), [&](ValueId v) { return same.contains(v); })) continue;
    if (node.op == "Transpose" && node.integers("perm") == kToPlanes) {
      turned = true;
    } else if (node.op == "Mul" || node.op == "Add" || node.op == "Sub" || node.op == "Div" || node.op == "Cast") {
      same.insert(node.outputs[0]);
    } else {
      return false;
    }
  }
  return turned;
}

Model load_onnx(const fs::path& path, const LoadOptions& options) {
  Model model;
  model.path = path;
  model.config = Json::object();
  OnnxImport imported = import_onnx(path, {.input_shapes = options.input_shapes});
  model.graph = std::move(imported.graph);
  model.onnx = std::move(imported.source);
  model.example_inputs = std::move(imported.input_shapes);
  model.notes = std::move(imported.notes);
  for (ValueId input : model.graph.inputs) {
    const std::string& name = model.graph.values[static_cast<size_t>(input)].name;
    model.input_dtypes.push_back(is_integer_input(model.onnx->model, name) ? DType::kI64 : DType::kF32);
  }
  bool pictures = is_picture_classifier(model.graph, model.example_inputs) && model.input_dtypes[0] == DType::kF32;
  if (pictures && has_channels_last(model.graph, model.graph.inputs[0])) {
    pictures = false;
    model.notes.push_back(fmt::format("input '{}': pictures with their channels last, which cannot be read from files yet; export the "
                                      "model with channels first (tf2onnx --inputs-as-nchw)",
                                      printable(model.graph.values[static_cast<size_t>(model.graph.inputs[0])].name)));
  }
  model.task = pictures ? Task::kImages : Task::kOther;
  describe_inputs(model, path.string());
  return model;
}

}  // namespace

RegisterFamily::RegisterFamily(Family family) { registry().push_back(std::move(family)); }

const char* name_of(Task task) {
  switch (task) {
    case Task::kText: return "text";
    case Task::kImages: return "images";
    case Task::kOther: return "other";
  }
  return "";
}

std::vector<const Family*> families() {
  std::vector<const Family*> list;
  for (const auto& family : registry()) list.push_back(&family);
  std::sort(list.begin(), list.end(), [](auto* a, auto* b) { return a->name < b->name; });
  return list;
}

const Family& find_family(const std::string& model_type, const std::string& where) {
  std::vector<std::string> known;
  for (const auto* family : families()) {
    for (const auto& type : family->model_types) {
      if (type == model_type) return *family;
      known.push_back(type);
    }
  }
  throw UserError(where, "model_type", fmt::format("one of {}", fmt::join(known, ", ")),
                  fmt::format("'{}'{}", printable(model_type), did_you_mean(model_type, known)));
}

fs::path Model::directory() const { return fs::is_directory(path) ? path : path.parent_path(); }

const char* Model::family_name() const { return family ? family->name.c_str() : "onnx"; }

std::vector<fs::path> Model::files() const {
  if (checkpoint) return checkpoint->files();
  std::vector<fs::path> list;
  if (onnx)
    for (const auto& file : onnx->model.files) list.push_back(file->path());
  return list;
}

void Model::check_unchanged() const {
  if (checkpoint) checkpoint->check_unchanged();
  if (onnx)
    for (const auto& file : onnx->model.files) file->check_unchanged();
}

void Model::drop_pages(const Tensor& tensor) const {
  if (checkpoint) checkpoint->drop_pages(tensor);
}

namespace {

Model load_any(const fs::path& path, const LoadOptions& options) {
  if (!fs::exists(path)) user_error("{}: there is no such model directory or file", path.string());
  if (!fs::is_directory(path)) {
    if (path.extension() == ".onnx") return load_onnx(path, options);
    if (has_extension(path, {".safetensors", ".bin", ".pt", ".pth", ".th"})) return load_recognised(path);
    user_error("{}: expected a model directory with config.json, an .onnx file, or a checkpoint (.safetensors, .pt, .pth, .th, .bin)", path.string());
  }
  if (fs::exists(path / "config.json")) return load_configured(path, options.seed);
  const auto onnx_files = files_with(path, {".onnx"});
  if (onnx_files.size() == 1 && !has_weights(path)) return load_onnx(onnx_files.front(), options);
  if (onnx_files.size() > 1) user_error("{}: the directory has no config.json and several .onnx files; name one of them", path.string());
  if (has_weights(path)) return load_recognised(path);
  user_error("{}: the directory has no config.json", path.string());
}

}  // namespace

Model load_model(const fs::path& path, const LoadOptions& options) {
  Model model = load_any(path, options);
  if (!options.input_shapes.empty() && !model.onnx) user_error("--input-shape: {} is no ONNX file; its shapes are known", path.string());
  model.opened_with = options;
  return model;
}

std::vector<Shape> costing_shapes(const Model& model) {
  if (model.task != Task::kText) return model.example_inputs;
  return {{1, std::min<int64_t>(model.context_length, 2048)}};
}

Size model_size(const Graph& graph, const Model& model) {
  const auto shapes = costing_shapes(model);
  Graph shaped = graph.clone();
  infer_shapes(shaped, shapes);
  const double per = model.task == Task::kText ? static_cast<double>(shapes[0][1]) : 1;
  return {graph.parameter_count(), total_cost(shaped).flops / per, graph.parameter_bytes()};
}

}  // namespace espalier
