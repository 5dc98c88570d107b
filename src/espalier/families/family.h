// A family turns a checkpoint directory into a graph and a cut graph back into a configuration.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "espalier/core/json.h"
#include "espalier/families/image_input.h"
#include "espalier/graph/graph.h"
#include "espalier/graph/operator.h"
#include "espalier/io/checkpoint.h"

namespace espalier {

// What a model reads and gives: token ids → logits [batch, tokens, vocab]; pictures [n, c, h, w] → class logits [n, k];
// anything else.
enum class Task { kText, kImages, kOther };
const char* name_of(Task task);  // "text", "images", "other"

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
  Task task = Task::kText;
  // The configuration of a checkpoint that comes without one, where the names of its tensors tell the family. Null: never.
  std::optional<Json> (*recognise)(const Checkpoint& checkpoint) = nullptr;
  // A model with initial weights from its configuration alone. Null: needs a checkpoint. Graphs that do not read token
  // ids come, from here and from build, with the shapes of one example inferred.
  Graph (*fresh)(const Json& config, uint64_t seed, const std::string& where) = nullptr;
};

struct RegisterFamily {
  explicit RegisterFamily(Family family);
};

const Family& find_family(const std::string& model_type, const std::string& where);  // unknown: UserError listing the known
std::vector<const Family*> families();

struct OnnxSource;  // families/onnx/import.h

struct LoadOptions {
  uint64_t seed = 0;                          // of initial weights
  std::map<std::string, Shape> input_shapes;  // of an ONNX file's inputs, where the file leaves sizes open
};

// A loaded model: a directory with config.json, a bare checkpoint that a family recognises, or an ONNX file.
struct Model {
  std::filesystem::path path;
  Json config;                                   // of an ONNX file: an empty object
  const Family* family = nullptr;                // null: an ONNX file
  std::shared_ptr<const Checkpoint> checkpoint;  // null: an ONNX file, or fresh weights
  std::shared_ptr<const OnnxSource> onnx;        // what the ONNX file holds beside the graph
  Graph graph;
  Task task = Task::kText;
  int64_t context_length = 0;  // of text: the most tokens that it was trained for
  int64_t vocab_size = 0;      // of text
  ImageInput image;            // of images
  int64_t classes = 0;         // of images
  DType dtype = DType::kF32;   // of most weights
  std::vector<Shape> example_inputs;    // of the graph's inputs, with a batch of one
  std::vector<DType> input_dtypes;      // kI64 (ids) or kF32
  LoadOptions opened_with;
  std::vector<std::string> notes;       // what could not be understood and stays as it is

  std::filesystem::path directory() const;             // of the files beside it
  const char* family_name() const;                     // "onnx" for an ONNX file
  std::vector<std::filesystem::path> files() const;    // that weights come from
  void check_unchanged() const;                        // UserError if one of them was written since
  void drop_pages(const Tensor& tensor) const;         // the caller is done with these weights for now
};

// path: a directory with config.json (with no weights in it: initial ones), with a checkpoint that a family
// recognises or with one .onnx file; a checkpoint file; an .onnx file. Reads no weights.
Model load_model(const std::filesystem::path& path, const LoadOptions& options = {});

// The shapes at which costs are counted: one picture, one sequence of the context (of 2048 tokens at most).
std::vector<Shape> costing_shapes(const Model& model);
// Of `graph`, which is the model's own or came from it by cuts. FLOPs: a token of the sequence, or a whole forward.
Size model_size(const Graph& graph, const Model& model);

}  // namespace espalier
