// IDX, the form of MNIST: 0, 0, a type (8: unsigned bytes), the number of dimensions, each dimension as four bytes with
// the highest first, and the values.
#include <algorithm>

#include "espalier/core/checked.h"
#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/core/tensor.h"
#include "espalier/io/images/formats.h"
#include "espalier/io/images/gunzip.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxValues = uint64_t{1} << 33;
const std::string kImages = "images", kImagesRank = "idx3", kLabels = "labels", kLabelsRank = "idx1";

class IdxFile {
 public:
  IdxFile(const fs::path& path, size_t rank) : map_(MappedFile::open(path)), where_(path.string()) {
    const size_t header = 4 + 4 * rank;
    const bool packed = is_gzip(bytes());
    const auto head = packed ? gunzip(bytes(), header, where_) : front(header);
    read_header(head, rank);
    const uint64_t total = header + count();
    if (packed) {
      unpacked_ = gunzip(bytes(), total + 1, where_);
      check_size(unpacked_.size() > total ? "more" : fmt::format("{}", unpacked_.size()), unpacked_.size() == total,
                 total);
      values_ = unpacked_.data() + header;
    } else {
      check_size(fmt::format("{}", map_->size()), map_->size() == total, total);
      values_ = reinterpret_cast<const uint8_t*>(map_->data()) + header;
    }
  }

  const Shape& dims() const { return dims_; }
  const uint8_t* values() const { return values_; }
  const fs::path& path() const { return map_->path(); }

 private:
  std::span<const std::byte> bytes() const { return {map_->data(), map_->size()}; }
  uint64_t count() const { return static_cast<uint64_t>(element_count(dims_)); }

  std::vector<uint8_t> front(size_t most) const {
    const auto* begin = reinterpret_cast<const uint8_t*>(map_->data());
    return {begin, begin + std::min<uint64_t>(most, map_->size())};
  }

  void check_size(const std::string& found, bool right, uint64_t total) const {
    if (!right) throw UserError(where_, "bytes", fmt::format("{} for {} values", total, to_string(dims_)), found);
  }

  void read_header(const std::vector<uint8_t>& head, size_t rank) {
    const auto number = [&](size_t at) {
      return uint32_t{head[at]} << 24 | uint32_t{head[at + 1]} << 16 | uint32_t{head[at + 2]} << 8 | head[at + 3];
    };
    const uint32_t magic = 0x0800 + static_cast<uint32_t>(rank);
    if (head.size() < 4 + 4 * rank)
      throw UserError(where_, "IDX header", fmt::format("{} bytes", 4 + 4 * rank), fmt::format("{}", head.size()));
    if (number(0) != magic)
      throw UserError(where_, "magic number",
                      fmt::format("0x{:08x} (bytes in {} dimension{})", magic, rank, rank == 1 ? "" : "s"),
                      fmt::format("0x{:08x}", number(0)));
    uint64_t product = 1;
    for (size_t i = 0; i < rank; ++i) {
      dims_.push_back(number(4 + 4 * i));
      product = checked_mul(product, number(4 + 4 * i)).value_or(UINT64_MAX);
      if (product == 0 || product > kMaxValues)
        throw UserError(where_, "dimensions", fmt::format("1 to {} values", kMaxValues), to_string(dims_));
    }
  }

  std::shared_ptr<const MappedFile> map_;
  std::string where_;
  Shape dims_;
  std::vector<uint8_t> unpacked_;
  const uint8_t* values_ = nullptr;
};

bool replace_last(std::string& text, const std::string& from, const std::string& to) {
  const size_t at = text.rfind(from);
  if (at != std::string::npos) text.replace(at, from.size(), to);
  return at != std::string::npos;
}

bool is_images_name(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.find(kImages) != std::string::npos && name.find(kImagesRank) != std::string::npos;
}

// Candidates for the images file that a path means.
std::vector<fs::path> images_files(const fs::path& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) {
    auto entries = sorted_entries(path);
    std::erase_if(entries,
                  [&](const fs::path& entry) { return !is_images_name(entry) || !fs::is_regular_file(entry, error); });
    return entries;
  }
  if (fs::exists(path, error)) return is_images_name(path) ? std::vector{path} : std::vector<fs::path>();
  for (const char* end : {"-images-idx3-ubyte", "-images.idx3-ubyte", "-images-idx3-ubyte.gz", "-images.idx3-ubyte.gz"})
    if (fs::path file = path.string() + end; fs::is_regular_file(file, error)) return {file};
  return {};
}

fs::path labels_file(const fs::path& images) {
  std::string name = images.filename().string();
  replace_last(name, kImages, kLabels);
  replace_last(name, kImagesRank, kLabelsRank);
  const bool packed = name.ends_with(".gz");
  const std::string other = packed ? name.substr(0, name.size() - 3) : name + ".gz";
  std::error_code error;
  for (const auto& candidate : {name, other})
    if (fs::path file = images.parent_path() / candidate; fs::exists(file, error)) return file;
  user_error("{}: no file of labels beside it; expected {}", images.string(), name);
}

class Idx : public ImageDataset {
 public:
  Idx(const fs::path& data, const fs::path& images)
      : ImageDataset(data), images_(images, 3), labels_(labels_file(images), 1) {
    const Shape& dims = images_.dims();
    if (dims[1] > kMaxPixels / dims[2])
      throw UserError(images.string(), "picture", fmt::format("at most {} pixels", kMaxPixels), to_string(dims));
    if (labels_.dims()[0] != dims[0])
      throw UserError(labels_.path().string(), "labels", fmt::format("{}, one a picture", dims[0]),
                      fmt::format("{}", labels_.dims()[0]));
    classes_ = 1 + *std::max_element(labels_.values(), labels_.values() + dims[0]);
  }

  int64_t size() const override { return images_.dims()[0]; }
  int64_t label(int64_t i) const override {
    ESP_ASSERT(i >= 0 && i < size());
    return labels_.values()[i];
  }
  Picture picture(int64_t i) const override {
    ESP_ASSERT(i >= 0 && i < size());
    const int64_t height = images_.dims()[1], width = images_.dims()[2];
    const uint8_t* begin = images_.values() + i * height * width;
    return {height, width, 1, {begin, begin + height * width}};
  }
  std::vector<fs::path> files(int64_t) const override { return {images_.path(), labels_.path()}; }

 private:
  IdxFile images_, labels_;
};

std::shared_ptr<const ImageDataset> open(const fs::path& path) {
  const auto files = images_files(path);
  if (files.size() > 1) {
    std::string names;
    for (const auto& file : files) names += (names.empty() ? "" : ", ") + file.filename().string();
    user_error("{}: {} IDX files of images in this folder; name one of {}", path.string(), files.size(),
               printable(names, 400));
  }
  return std::make_shared<Idx>(path, files.at(0));
}

}  // namespace

const ImageFormat kIdxFormat = {[](const fs::path& path) { return !images_files(path).empty(); }, open};

}  // namespace espalier
