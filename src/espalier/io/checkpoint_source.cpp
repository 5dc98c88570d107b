#include "espalier/io/checkpoint_source.h"

#include <algorithm>
#include <unordered_map>

#include "espalier/core/error.h"
#include "espalier/io/bitmap_pack.h"
#include "espalier/io/safetensors.h"
#include "espalier/io/torch_pickle.h"

namespace espalier {
namespace {

WeightFile open_safetensors(const std::filesystem::path& path) {
  const auto source = SafetensorsFile::open(path);
  WeightFile result{source->shared_file(), {}, source->metadata()};
  for (const TensorInfo& info : source->tensors())
    result.tensors.push_back(
        {info.name, info.dtype, info.shape, info.end - info.begin, [source, &info] { return source->tensor(info); }});
  return result;
}

WeightFile open_torch(const std::filesystem::path& path) {
  const auto source = TorchFile::open(path);
  WeightFile result{source->shared_file(), {}, {}};
  for (const TorchTensor& tensor : source->tensors())
    result.tensors.push_back({tensor.name, tensor.dtype, tensor.shape,
                              static_cast<uint64_t>(element_count(tensor.shape)) * size_of(tensor.dtype),
                              [source, &tensor] { return source->tensor(tensor); }});
  return result;
}

TensorSpec stored_spec(const StoredTensor& tensor) { return {tensor.name, tensor.dtype, tensor.shape}; }

StoredTensor join(const PackedWeight& weight, const StoredTensor& bitmap, const StoredTensor& values,
                  const std::string& where) {
  check_bitmap_parts(stored_spec(bitmap), stored_spec(values), weight.shape, weight.name, where);
  auto load = [weight, where, load_bitmap = bitmap.load, load_values = values.load] {
    return unpack_bitmap({load_bitmap(), load_values()}, weight.shape, weight.name, where);
  };
  return {weight.name, values.dtype, weight.shape, bitmap.stored_bytes + values.stored_bytes, std::move(load)};
}

// The stored tensors of a packed weight's parts, in the order of part_names().
StoredTensor join_parts(const PackedWeight& weight, const std::vector<StoredTensor>& stored, const std::string& where) {
  const PackedParts what{*weight.form, weight.shape, weight.dtype, {}, {}, {}, {}};
  std::vector<TensorSpec> specs;
  uint64_t bytes = 0;
  for (const StoredTensor& part : stored) {
    specs.push_back(stored_spec(part));
    bytes += part.stored_bytes;
  }
  check_part_sizes(what, specs, weight.name, where);
  auto parts = [what, stored, where, name = weight.name] {
    PackedParts loaded = what;
    const auto names = part_names(what.form);
    for (size_t i = 0; i < names.size(); ++i) part_of(loaded, names[i]) = stored[i].load();
    check_parts(loaded, name, where);
    return loaded;
  };
  return {weight.name, weight.dtype, weight.shape, bytes, [parts] { return unpack_weight(parts()); }, parts};
}

}  // namespace

WeightFile open_weight_file(const std::filesystem::path& path) {
  const std::string extension = path.extension().string();
  if (extension == ".safetensors") return open_safetensors(path);
  if (extension == ".bin" || extension == ".pt" || extension == ".pth" || extension == ".th")
    return open_torch(path);
  throw UserError(path.string(), "kind of weight file", "a directory, .safetensors, .bin, .pt, .pth or .th",
                  extension.empty() ? "no extension" : printable(extension));
}

void join_packed_weights(WeightFile& file) {
  const auto metadata = file.metadata.find(kPackMetadataKey);
  if (metadata == file.metadata.end()) return;
  const std::string where = file.file->path().string();
  std::unordered_map<std::string, size_t> index;
  for (size_t i = 0; i < file.tensors.size(); ++i) index.emplace(file.tensors[i].name, i);
  auto part = [&](const PackedWeight& weight, const std::string& name) {
    const auto found = index.find(name);
    if (found == index.end())
      user_error("{}: packed weight '{}': the tensor '{}' is missing", where, printable(weight.name), printable(name));
    return found->second;
  };
  std::vector<bool> drop(file.tensors.size(), false);
  for (const PackedWeight& weight : parse_pack_metadata(metadata->second, where)) {
    if (index.count(weight.name))
      user_error("{}: the weight '{}' is there packed and as it is", where, printable(weight.name));
    const size_t values = part(weight, values_name(weight.name));
    if (weight.form) {
      std::vector<StoredTensor> stored;
      for (const std::string& name : part_names(*weight.form)) {
        const size_t at = part(weight, weight.name + "." + name);
        stored.push_back(file.tensors[at]);
        drop[at] = at != values;
      }
      file.tensors[values] = join_parts(weight, stored, where);
      continue;
    }
    const size_t bitmap = part(weight, bitmap_name(weight.name));
    file.tensors[values] = join(weight, file.tensors[bitmap], file.tensors[values], where);
    drop[bitmap] = true;
  }
  std::vector<StoredTensor> kept;
  for (size_t i = 0; i < drop.size(); ++i)
    if (!drop[i]) kept.push_back(std::move(file.tensors[i]));
  file.tensors = std::move(kept);
}

}  // namespace espalier
