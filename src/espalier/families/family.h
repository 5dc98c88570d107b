// A family turns a checkpoint directory into a graph and a cut graph back into a configuration.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "espalier/core/json.h"
#include "espalier/graph/graph.h"
#include "espalier/io/checkpoint.h"

namespace espalier {

struct Family {
  std::string name;                      // "llama"
  std::vector<std::string> model_types;  // config.json's model_type
  // `where` is the path of the config, for errors. Every architecture fact is checked against the tensors.
  Graph (*build)(const Json& config, const Checkpoint& checkpoint, const std::string& where);
  // Writes the graph's widths into a copy of the original config. When all blocks are equal, only the stock keys;
  // else also the block "espalier" (see layer_plan.h).
  void (*write_config)(Json& config, const Graph& graph);
  // Parameter names of a block start with this, "{}" standing for its index: "model.layers.{}."
  std::string (*block_prefix)(const Graph& graph);
};

struct RegisterFamily {
  explicit RegisterFamily(Family family);
};

const Family& find_family(const std::string& model_type, const std::string& where);  // unknown: UserError listing the known
std::vector<const Family*> families();

// A loaded model directory.
struct Model {
  std::filesystem::path path;
  Json config;
  const Family* family = nullptr;
  std::shared_ptr<const Checkpoint> checkpoint;
  Graph graph;
  int64_t context_length = 0;  // the most tokens that it was trained for
  int64_t vocab_size = 0;
  DType dtype = DType::kF32;   // of most weights
};

// path: a directory with config.json. Reads no weights.
Model load_model(const std::filesystem::path& path);

}  // namespace espalier
