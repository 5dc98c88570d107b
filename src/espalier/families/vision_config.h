// What the configurations of vision models have in common.
#pragma once

#include <string>
#include <vector>

#include "espalier/core/json.h"
#include "espalier/graph/graph.h"

namespace espalier {

struct PictureShape {
  int64_t channels = 3, height = 0, width = 0;
};

// num_channels and image_size (a number, or [height, width]), at most 2^14 a side.
PictureShape picture_shape(const Json& config, const std::string& where, int64_t side);

// num_labels or num_classes, else the number of entries of id2label, else `otherwise`.
int64_t class_count(const Json& config, const std::string& where, int64_t otherwise);

// A list of integers from `low` to `high`; `otherwise` when the key is absent. count 0: any number up to 4096, at
// least 1.
std::vector<int64_t> json_int_list(const Json& config, const std::string& key, const std::string& where, int64_t low,
                                   int64_t high, size_t count, const std::vector<int64_t>& otherwise);

// "espalier_image" of families/image_input.h; empty lists: 0 and 1.
Json image_facts(const std::vector<double>& mean, const std::vector<double>& std, double divisor = 255,
                 bool bgr = false, int64_t resize = 0);
Json imagenet_image_facts(int64_t resize = 256);

// Writes the block "espalier" of vision_weights.h: output widths of convolutions and Linear layers where they differ
// from those that `stock`, the graph of the same configuration without the block, has. Null: all of them.
void write_module_widths(Json& config, const Graph& graph, const Graph* stock);
// Convenience: the stock graph is what `fresh` makes; when the configuration does not suffice for that, all are
// written.
void write_module_widths(Json& config, const Graph& graph,
                         Graph (*fresh)(const Json& config, uint64_t seed, const std::string& where));
// config["espalier"], made with its format if absent.
Json& espalier_block(Json& config);

// The pattern of block names for models whose blocks are not numbered: it matches no name.
std::string no_blocks(const Graph& graph);

// Counters and other buffers of frameworks that no graph needs.
bool is_framework_buffer(const std::string& tensor);

}  // namespace espalier
