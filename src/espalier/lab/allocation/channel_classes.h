// Which layers' outputs must be equally wide, from a graph's coupling: what width-choosing methods decide about.
#pragma once

#include <string>
#include <vector>

#include "espalier/structure/surgery.h"

namespace espalier {

// Coupled sets that the same layers produce.
struct ChannelClass {
  std::vector<NodeId> producers;  // Conv and Linear nodes that give these channels; a depthwise Conv follows its producer
  std::vector<NodeId> consumers;  // … and those that read them
  std::vector<int32_t> sets;      // canonical numbers, ascending: the width in sets
  bool partly_frozen = false;     // the producers have outputs that cannot go
  std::string label;              // the first producer's name
  int64_t width() const { return std::ssize(sets); }
};

// In the order of their first producers. Sets without a producing layer (a table of positions alone) are in no class.
std::vector<ChannelClass> channel_classes(const Graph& graph, const Coupling& coupling);

bool is_depthwise(const Graph& graph, const Node& node);

}  // namespace espalier
