// CIFAR's binary form: records of a label (CIFAR-100: a coarse and a fine one) and 3 planes of 32 x 32 bytes.
#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/io/images/formats.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kSide = 32, kPlane = kSide * kSide;

struct Kind {
  const char* name;
  int64_t labels, classes;  // labels before the pixels, the last of which counts
  const char* names_file;
  int64_t record() const { return labels + 3 * kPlane; }
};
constexpr Kind kKinds[] = {{"CIFAR-10", 1, 10, "batches.meta.txt"}, {"CIFAR-100", 2, 100, "fine_label_names.txt"}};

bool is_record_file(const fs::path& path) {
  std::error_code error;
  if (path.extension() != ".bin" || !fs::is_regular_file(path, error)) return false;
  const auto size = static_cast<int64_t>(fs::file_size(path, error));
  return !error && size > 0 &&
         std::any_of(std::begin(kKinds), std::end(kKinds), [&](const Kind& kind) { return size % kind.record() == 0; });
}

std::vector<fs::path> bin_files(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return {path};
  auto entries = sorted_entries(path);
  std::erase_if(entries, [](const fs::path& entry) { return entry.extension() != ".bin"; });
  return entries;
}

// Lines of a text file, when there are exactly as many as classes.
std::vector<std::string> read_class_names(const fs::path& path, int64_t classes) {
  std::error_code error;
  if (!fs::is_regular_file(path, error)) return {};
  std::vector<std::string> names(1);
  for (char c : read_file(path, 1 << 16)) {
    if (c == '\n') {
      names.emplace_back();
    } else if (c != '\r') {
      names.back() += c;
    }
  }
  std::erase(names, "");
  return static_cast<int64_t>(names.size()) == classes ? names : std::vector<std::string>();
}

class Cifar : public ImageDataset {
 public:
  explicit Cifar(const fs::path& data) : ImageDataset(data) {
    for (const auto& path : bin_files(data)) files_.push_back({MappedFile::open(path), 0});
    kind_ = choose_kind();
    for (auto& file : files_) size_ = file.end = size_ + static_cast<int64_t>(file.map->size()) / kind_->record();
    check_labels();
    classes_ = kind_->classes;
    class_names_ = read_class_names(files_[0].map->path().parent_path() / kind_->names_file, classes_);
  }

  int64_t size() const override { return size_; }
  int64_t label(int64_t i) const override { return record(i)[kind_->labels - 1]; }

  Picture picture(int64_t i) const override {
    Picture picture{kSide, kSide, 3, std::vector<uint8_t>(static_cast<size_t>(3 * kPlane))};
    const uint8_t* planes = record(i) + kind_->labels;
    for (int64_t at = 0; at < kPlane; ++at)
      for (int64_t c = 0; c < 3; ++c) picture.pixels[static_cast<size_t>(at * 3 + c)] = planes[c * kPlane + at];
    return picture;
  }

  std::vector<fs::path> files(int64_t count) const override {
    std::vector<fs::path> paths;
    int64_t begin = 0;
    for (const auto& file : files_) {
      if (begin < count) paths.push_back(file.map->path());
      begin = file.end;
    }
    return paths;
  }

 private:
  struct File {
    std::shared_ptr<const MappedFile> map;
    int64_t end;  // pictures in this file and those before it
  };

  const File& file_of(int64_t i) const {
    ESP_ASSERT(i >= 0 && i < size_);
    return *std::upper_bound(files_.begin(), files_.end(), i,
                             [](int64_t at, const File& file) { return at < file.end; });
  }
  const uint8_t* record(int64_t i) const {
    const File& file = file_of(i);
    const int64_t first = file.end - static_cast<int64_t>(file.map->size()) / kind_->record();
    return reinterpret_cast<const uint8_t*>(file.map->data()) + (i - first) * kind_->record();
  }

  // By the files' sizes; where both fit, by the first label, which only CIFAR-100 has above 9 in its second byte too.
  const Kind* choose_kind() const {
    for (const Kind& kind : kKinds) {
      const auto fits = [&](const File& file) {
        return file.map->size() % static_cast<uint64_t>(kind.record()) == 0 && labels_fit(file, kind);
      };
      if (std::all_of(files_.begin(), files_.end(), fits)) return &kind;
    }
    for (const Kind& kind : kKinds)  // for the error about a label
      if (std::all_of(files_.begin(), files_.end(),
                      [&](const File& file) { return file.map->size() % static_cast<uint64_t>(kind.record()) == 0; }))
        return &kind;
    for (const File& file : files_)
      if (!is_record_file(file.map->path())) bad_size(file);
    throw UserError(path_.string(), ".bin files", "all CIFAR-10 or all CIFAR-100", "some of each");
  }

  [[noreturn]] static void bad_size(const File& file) {
    throw UserError(file.map->path().string(), "size", "a multiple of 3073 (CIFAR-10) or 3074 bytes (CIFAR-100), not 0",
                    fmt::format("{} bytes", file.map->size()));
  }

  static bool labels_fit(const File& file, const Kind& kind) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(file.map->data());
    for (uint64_t at = 0; at < file.map->size(); at += static_cast<uint64_t>(kind.record()))
      if (bytes[at + static_cast<uint64_t>(kind.labels) - 1] >= kind.classes) return false;
    return file.map->size() > 0;
  }

  void check_labels() const {
    for (const File& file : files_)
      if (file.map->size() == 0) bad_size(file);
    for (int64_t i = 0; i < size_; ++i)
      if (label(i) >= kind_->classes)
        throw UserError(file_of(i).map->path().string(), fmt::format("{} label of picture {}", kind_->name, i),
                        fmt::format("0 to {}", kind_->classes - 1), fmt::format("{}", label(i)));
  }

  std::vector<File> files_;
  const Kind* kind_ = nullptr;
  int64_t size_ = 0;
};

bool recognise(const fs::path& path) {
  const auto files = bin_files(path);
  return std::any_of(files.begin(), files.end(), is_record_file);
}

}  // namespace

const ImageFormat kCifarFormat = {recognise, [](const fs::path& path) -> std::shared_ptr<const ImageDataset> {
                                    return std::make_shared<Cifar>(path);
                                  }};

}  // namespace espalier
