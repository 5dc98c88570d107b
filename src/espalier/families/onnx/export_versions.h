// Operator sets and functions of an exported model.
#pragma once

#include <cstdint>
#include <vector>

#include "espalier/families/onnx/import.h"
#include "espalier/graph/graph.h"
#include "espalier/io/onnx/model.h"

namespace espalier {

// The version of the default domain to write. `wanted` 0: the source's, at least 11; 17 without a source. UserError: out
// of range, or a node that is written as it was has another form there.
int64_t export_opset(const Graph& graph, const OnnxSource* source, int64_t wanted);

// The oldest IR version that goes with an operator set (ONNX specification, Versioning.md).
int64_t min_ir_of(int64_t opset);

// From the source: functions that the model's nodes still call, and the operator sets of domains that are still used;
// the default domain at `opset`.
void keep_used_versions(OnnxModel& model, const OnnxModel* source, int64_t opset);

}  // namespace espalier
