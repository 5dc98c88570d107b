// What the program carries with it: assets/models/NAME/ and assets/data/NAME. Found in $ESPALIER_ASSETS, else in
// ../share/espalier beside the program, else in the source tree that it was built from.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace espalier {

// The embedded models that examples and reproductions use, and the pictures that the two classifiers read.
inline constexpr const char* kEmbeddedLanguageModel = "espalier-tiny";
inline constexpr const char* kEmbeddedClassifier = "espalier-fashion-cnn";
inline constexpr const char* kEmbeddedVisionTransformer = "espalier-fashion-vit";
inline constexpr const char* kEmbeddedPictures = "fashion-train";
inline constexpr const char* kEmbeddedTestPictures = "fashion-test";

std::filesystem::path assets_directory();
bool is_embedded(const std::filesystem::path& model);
std::vector<std::string> embedded_models();  // sorted names
std::vector<std::string> embedded_data();

// An existing path stays as it is; else the embedded one of this name. UserError that lists the embedded names.
std::filesystem::path resolve_model(const std::string& path_or_name);
std::filesystem::path resolve_data(const std::string& path_or_name);

}  // namespace espalier
