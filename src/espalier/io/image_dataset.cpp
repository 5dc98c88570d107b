#include "espalier/io/image_dataset.h"

#include <algorithm>
#include <array>

#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/io/images/decode.h"
#include "espalier/io/images/formats.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

const std::array kFormats = {&kLabelsTsvFormat, &kCifarFormat, &kIdxFormat, &kClassFolderFormat};

const ImageFormat* format_of(const fs::path& path) {
  for (const ImageFormat* format : kFormats)
    if (format->recognise(path)) return format;
  return nullptr;
}

bool is_unlabelled(const fs::path& path) {
  if (is_picture_name(path)) return true;
  const auto entries = sorted_entries(path);
  return std::any_of(entries.begin(), entries.end(), is_picture_name);
}

}  // namespace

std::vector<fs::path> sorted_entries(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    if (!at->path().filename().string().starts_with('.')) entries.push_back(at->path());
  std::sort(entries.begin(), entries.end());
  return entries;
}

std::shared_ptr<const ImageDataset> ImageDataset::open(const fs::path& path) {
  const fs::path data = path.has_filename() ? path : path.parent_path();  // "folder/" is "folder"
  if (const ImageFormat* format = format_of(data)) return format->open(data);
  std::error_code error;
  if (!fs::exists(data, error)) user_error("{}: no such file or directory", data.string());
  throw UserError(data.string(), "labelled pictures",
                  "CIFAR .bin files, IDX images with their labels, a folder of pictures for each class, or a folder with labels.tsv",
                  is_unlabelled(data) ? "pictures without labels" : "none of these");
}

bool is_image_data(const fs::path& path) { return format_of(path) || is_unlabelled(path); }

std::string image_data_sha256(const ImageDataset& dataset, int64_t count) {
  // Names within the folder: the hash is that of the data wherever it lies.
  const fs::path folder = fs::is_directory(dataset.path()) ? dataset.path() : dataset.path().parent_path();
  std::string lines;
  for (const auto& file : dataset.files(count))
    lines += fmt::format("{}  {}\n", sha256_of_file(file), file.lexically_relative(folder).string());
  return sha256_of(lines);
}

}  // namespace espalier
