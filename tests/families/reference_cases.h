// tests/families/data/reference_logits.json: tiny models as Hugging Face transformers knows them.
#pragma once

#include <string>
#include <vector>

#include "tests/families/tiny_models.h"

namespace espalier::test {

struct ReferenceCase {
  std::string name;
  TinyModel model;  // configuration, names and shapes of the tensors
  std::vector<int64_t> ids;
  std::vector<float> logits;  // [tokens, vocab]
};

inline std::vector<ReferenceCase> reference_cases() {
  const Json file = read_json(std::filesystem::path(ESPALIER_SOURCE_DIR) / "tests/families/data/reference_logits.json");
  std::vector<ReferenceCase> cases;
  for (const Json& entry : file.at("cases")) {
    ReferenceCase& c = cases.emplace_back();
    c.name = entry.at("name");
    c.model.config = entry.at("config");
    for (const auto& [name, shape] : entry.at("tensors").items()) c.model.add(name, shape.get<Shape>());
    c.ids = entry.at("ids").get<std::vector<int64_t>>();
    c.logits = entry.at("logits").get<std::vector<float>>();
  }
  return cases;
}

}  // namespace espalier::test
