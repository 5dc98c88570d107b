// manifest.json of a finished directory: bytes and SHA-256 of every other file in it, written last. A directory with a
// manifest is complete.
#pragma once

#include <filesystem>

#include "espalier/core/json.h"

namespace espalier {

constexpr const char* kManifestName = "manifest.json";

// Syncs every file and folder, then writes `head` with "files" added.
void write_manifest(const std::filesystem::path& directory, const Json& head);

// Re-reads every listed file; UserError naming the first that is missing or differs.
void verify_manifest(const std::filesystem::path& directory);

// Removes what killed AtomicFiles left below the directory (NAME.partial-PID): such a file must be neither shipped nor
// taken for a checkpoint.
void remove_unfinished_files(const std::filesystem::path& directory);

}  // namespace espalier
