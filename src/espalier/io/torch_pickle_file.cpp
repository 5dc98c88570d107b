// The two forms of file around a pickle, and the proof that every tensor lies within the bytes of its storage.
#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "espalier/core/byte_reader.h"
#include "espalier/core/checked.h"
#include "espalier/core/error.h"
#include "espalier/io/torch_pickle.h"
#include "espalier/io/torch_pickle_machine.h"
#include "espalier/io/torch_pickle_state.h"
#include "espalier/io/zip_reader.h"

namespace espalier {
namespace {

struct Range {
  uint64_t begin = 0, size = 0;  // bytes within the file
};
using StorageRanges = std::unordered_map<std::string_view, Range>;

uint64_t element_size(const TorchGlobalInfo& type) {
  return type.kind == TorchGlobal::kUntypedStorage ? 1 : size_of(type.dtype);
}

// The bytes that the tensors of `storage` may use.
Range usable_range(const PickleStorage& storage, const StorageRanges& ranges, const std::string& where) {
  const auto found = ranges.find(storage.key);
  if (found == ranges.end()) user_error("{}: the storage '{}' is missing", where, printable(storage.key));
  const uint64_t element = element_size(storage.type);
  const auto bytes = checked_mul(storage.count, element);
  if (!bytes || *bytes != found->second.size)
    throw UserError(fmt::format("{}: storage '{}'", where, printable(storage.key)), "size",
                    fmt::format("{} elements of {} bytes", storage.count, element),
                    fmt::format("{} bytes", found->second.size));
  return {found->second.begin + storage.view_begin * element, storage.view_count * element};
}

// Position after the tensor's furthest element, in elements from the start of its storage; nullopt on overflow.
std::optional<uint64_t> furthest_end(const PickleTensor& tensor) {
  auto end = checked_add(tensor.offset, 1);
  for (size_t axis = 0; axis < tensor.sizes.size() && end; ++axis) {
    const auto reach =
        checked_mul(static_cast<uint64_t>(tensor.sizes[axis] - 1), static_cast<uint64_t>(tensor.strides[axis]));
    end = reach ? checked_add(*end, *reach) : std::nullopt;
  }
  return end;
}

std::optional<uint64_t> count_of(const Shape& sizes) {
  std::optional<uint64_t> count = 1;
  for (int64_t size : sizes) count = count ? checked_mul(*count, static_cast<uint64_t>(size)) : count;
  return count;
}

TorchTensor locate(const NamedPickleTensor& named, const Pickle& pickle, const StorageRanges& ranges,
                   const std::string& where) {
  const PickleTensor& tensor = pickle.tensors[named.tensor];
  const std::string place = fmt::format("{}: tensor '{}'", where, printable(named.name));
  const Range range = usable_range(pickle.storages[tensor.storage], ranges, place);
  const uint64_t element = size_of(tensor.dtype), available = range.size / element;
  const auto count = count_of(tensor.sizes);
  if (!count || *count > available)
    throw UserError(place, "shape", fmt::format("at most the {} elements of its storage", available),
                    to_string(tensor.sizes));
  if (*count == 0) return {named.name, tensor.dtype, tensor.sizes, tensor.strides, range.begin};
  const auto end = furthest_end(tensor);
  if (!end || *end > available)
    throw UserError(place, "offset and strides", fmt::format("elements within the {} of its storage", available),
                    fmt::format("offset {}, shape {}, strides {}", tensor.offset, to_string(tensor.sizes),
                                to_string(tensor.strides)));
  return {named.name, tensor.dtype, tensor.sizes, tensor.strides, range.begin + tensor.offset * element};
}

std::vector<TorchTensor> locate_all(const Pickle& pickle, const StorageRanges& ranges, const std::string& where) {
  std::vector<TorchTensor> result;
  for (const NamedPickleTensor& named : find_state_dict(pickle, where))
    result.push_back(locate(named, pickle, ranges, where));
  return result;
}

// Zip form: "<archive>/data.pkl", one entry "<archive>/data/<key>" a storage, "<archive>/byteorder".
std::vector<TorchTensor> parse_zip(std::span<const std::byte> file, const std::string& where) {
  constexpr std::string_view kPickle = "/data.pkl";
  const std::vector<ZipEntry> entries = read_zip_directory(file, where);
  const auto pickle_entry = std::find_if(entries.begin(), entries.end(), [&](const ZipEntry& entry) {
    return entry.name.ends_with(kPickle) && entry.name.find('/') == entry.name.size() - kPickle.size();
  });
  if (pickle_entry == entries.end())
    user_error("{}: a zip archive, but not of torch: no entry '<name>/data.pkl'", where);
  const std::string archive = pickle_entry->name.substr(0, pickle_entry->name.size() - kPickle.size());
  const std::string storage_prefix = archive + "/data/";
  StorageRanges ranges;
  for (const ZipEntry& entry : entries) {
    if (entry.name.starts_with(storage_prefix))
      ranges.emplace(std::string_view(entry.name).substr(storage_prefix.size()), Range{entry.begin, entry.size});
    if (entry.name == archive + "/byteorder" && ByteReader(file, where, entry.begin).text(entry.size) != "little")
      user_error("{}: written on a big-endian machine", where);
  }
  if (pickle_entry->size > kMaxPickleBytes)
    throw UserError(where, pickle_entry->name, fmt::format("at most {} bytes", kMaxPickleBytes),
                    std::to_string(pickle_entry->size));
  const Pickle pickle = read_pickle(file.first(pickle_entry->begin + pickle_entry->size), pickle_entry->begin, where);
  return locate_all(pickle, ranges, where);
}

// 0x1950a86a20f9469cfc6c, the first pickle of the older form.
constexpr std::string_view kMagic("\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 10);
constexpr int64_t kOldProtocol = 1001;

// The storages' bytes follow the pickles in the order of the list of keys, each after its number of elements.
StorageRanges read_old_storages(std::span<const std::byte> file, const Pickle& object, const Pickle& keys,
                                const std::string& where) {
  std::unordered_map<std::string_view, const PickleStorage*> declared;
  for (const PickleStorage& storage : object.storages) declared.emplace(storage.key, &storage);
  StorageRanges ranges;
  ByteReader reader(file, where, keys.end);
  for (uint32_t item : keys.node(keys.root).items) {
    const PickleNode& key = keys.node(item);
    const auto storage = key.kind == PickleKind::kText ? declared.find(key.text) : declared.end();
    if (storage == declared.end())
      user_error("{}: a storage key that no tensor mentions: '{}'", where, printable(key.text));
    const auto count = reader.number<int64_t>();
    const auto bytes = checked_mul(static_cast<uint64_t>(count), element_size(storage->second->type));
    if (count < 0 || !bytes || *bytes > reader.remaining())
      throw UserError(fmt::format("{}: storage '{}'", where, printable(key.text)), "number of elements",
                      fmt::format("no more than fit into the remaining {} bytes", reader.remaining()),
                      std::to_string(count));
    if (!ranges.emplace(storage->first, Range{reader.position(), *bytes}).second)
      user_error("{}: the storage '{}' stands twice", where, printable(key.text));
    reader.skip(*bytes);
  }
  return ranges;
}

// Older form: pickles of a magic number, a version, facts about the system, the object, the storages' keys; then bytes.
std::vector<TorchTensor> parse_old(std::span<const std::byte> file, const std::string& where) {
  const Pickle magic = read_pickle(file, 0, where);
  if (magic.node(magic.root).kind != PickleKind::kLargeInt || magic.node(magic.root).text != kMagic)
    user_error("{}: a pickle, but not of torch.save", where);
  const Pickle version = read_pickle(file, magic.end, where);
  if (version.node(version.root).kind != PickleKind::kInt || version.node(version.root).integer != kOldProtocol)
    user_error("{}: a version of torch's file form that is not {}", where, kOldProtocol);
  const Pickle system = read_pickle(file, version.end, where);
  const PickleNode* little = system.find(system.node(system.root), "little_endian");
  if (!little || little->kind != PickleKind::kBool || !little->integer)
    user_error("{}: not written on a little-endian machine", where);
  const Pickle object = read_pickle(file, system.end, where);
  const Pickle keys = read_pickle(file, object.end, where);
  if (keys.node(keys.root).kind != PickleKind::kList) user_error("{}: the list of storage keys is missing", where);
  return locate_all(object, read_old_storages(file, object, keys, where), where);
}

}  // namespace

std::vector<TorchTensor> parse_torch(std::span<const std::byte> file, const std::string& where) {
  constexpr auto kPickleStart = std::byte{0x80};  // the opcode PROTO
  if (looks_like_zip(file)) return parse_zip(file, where);
  if (!file.empty() && file[0] == kPickleStart) return parse_old(file, where);
  user_error("{}: not a file of torch.save (neither a zip archive nor a pickle)", where);
}

}  // namespace espalier
