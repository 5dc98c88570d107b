// Folders of JPEG and PNG files, labelled by labels.tsv or by the folder that a picture lies in.
#include <algorithm>
#include <charconv>
#include <set>

#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/core/json.h"
#include "espalier/io/images/decode.h"
#include "espalier/io/images/formats.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxListBytes = uint64_t{256} << 20;
constexpr int64_t kMaxClasses = 1 << 20;
const char* const kListName = "labels.tsv";

bool is_file(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

bool is_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

std::vector<fs::path> pictures_in(const fs::path& folder) {
  auto entries = sorted_entries(folder);
  std::erase_if(entries, [](const fs::path& entry) { return !is_picture_name(entry) || !is_file(entry); });
  return entries;
}

class PictureFiles : public ImageDataset {
 public:
  explicit PictureFiles(const fs::path& data) : ImageDataset(data) {}
  int64_t size() const override { return static_cast<int64_t>(entries_.size()); }
  int64_t label(int64_t i) const override { return entries_.at(static_cast<size_t>(i)).label; }
  Picture picture(int64_t i) const override { return read_picture(path_ / entries_.at(static_cast<size_t>(i)).file); }
  std::vector<fs::path> files(int64_t count) const override {
    std::vector<fs::path> paths;
    for (size_t i = 0; i < entries_.size() && static_cast<int64_t>(i) < count; ++i)
      paths.push_back(path_ / entries_[i].file);
    return paths;
  }

 protected:
  struct Entry {
    std::string file;  // relative to the folder
    int64_t label;
  };
  std::vector<Entry> entries_;
};

class ClassFolders : public PictureFiles {
 public:
  explicit ClassFolders(const fs::path& data) : PictureFiles(data) {
    for (const auto& folder : sorted_entries(data)) {
      if (!is_folder(folder)) continue;
      const auto pictures = pictures_in(folder);
      if (pictures.empty()) continue;
      for (const auto& picture : pictures) entries_.push_back({folder.filename() / picture.filename(), classes_});
      class_names_.push_back(folder.filename().string());
      ++classes_;
    }
  }
};

class Listed : public PictureFiles {
 public:
  explicit Listed(const fs::path& data) : PictureFiles(data), list_((data / kListName).string()) {
    const std::string text = read_file(list_, kMaxListBytes);
    if (const size_t valid = valid_utf8_prefix(text); valid != text.size())
      user_error("{}: not valid UTF-8 at byte {}", list_, valid);
    std::set<std::string> seen;
    int64_t line_number = 0;
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      std::string_view line = std::string_view(text).substr(begin, end - begin);
      begin = end + 1;
      ++line_number;
      if (line.ends_with('\r')) line.remove_suffix(1);
      if (!line.empty()) add(line, line_number, seen);
    }
    if (entries_.empty()) throw UserError(list_, "lines", "at least one file and its class", "none");
    for (const auto& entry : entries_) classes_ = std::max(classes_, entry.label + 1);
  }

 private:
  void add(std::string_view line, int64_t number, std::set<std::string>& seen) {
    const std::string here = fmt::format("{}: line {}", list_, number);
    const size_t tab = line.find('\t');
    if (tab == std::string_view::npos)
      throw UserError(here, "fields", "a file, a tab and a class index", fmt::format("'{}'", printable(line)));
    const std::string file(line.substr(0, tab));
    const std::string_view index = line.substr(tab + 1, line.find('\t', tab + 1) - tab - 1);
    int64_t label = -1;
    const auto [end, error] = std::from_chars(index.data(), index.data() + index.size(), label);
    if (error != std::errc() || end != index.data() + index.size() || label < 0 || label >= kMaxClasses) {
      if (number == 1 && !index.empty() && !std::isdigit(static_cast<unsigned char>(index[0])) && index[0] != '-')
        return;  // a header
      throw UserError(here, "class index", fmt::format("0 to {}", kMaxClasses - 1),
                      fmt::format("'{}'", printable(index)));
    }
    check_file(file, here);
    if (!seen.insert(file).second) user_error("{}: '{}' stands here a second time", here, printable(file));
    entries_.push_back({file, label});
  }

  // Nothing outside the folder is read, and a list that names missing files is wrong before any work.
  void check_file(const std::string& file, const std::string& here) const {
    const fs::path path(file);
    const bool inside = !path.empty() && path.is_relative() && std::find(path.begin(), path.end(), "..") == path.end();
    if (!inside || file.find('\0') != std::string::npos)
      throw UserError(here, "file", "a path inside the folder", fmt::format("'{}'", printable(file)));
    if (!is_file(path_ / path)) user_error("{}: no such file: {}", here, printable(file, 400));
  }

  std::string list_;
};

}  // namespace

const ImageFormat kLabelsTsvFormat = {
    [](const fs::path& path) { return is_file(path / kListName); },
    [](const fs::path& path) -> std::shared_ptr<const ImageDataset> { return std::make_shared<Listed>(path); }};

const ImageFormat kClassFolderFormat = {
    [](const fs::path& path) {
      const auto entries = sorted_entries(path);
      return std::any_of(entries.begin(), entries.end(),
                         [](const fs::path& entry) { return is_folder(entry) && !pictures_in(entry).empty(); });
    },
    [](const fs::path& path) -> std::shared_ptr<const ImageDataset> { return std::make_shared<ClassFolders>(path); }};

}  // namespace espalier
