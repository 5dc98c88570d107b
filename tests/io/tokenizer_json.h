// Small tokenizer.json texts for tests.
#pragma once

#include <string>

#include "espalier/io/tokenizer.h"

namespace espalier::test {

// {"model": …, further fields}
inline std::string tokenizer_json(const std::string& model, const std::string& fields = "") {
  return "{\"model\": " + model + (fields.empty() ? "" : ", " + fields) + "}";
}

inline std::string bpe_json(const std::string& vocab, const std::string& merges, const std::string& options = "") {
  return R"({"type": "BPE", "vocab": )" + vocab + R"(, "merges": )" + merges + (options.empty() ? "" : ", " + options) +
         "}";
}

inline std::shared_ptr<const Tokenizer> tokenizer_of(const std::string& model, const std::string& fields = "") {
  return Tokenizer::from_json(tokenizer_json(model, fields), "test.json");
}

using Ids = std::vector<int32_t>;

}  // namespace espalier::test
