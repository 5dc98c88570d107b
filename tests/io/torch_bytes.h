// Pickles and zip archives made byte by byte, so that tests can say what torch.save never would.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "espalier/io/torch_pickle.h"

namespace espalier::test {

template <typename T>
std::string raw(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(T)};
}

namespace pickle {

inline const std::string kStart("\x80\x02", 2), kStop(".");

inline std::string text(std::string_view value) {
  return "X" + raw(static_cast<uint32_t>(value.size())) + std::string(value);
}
inline std::string number(int32_t value) { return "J" + raw(value); }
inline std::string large(int64_t value) { return std::string("\x8a\x08") + raw(value); }
inline std::string global(std::string_view module, std::string_view name) {
  return "c" + std::string(module) + "\n" + std::string(name) + "\n";
}
inline std::string tuple(const std::vector<std::string>& values) {
  std::string result = "(";
  for (const auto& value : values) result += value;
  return result + "t";
}
inline std::string dict(const std::vector<std::pair<std::string, std::string>>& entries) {
  std::string result = "}(";
  for (const auto& [key, value] : entries) result += text(key) + value;
  return result + "u";
}
inline std::string storage(std::string_view key, const std::string& count, std::string_view type = "FloatStorage") {
  return tuple({text("storage"), global("torch", type), text(key), text("cpu"), count}) + "Q";
}
inline std::string numbers(const std::vector<int64_t>& values) {
  std::vector<std::string> items;
  for (int64_t value : values) items.push_back(large(value));
  return tuple(items);
}
inline std::string tensor(const std::string& storage_value, int64_t offset, const std::vector<int64_t>& sizes,
                          const std::vector<int64_t>& strides) {
  return global("torch._utils", "_rebuild_tensor_v2") +
         tuple({storage_value, large(offset), numbers(sizes), numbers(strides), "\x89",
                global("collections", "OrderedDict") + ")R"}) +
         "R";
}
inline std::string whole(const std::string& body) { return kStart + body + kStop; }

}  // namespace pickle

struct ZipPart {
  std::string name, content;
  uint16_t method = 0, flags = 0;
};

// A zip archive of stored parts; `zip64` writes sizes and positions in the extra fields and the longer end records.
inline std::string zip(const std::vector<ZipPart>& parts, bool zip64 = false) {
  std::string file, directory;
  for (const ZipPart& part : parts) {
    const auto at = static_cast<uint32_t>(file.size()), size = static_cast<uint32_t>(part.content.size());
    const auto name_size = static_cast<uint16_t>(part.name.size());
    const std::string times_and_crc(8, '\0');
    file += raw(0x04034b50u) + raw(uint16_t{20}) + raw(part.flags) + raw(part.method) + times_and_crc + raw(size) +
            raw(size) + raw(name_size) + raw(uint16_t{0}) + part.name + part.content;
    const std::string extra =
        raw(uint16_t{1}) + raw(uint16_t{24}) + raw(uint64_t{size}) + raw(uint64_t{size}) + raw(uint64_t{at});
    directory += raw(0x02014b50u) + raw(uint16_t{20}) + raw(uint16_t{20}) + raw(part.flags) + raw(part.method) +
                 times_and_crc + raw(zip64 ? ~0u : size) + raw(zip64 ? ~0u : size) + raw(name_size) +
                 raw(static_cast<uint16_t>(zip64 ? extra.size() : 0)) + std::string(10, '\0') + raw(zip64 ? ~0u : at) +
                 part.name + (zip64 ? extra : "");
  }
  const uint64_t begin = file.size(), count = parts.size();
  file += directory;
  if (zip64) {
    const uint64_t end64 = file.size();
    file += raw(0x06064b50u) + raw(uint64_t{44}) + raw(uint32_t{0}) + raw(uint64_t{0}) + raw(count) + raw(count) +
            raw(uint64_t{directory.size()}) + raw(begin);
    file += raw(0x07064b50u) + raw(uint32_t{0}) + raw(end64) + raw(uint32_t{1});
  }
  const auto count16 = static_cast<uint16_t>(zip64 ? 0xffff : count);
  return file + raw(0x06054b50u) + raw(uint32_t{0}) + raw(count16) + raw(count16) +
         raw(zip64 ? ~0u : static_cast<uint32_t>(directory.size())) + raw(zip64 ? ~0u : static_cast<uint32_t>(begin)) +
         raw(uint16_t{0});
}

// A torch archive with one pickle body and storages "0", "1", ….
inline std::string torch_zip(const std::string& body, const std::vector<std::string>& storages, bool zip64 = false) {
  std::vector<ZipPart> parts{{"m/data.pkl", pickle::whole(body)}, {"m/byteorder", "little"}};
  for (size_t i = 0; i < storages.size(); ++i) parts.push_back({"m/data/" + std::to_string(i), storages[i]});
  return zip(parts, zip64);
}

inline std::string bytes_of_floats(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

// The older form: magic, version, system, object, keys, then the storages as given.
inline std::string torch_old(const std::string& body, const std::vector<std::string>& keys, const std::string& storages,
                             bool little_endian = true) {
  std::string key_list = "](";
  for (const auto& key : keys) key_list += pickle::text(key);
  const std::string magic("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 12);
  return pickle::whole(magic) + pickle::whole(pickle::number(1001)) +
         pickle::whole(pickle::dict({{"little_endian", little_endian ? "\x88" : "\x89"}})) + pickle::whole(body) +
         pickle::whole(key_list + "e") + storages;
}

inline std::vector<TorchTensor> parse_torch_bytes(std::string_view file) {
  return parse_torch(std::as_bytes(std::span(file)), "m.pt");
}
inline std::vector<TorchTensor> parse_body(const std::string& body, const std::vector<std::string>& storages = {}) {
  return parse_torch_bytes(torch_zip(body, storages));
}

}  // namespace espalier::test
