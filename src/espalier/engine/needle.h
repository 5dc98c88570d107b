// Retrieval: sentences with numbers are hidden in a long text, and the model has to give the numbers back.
#pragma once

#include "espalier/core/json.h"
#include "espalier/engine/decoder.h"
#include "espalier/requests/requests.h"

namespace espalier {

// --depths depths (default 5) × lengths from 256 tokens (or --length) doubling up to the context, --limit texts a cell
// (default 4), filler from --data (default: the embedded evaluation text). With one needle it lies at the cell's depth;
// of several, spread over the text, each counts in the cell of the nearest depth. Value: the share of exact answers under
// greedy decoding; beside it, for models that never answer exactly, the share of the numbers' tokens that are the most
// probable ones when the right ones precede them. {"metric": "needle", "value", "ci95", "trials", "needles",
// "token_accuracy", "cells": [{"length", "depth", "trials", "exact", "token_accuracy"}]}, and with several needles
// "all_found", the share of texts without a wrong answer.
Json needle_retrieval(Decoder& decoder, const EvalRequest& request);

}  // namespace espalier
