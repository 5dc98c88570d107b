// The data set formats behind image_dataset.h: what recognises one, and what opens it.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "espalier/io/image_dataset.h"

namespace espalier {

struct ImageFormat {
  bool (*recognise)(const std::filesystem::path& path);  // looks at names, sizes and first bytes only; no errors
  std::shared_ptr<const ImageDataset> (*open)(const std::filesystem::path& path);
};

extern const ImageFormat kCifarFormat, kIdxFormat, kLabelsTsvFormat, kClassFolderFormat;

// Names of a folder's entries in sorted order, hidden ones left out; empty when it cannot be listed.
std::vector<std::filesystem::path> sorted_entries(const std::filesystem::path& folder);

}  // namespace espalier
