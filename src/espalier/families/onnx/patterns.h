// What exporters write as several operators becomes the one that it is: norms and activations, without which the
// reductions inside would freeze the residual stream (SPA, section A, rule 8), and attention with its heads. Last come
// the blocks of a transformer.
#pragma once

#include "espalier/families/onnx/graph_growth.h"
#include "espalier/graph/graph.h"

namespace espalier {

// The graph has inferred shapes. Values that others read, or that are outputs, stay: only nodes that nobody reads any
// more may be dropped afterwards (Graph::drop_unread_nodes).
void fuse_patterns(Graph& graph);
void fuse_attention(GraphGrowth& growth);
void fuse_rows(GraphGrowth& growth);
void fuse_biases(Graph& graph);  // that come right after their layer now that nothing stands between

// Numbers the blocks of a residual stream: attention and feed-forward branches that Adds bring onto it, one of each a
// block. The nodes of a block come to stand together; they read the stream and nothing else of what is outside, else the
// graph is left without blocks. The graph has no unread nodes.
void find_blocks(GraphGrowth& growth);

// A layer's input that is the same whatever the graph reads (the coordinates that Swin v2 computes its biases from) keeps
// its channels, as inputs do.
void fix_tables(Graph& graph);

}  // namespace espalier
