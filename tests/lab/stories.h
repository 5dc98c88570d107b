// stories260K, a trained model of 260 thousand weights, and texts of the kind that it was trained on.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "espalier/core/file.h"
#include "espalier/core/json.h"
#include "espalier/lab/methods/reproduce.h"

namespace espalier::test {

// Pieces between empty lines that have more than `length` characters: `count` of them after the first `skipped`.
inline std::vector<std::string> stories(const std::filesystem::path& path, size_t count, size_t length,
                                        size_t skipped = 0) {
  const std::string text = read_file(path, 16 << 20);
  std::vector<std::string> found;
  for (size_t at = 0, end; at < text.size() && found.size() < count; at = end + 2) {
    end = std::min(text.find("\n\n", at), text.size());
    if (end - at <= length) continue;
    if (skipped > 0) {
      --skipped;
    } else {
      found.push_back(text.substr(at, end - at));
    }
  }
  return found;
}

// Measures on the first 150 stories, calibrates on the 150 after them; each begins with BOS. The files go to `scratch`.
inline ReproduceContext stories_context(const std::filesystem::path& model, const std::filesystem::path& text,
                                        const std::filesystem::path& scratch) {
  constexpr size_t kStories = 150;
  const auto write = [&](const char* name, size_t skipped) {
    std::ofstream file(scratch / name);
    for (const auto& story : stories(text, kStories, 200, skipped)) file << Json{{"text", story}}.dump() << "\n";
    return scratch / name;
  };
  ReproduceContext context;
  context.model_path = model;
  context.evaluation = write("evaluation.jsonl", 0);
  context.calibration = write("calibration.jsonl", kStories);
  context.tokenizer = Tokenizer::load(model);
  context.evaluation_tokens = 8192;
  return context;
}

}  // namespace espalier::test
