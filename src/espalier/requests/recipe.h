// Recipes: a pruning request as YAML, for people to write and for espalier to store beside what it made.
//   model: my-model/
//   calib: wikitext.txt
//   steps:
//     - {method: finercut, sparsity: 0.2, of: layers}
//     - {method: wanda, sparsity: 0.5, set: {group: row}, repair: lora}
// This lives in the runtime library, because the laboratory writes the recipe that was run.
#pragma once

#include <filesystem>
#include <string>

#include "espalier/core/json.h"
#include "espalier/requests/requests.h"

namespace espalier {

// UserError names file, place and key: not YAML, an unknown key (with the nearest known), a wrong type, a sparsity
// outside [0, 1), no step.
PruneRequest read_recipe(const std::filesystem::path& path);

// All that determines the result, defaults included; out, force, resume are not part of it.
Json recipe_of(const PruneRequest& request);

// The same for trainings:
//   model: my-model/
//   data: cifar/data_batch_1.bin
//   training: {epochs: 10, lr: 0.1}
//   methods:
//     - {method: granet, sparsity: 0.9}
TrainRequest read_train_recipe(const std::filesystem::path& path);
Json recipe_of(const TrainRequest& request);

// Block style; read_recipe() reads it back.
std::string to_yaml(const Json& value);

// YAML as JSON in which every scalar is a string (an unquoted null is null). Refuses a key twice in one map.
Json read_yaml(const std::filesystem::path& path);

// "", "unstructured", "N:M" with 0 < N < M <= 64 or "block:1xB" with 1 < B <= 64; else UserError.
struct PatternWord {
  int64_t n = 0, m = 0;  // of N:M; 0: none
  int64_t block = 1;     // of block:1xB: consecutive inputs of an output that go or stay together
};
PatternWord parse_pattern(const std::string& pattern, const std::string& where);

// "1x3x224x224", or UserError.
std::vector<int64_t> parse_shape(const std::string& text, const std::string& where);

// The words that an option or a key accepts.
extern const std::vector<std::string> kBudgets, kRepairs, kDevices, kDtypes, kControls;

}  // namespace espalier
