#include "espalier/io/onnx/writer.h"

#include <set>

#include "espalier/core/error.h"
#include "espalier/io/onnx/external.h"
#include "espalier/io/onnx/reader.h"
#include "espalier/io/onnx/serialise.h"
#include "espalier/io/onnx/tensor.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

fs::path directory_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

std::string data_name(const fs::path& path, int attempt) {
  const std::string name = path.filename().string();
  return attempt == 0 ? name + ".data" : fmt::format("{}.{}.data", name, attempt);
}

std::string free_data_name(const fs::path& path) {
  std::error_code error;
  int attempt = 0;
  while (fs::symlink_status(directory_of(path) / data_name(path, attempt), error).type() != fs::file_type::not_found)
    ++attempt;
  return data_name(path, attempt);
}

// The data files of the model that stands at `path`, as far as this writer has named them.
std::set<std::string> replaced_data_files(const fs::path& path) {
  std::set<std::string> names;
  std::error_code error;
  if (!fs::is_regular_file(path, error)) return names;
  try {
    const auto file = MappedFile::open(path);
    const OnnxModel old = parse_onnx({file->data(), static_cast<size_t>(file->size())}, path.string(), file);
    for_each_tensor(old, [&](const OnnxTensor& tensor) {
      for (const OnnxEntry& entry : tensor.external_data)
        if (entry.key == "location") names.insert(entry.value);
    });
  } catch (const UserError&) {
    return {};  // no ONNX file: it has no data files
  }
  const std::string begin = path.filename().string() + ".";
  std::erase_if(names, [&](const std::string& name) {
    return !name.starts_with(begin) || !name.ends_with(".data") || name.find('/') != std::string::npos;
  });
  return names;
}

bool may_be_external(const OnnxTensor& tensor, const OnnxWriteOptions& options, const std::string& where) {
  const OnnxTypeInfo* type = onnx_type_info(tensor.data_type);
  const bool movable = type && type->bits != 0 && (type->bits != 6 || tensor.storage != OnnxStorage::kInt32s) &&
                       tensor.storage != OnnxStorage::kNone;
  return movable && onnx_byte_size(tensor, where) >= options.min_external_bytes;
}

struct Layout {
  OnnxPlaces places;
  std::vector<const OnnxTensor*> order;
};

// Initialisers alone: readers look for constants of attributes in the model.
Layout lay_out(const OnnxModel& model, const std::string& name, const OnnxWriteOptions& options,
               const std::string& where) {
  Layout layout;
  uint64_t end = 0;
  for (const OnnxTensor& tensor : model.graph.initializers) {
    if (!may_be_external(tensor, options, where)) continue;
    const uint64_t offset = (end + options.alignment - 1) / options.alignment * options.alignment;
    const uint64_t bytes = onnx_byte_size(tensor, where);
    layout.places.emplace(&tensor, OnnxPlace{name, offset, bytes});
    layout.order.push_back(&tensor);
    end = offset + bytes;
  }
  return layout;
}

void write_data(const Layout& layout, AtomicFile& file, const std::string& where) {
  for (const OnnxTensor* tensor : layout.order) {
    const OnnxPlace& place = layout.places.at(tensor);
    const OnnxBytes raw = onnx_raw_bytes(*tensor, where);
    ESP_ASSERT(raw.view.size() == place.bytes, "'{}': {} bytes, announced {}", tensor->name, raw.view.size(),
               place.bytes);
    file.write_at(place.offset, raw.view.data(), raw.view.size());
  }
}

void check_size(const ByteRope& rope, const OnnxWriteOptions& options, const std::string& where) {
  if (rope.size() > options.max_model_bytes)
    throw UserError(where, "size of the model without its data file",
                    fmt::format("at most {} bytes", options.max_model_bytes), std::to_string(rope.size()));
}

void commit(AtomicFile& file, const OnnxModel& model) {
  for (const auto& source : model.files) source->check_unchanged();
  file.commit();
}

void write_model(const ByteRope& rope, const OnnxModel& model, const fs::path& path) {
  const std::set<std::string> stale = replaced_data_files(path);
  AtomicFile file(path);
  rope.for_each([&](std::string_view piece) { file.write(piece); });
  commit(file, model);
  for (const std::string& name : stale) {
    std::error_code error;
    fs::remove(directory_of(path) / name, error);
  }
}

}  // namespace

void write_onnx(const OnnxModel& model, const fs::path& path, const OnnxWriteOptions& options) {
  const std::string where = path.string();
  ESP_ASSERT(options.alignment > 0);
  ByteRope rope = serialise_onnx(model);
  const bool wanted = options.external_data == OnnxExternalData::kAuto &&
                      (has_external_data(model) || rope.size() > options.max_model_bytes);
  if (!wanted && options.external_data != OnnxExternalData::kAlways) {
    check_size(rope, options, where);
    return write_model(rope, model, path);
  }
  const std::string name = free_data_name(path);
  const Layout layout = lay_out(model, name, options, where);
  rope = serialise_onnx(model, layout.places);
  check_size(rope, options, where);
  if (layout.order.empty()) return write_model(rope, model, path);
  const fs::path data_path = directory_of(path) / name;
  AtomicFile data(data_path);
  write_data(layout, data, where);
  commit(data, model);
  try {
    write_model(rope, model, path);
  } catch (...) {
    std::error_code error;
    fs::remove(data_path, error);
    throw;
  }
}

}  // namespace espalier
