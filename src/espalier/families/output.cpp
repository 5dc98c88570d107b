#include "espalier/families/output.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <unordered_set>

#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/families/onnx/export.h"
#include "espalier/io/bitmap_pack.h"
#include "espalier/io/checkpoint_index.h"
#include "espalier/io/checkpoint_writer.h"
#include "espalier/io/onnx/external.h"
#include "espalier/io/onnx/reader.h"
#include "espalier/io/onnx/writer.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxSideFileBytes = 512u << 20;

bool ends_with_any(const std::string& name, std::initializer_list<const char*> extensions) {
  return std::any_of(extensions.begin(), extensions.end(),
                     [&](const char* extension) { return name.ends_with(extension); });
}

// Tokenizers, generation defaults, chat templates and licences; no weights, no code, nothing that speaks of the old
// weights' layout.
bool is_side_file(const std::string& name) {
  if (name.starts_with(".") || name == "config.json" || name == "manifest.json" || name.ends_with(".index.json"))
    return false;
  return ends_with_any(name, {".json", ".txt", ".model", ".jinja", ".tiktoken", ".vocab"}) ||
         name.starts_with("LICENSE") || name.starts_with("NOTICE");
}

void copy_side_files(const fs::path& from, const fs::path& to) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(from)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    if (!is_side_file(name) || fs::is_directory(from / name)) continue;
    write_file_atomically(to / name, read_file(file_in_directory(from, name), kMaxSideFileBytes));
  }
}

void check_writable(const Graph& graph) {
  for (const Node& node : graph.nodes)
    if (node.has_param("mask"))
      user_error("{}: the norm counts the channels that a mask leaves, which no file can say; cut the model instead",
                 node.name);
}

Json written_config(const Model& model) {
  Json config = model.config;
  config.erase("auto_map");  // the code that it names is not copied
  model.family->write_config(config, model.graph);
  return config;
}

// Weights that only Linear nodes read: no other reader expects them to be large and sparse.
std::unordered_set<std::string> packable(const Graph& graph) {
  std::unordered_set<std::string> names, others;
  for (const Node& node : graph.nodes)
    for (const auto& [role, name] : node.params)
      (node.op == "Linear" && role == "weight" ? names : others).insert(name);
  for (const auto& name : others) names.erase(name);
  return names;
}

struct Announced {
  std::vector<TensorSpec> specs;
  std::vector<PackedWeight> packed;
};

// The header comes first, so what packs has to be known before anything is written: one pass over the weights more.
Announced announce(const Model& model, const WeightPacker& pack) {
  Announced all;
  const auto candidates = pack ? packable(model.graph) : std::unordered_set<std::string>{};
  for (const auto& parameter : model.graph.parameters()) {
    if (candidates.count(parameter->name()) && parameter->shape().size() == 2) {
      auto packed = pack(parameter->name(), parameter->load());
      model.drop_pages(parameter->source());
      if (packed) {
        for (const std::string& part : part_names(packed->form)) {
          const Tensor& tensor = part_of(*packed, part);
          all.specs.push_back({parameter->name() + "." + part, tensor.dtype(), tensor.shape(), true});
        }
        all.packed.push_back({parameter->name(), packed->shape, packed->form, packed->dtype});
        continue;
      }
    }
    all.specs.push_back({parameter->name(), parameter->dtype(), parameter->shape()});
  }
  return all;
}

void write_weights(const Model& model, const fs::path& directory, const OutputOptions& options) {
  const Announced announced = announce(model, options.pack);
  std::unordered_set<std::string> packed;
  for (const auto& weight : announced.packed) packed.insert(weight.name);
  std::map<std::string, std::string> metadata{{"format", "pt"}};
  if (!packed.empty()) metadata[kPackMetadataKey] = pack_metadata(announced.packed);
  // A packed weight's parts and the metadata that joins them belong in one file.
  const uint64_t limit = packed.empty() ? options.max_shard_bytes : UINT64_MAX;
  CheckpointWriter writer(directory, announced.specs, metadata, limit);
  for (const auto& parameter : model.graph.parameters()) {
    const Tensor tensor = parameter->load();
    if (packed.count(parameter->name())) {
      auto parts = options.pack(parameter->name(), tensor);
      ESP_ASSERT(parts, "'{}' was to be packed", parameter->name());
      for (const std::string& part : part_names(parts->form)) writer.write(parameter->name() + "." + part, part_of(*parts, part));
    } else {
      writer.write(parameter->name(), tensor);
    }
    model.drop_pages(parameter->source());
    if (options.on_written) options.on_written(parameter->name());
  }
  writer.commit();
}

void compare_tensor(const Tensor& expected, const Tensor& found, const std::string& where, const std::string& name) {
  const std::string place = fmt::format("tensor '{}'", name);
  if (expected.dtype() != found.dtype() || expected.shape() != found.shape())
    throw UserError(where, place, fmt::format("{} {}", name_of(expected.dtype()), to_string(expected.shape())),
                    fmt::format("{} {}", name_of(found.dtype()), to_string(found.shape())));
  if (expected.byte_size() == 0 || std::memcmp(expected.bytes(), found.bytes(), expected.byte_size()) == 0) return;
  const auto* a = expected.bytes();
  const auto first = std::mismatch(a, a + expected.byte_size(), found.bytes()).first - a;
  user_error("{}: {}: byte {} is not what was written", where, place, first);
}

}  // namespace

void write_model(const Model& model, const fs::path& directory, const OutputOptions& options) {
  check_writable(model.graph);
  if (fs::is_directory(model.path)) copy_side_files(model.path, directory);
  write_file_atomically(directory / "config.json", written_config(model).dump(2) + "\n");
  write_weights(model, directory, options);
}

void verify_written(const fs::path& directory, const Graph& graph, const WeightPacker& pack) {
  const Model written = load_model(directory);
  const std::string where = directory.string();
  if (written.graph.parameters().size() != graph.parameters().size())
    throw UserError(where, "number of parameters", fmt::format("{}", graph.parameters().size()),
                    fmt::format("{}", written.graph.parameters().size()));
  for (const auto& parameter : graph.parameters()) {
    if (!written.graph.has_parameter(parameter->name()))
      user_error("{}: the tensor '{}' is missing", where, parameter->name());
    if (auto parts = written.checkpoint->packed(parameter->name()); parts && pack) {
      auto expected = pack(parameter->name(), parameter->load());
      if (!expected || expected->form != parts->form) user_error("{}: the tensor '{}' has another form", where, parameter->name());
      for (const std::string& part : part_names(parts->form))
        compare_tensor(part_of(*expected, part), part_of(*parts, part), where, parameter->name() + "." + part);
      continue;
    }
    const Tensor& found = written.checkpoint->tensor(parameter->name());
    compare_tensor(parameter->load(), found, where, parameter->name());
    written.checkpoint->drop_pages(found);
  }
}

namespace {

void place_copy(const fs::path& from, const fs::path& to) {
  const auto source = MappedFile::open(from);
  AtomicFile file(to);
  file.write(source->data(), static_cast<size_t>(source->size()));
  file.commit();
}

// The name takes the place of an older file in one step.
void place_link(const fs::path& from, const fs::path& to) {
  const fs::path link = to.string() + ".partial-link";
  std::error_code error;
  fs::remove(link, error);
  fs::create_hard_link(from, link, error);
  if (error) return place_copy(from, to);
  fs::rename(link, to, error);
  if (!error) return;
  std::error_code ignored;
  fs::remove(link, ignored);
  user_error("{}: cannot be put there: {}", to.string(), error.message());
}

}  // namespace

OutputPlace output_place(const fs::path& out, const std::string& to, const Model& model, const RunOptions& options) {
  const bool file = out.extension() == ".onnx", onnx = to.empty() ? file || model.onnx : to == "onnx";
  if (file && !onnx) user_error("--out: {} names an ONNX file, and --to {} writes a directory", out.string(), to);
  if (!onnx && model.onnx) user_error("--to: an ONNX file has no Hugging Face form; use --to onnx");
  if (!file) return {onnx, out, {}};
  if (fs::is_directory(out)) user_error("{}: a directory; an .onnx result is a file", out.string());
  if (fs::exists(out) && !options.force && !options.resume)
    user_error("{}: already there; give another --out, or --force to replace it", out.string());
  return {onnx, fs::path(out.string() + ".run"), out};
}

void write_result(const Model& model, const OutputPlace& place, const fs::path& staging, const OutputOptions& options) {
  if (!place.onnx) {
    write_model(model, staging, options);
    return verify_written(staging, model.graph, options.pack);
  }
  if (options.pack) user_error("--pack: an ONNX file has no packed form; leave --pack out or write a directory");
  check_writable(model.graph);
  const fs::path name = place.file.empty() ? fs::path("model.onnx") : place.file.filename();
  write_onnx_model(model.graph, costing_shapes(model), model.onnx.get(), staging / name);
}

void publish(const OutputPlace& place) {
  if (place.file.empty()) return;
  const fs::path made = place.directory / place.file.filename();
  // Written again with external data: that must have one name only, and a name beside OUT that no older model reads.
  if (const OnnxModel model = read_onnx(made); has_external_data(model)) return write_onnx(model, place.file);
  place_link(made, place.file);
  fsync_directory(fs::absolute(place.file).parent_path());
}

}  // namespace espalier
