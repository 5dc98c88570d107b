// Labelled pictures. A path is one of
//   a CIFAR-10 or CIFAR-100 binary file (.bin), or a folder of them, taken in the order of their names; of CIFAR-100's
//     two labels the fine one counts; class names come from batches.meta.txt or fine_label_names.txt beside them;
//   an IDX file of images (MNIST and its kin, also .gz), or a folder that holds one, or the path without
//     "-images-idx3-ubyte"; the file of labels lies beside it under the same name with labels-idx1 for images-idx3;
//   a folder with labels.tsv: lines of a file name relative to the folder, a tab and a class index from 0; a first line
//     whose second field is no number is a header; further fields are ignored;
//   a folder of folders of pictures (.jpg, .jpeg, .png in any case): the sorted folder names are the classes 0, 1, ….
// Only counts, headers and lists are read when a data set is opened; a picture is decoded when it is asked for. What is
// wrong with a file is a UserError that names it.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "espalier/io/images/picture.h"

namespace espalier {

class ImageDataset {
 public:
  virtual ~ImageDataset() = default;
  static std::shared_ptr<const ImageDataset> open(const std::filesystem::path& path);

  virtual int64_t size() const = 0;              // at least 1
  virtual int64_t label(int64_t i) const = 0;    // below classes()
  virtual Picture picture(int64_t i) const = 0;  // may be called from several threads at once
  // The files that the first `count` pictures and labels come from, each once.
  virtual std::vector<std::filesystem::path> files(int64_t count) const = 0;

  int64_t classes() const { return classes_; }
  const std::vector<std::string>& class_names() const { return class_names_; }  // empty, or one a class
  const std::filesystem::path& path() const { return path_; }

 protected:
  explicit ImageDataset(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
  int64_t classes_ = 0;
  std::vector<std::string> class_names_;
};

// Whether open() is the right reader for this path: else it is text. A folder of unlabelled pictures counts as well, so
// that the error says what it lacks.
bool is_image_data(const std::filesystem::path& path);

// Hex SHA-256 of the lines "<sha256>  <name>\n" of the files behind the first `count` pictures.
std::string image_data_sha256(const ImageDataset& dataset, int64_t count);

}  // namespace espalier
