// config.json under fuzz: any bytes beside good weights give a model whose graph holds together and whose written
// configuration gives the same model again, or one line of UserError.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "espalier/families/family.h"
#include "espalier/graph/operator.h"
#include "tests/families/tiny_models.h"
#include "tests/fuzz/targets.h"
#include "tests/support.h"

namespace espalier::fuzz {

inline const std::vector<std::string>& config_types() {
  static const std::vector<std::string> types{"llama", "mistral", "qwen2", "qwen3", "gpt2", "opt", "phi"};
  return types;
}

inline test::TinyOptions config_options(const std::string& type) {
  test::TinyOptions options;
  options.layers = 2;
  if (type == "gpt2" || type == "opt") options.kv_heads = options.heads;
  return options;
}

// Good weights, written once, by family name (qwen3 apart: it has more tensors than llama).
inline const Checkpoint& weights_for(const std::string& type) {
  static const test::TempDir directory;
  static std::map<std::string, std::shared_ptr<const Checkpoint>> opened;
  auto& checkpoint = opened[type];
  if (!checkpoint) {
    test::write_tiny(directory / type, test::tiny_model(type, config_options(type)));
    checkpoint = Checkpoint::open(directory / type);
  }
  return *checkpoint;
}

inline bool fuzz_config(const uint8_t* data, size_t size) {
  return accepts([&] {
    const Json config = parse_json(std::string_view(reinterpret_cast<const char*>(data), size), "fuzz");
    if (!config.is_object()) throw UserError("fuzz", "top level", "an object", describe(config));
    const std::string type = json_string(config, "model_type", "fuzz");
    const Family& family = find_family(type, "fuzz");
    Graph graph = family.build(config, weights_for(type), "fuzz");
    const bool holds = accepts([&] { infer_shapes(graph, {{1, 1}}); });
    ESP_ASSERT(holds, "a graph that was built does not hold together");
    Json written = config;
    family.write_config(written, graph);
    ESP_ASSERT(accepts([&] {
                 const Graph again = family.build(written, weights_for(type), "fuzz");
                 ESP_ASSERT(
                     again.parameters().size() == graph.parameters().size() && again.nodes.size() == graph.nodes.size(),
                     "another model");
               }),
               "the written configuration is refused: {}", written.dump());
  });
}

}  // namespace espalier::fuzz
