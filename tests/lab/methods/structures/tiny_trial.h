// A trial of a method on a tiny random model that reads the embedded model's tokens.
#pragma once

#include "tests/families/tiny_models.h"
#include "tests/lab/methods/embedded.h"

namespace espalier::test {

inline TinyOptions with_embedded_vocabulary(TinyOptions options = {}) {
  options.vocab = 2048;
  return options;
}

struct TinyTrial : Trial {
  TempDir dir;
  explicit TinyTrial(const std::string& type = "llama", const TinyOptions& tiny = {}) {
    model = load_tiny(dir / "model", type, with_embedded_vocabulary(tiny));
    align = 1;
  }
  Model dense() const { return load_model(dir / "model"); }
};

}  // namespace espalier::test
