#include "espalier/io/onnx/external.h"

#include <openssl/evp.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <map>

#include "espalier/core/error.h"
#include "espalier/io/onnx/tensor.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

const std::string* find_entry(const OnnxTensor& tensor, std::string_view key) {
  for (const OnnxEntry& entry : tensor.external_data)
    if (entry.key == key) return &entry.value;
  return nullptr;
}

std::string sha1_of(const MappedFile& file) {
  unsigned char digest[20];
  unsigned int size = sizeof(digest);
  EVP_Digest(file.data(), file.size(), digest, &size, EVP_sha1(), nullptr);
  std::string text;
  for (unsigned char byte : digest) text += fmt::format("{:02x}", byte);
  return text;
}

struct stat info_of(const fs::path& path, const std::string& label) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0)
    throw UserError(label, "external_data location", "a file beside the model",
                    fmt::format("{}: {}", printable(path.string(), 200), std::strerror(errno)));
  return info;
}

// directory/location, for the plain names that `location` consists of; no step of it may be a symbolic link.
fs::path contained_path(const fs::path& directory, const std::string& location, const std::string& label) {
  const auto refuse = [&](const std::string& found) {
    throw UserError(label, "external_data location", "a regular file at or below the model's directory", found);
  };
  const bool plain = !location.empty() && location.front() != '/' && location.find('\\') == std::string::npos &&
                     location.find('\0') == std::string::npos && location.size() <= 4096;
  if (!plain) refuse(fmt::format("'{}'", printable(location)));
  fs::path path = directory;
  struct stat info {};
  for (const fs::path& step : fs::path(location)) {
    if (step == "..") refuse(fmt::format("'{}'", printable(location)));
    path /= step;
    info = info_of(path, label);
    if (S_ISLNK(info.st_mode)) refuse(fmt::format("the symbolic link {}", printable(path.string(), 200)));
  }
  if (!S_ISREG(info.st_mode)) refuse(fmt::format("{}, no regular file", printable(path.string(), 200)));
  if (info.st_nlink > 1) refuse(fmt::format("{} with {} hard links", printable(path.string(), 200), info.st_nlink));
  return path;
}

struct StoredRange {
  uint64_t begin, end;
  const OnnxTensor* tensor;
};

struct ExternalFile {
  std::shared_ptr<const MappedFile> file;
  std::string sha1;  // once asked for
  std::vector<StoredRange> ranges;
};

class Opener {
 public:
  explicit Opener(OnnxModel& model) : model_(model), where_(model.path.string()) {}

  void open(OnnxTensor& tensor) {
    const std::string label = fmt::format("{}: tensor '{}'", where_, printable(tensor.name));
    const uint64_t bytes = onnx_byte_size(tensor, where_);
    ExternalFile& external = file_of(tensor, label);
    const uint64_t size = external.file->size();
    const uint64_t offset = number(tensor, "offset", 0, label), length = number(tensor, "length", bytes, label);
    if (length != bytes)
      throw UserError(label, "external_data length", fmt::format("{}, the size of the tensor", bytes),
                      std::to_string(length));
    if (offset > size || bytes > size - offset)
      throw UserError(label, "external_data offset", fmt::format("{} bytes from {} on", bytes, offset),
                      fmt::format("the end of {} at {}", external.file->path().filename().string(), size));
    check_sum(tensor, external, label);
    external.ranges.push_back({offset, offset + bytes, &tensor});
    tensor.data = {external.file,
                   {reinterpret_cast<const char*>(external.file->data()) + offset, static_cast<size_t>(bytes)}};
  }

  void finish() {
    for (auto& [path, external] : files_) {
      check_overlap(external);
      model_.files.push_back(external.file);
    }
  }

 private:
  ExternalFile& file_of(const OnnxTensor& tensor, const std::string& label) {
    const std::string* location = find_entry(tensor, "location");
    if (!location) throw UserError(label, "external_data location", "a path", "none");
    const auto known = by_location_.find(*location);
    if (known != by_location_.end()) return *known->second;
    const fs::path directory = model_.path.has_parent_path() ? model_.path.parent_path() : fs::path(".");
    const fs::path path = contained_path(directory, *location, label);
    std::error_code error;
    if (fs::equivalent(path, model_.path, error))
      throw UserError(label, "external_data location", "a file other than the model",
                      fmt::format("'{}'", printable(*location)));
    ExternalFile& external = files_[path.lexically_normal()];
    if (!external.file) external.file = MappedFile::open(path);
    by_location_.emplace(*location, &external);
    return external;
  }

  static uint64_t number(const OnnxTensor& tensor, const std::string& key, uint64_t otherwise,
                         const std::string& label) {
    const std::string* text = find_entry(tensor, key);
    if (!text) return otherwise;
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
    if (error != std::errc() || end != text->data() + text->size())
      throw UserError(label, "external_data " + key, "a number of bytes", fmt::format("'{}'", printable(*text)));
    return value;
  }

  static void check_sum(const OnnxTensor& tensor, ExternalFile& external, const std::string& label) {
    const std::string* checksum = find_entry(tensor, "checksum");
    if (!checksum) return;
    if (external.sha1.empty()) external.sha1 = sha1_of(*external.file);
    std::string lower = *checksum;
    for (char& c : lower) c = c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
    if (lower != external.sha1)
      throw UserError(label, "external_data checksum", external.sha1 + ", the file's SHA-1", printable(*checksum));
  }

  void check_overlap(ExternalFile& external) {
    std::sort(external.ranges.begin(), external.ranges.end(),
              [](const StoredRange& a, const StoredRange& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
    const StoredRange* last = nullptr;
    for (const StoredRange& range : external.ranges) {
      if (range.begin == range.end) continue;
      if (last && range.begin < last->end)
        throw UserError(fmt::format("{}: tensor '{}'", where_, printable(range.tensor->name)), "external_data offset",
                        fmt::format("{} or more, the end of '{}'", last->end, printable(last->tensor->name)),
                        std::to_string(range.begin));
      last = &range;
    }
  }

  OnnxModel& model_;
  std::string where_;
  std::map<fs::path, ExternalFile> files_;
  std::map<std::string, ExternalFile*> by_location_;
};

}  // namespace

void open_external_data(OnnxModel& model) {
  Opener opener(model);
  for_each_tensor(model, [&](OnnxTensor& tensor) {
    if (tensor.storage == OnnxStorage::kExternal) opener.open(tensor);
  });
  opener.finish();
}

bool has_external_data(const OnnxModel& model) {
  bool found = false;
  for_each_tensor(model, [&](const OnnxTensor& tensor) { found |= tensor.storage == OnnxStorage::kExternal; });
  return found;
}

}  // namespace espalier
