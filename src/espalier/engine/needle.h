// Retrieval: a sentence with a number is hidden at some depth of a long text, and the model has to give the number back.
#pragma once

#include "espalier/core/json.h"
#include "espalier/engine/decoder.h"
#include "espalier/requests/requests.h"

namespace espalier {

// Five depths × lengths from 256 tokens (or --length) doubling up to the context; filler from --data (default: the
// embedded evaluation text), --limit trials a cell (default 4). Value: the share of exact answers under greedy decoding;
// beside it, for models that never answer exactly, the share of the number's tokens that are the most probable ones when
// the right ones precede them. {"metric": "needle", "value", "ci95", "trials", "token_accuracy", "cells": [{"length",
// "depth", "exact", "token_accuracy"}]}
Json needle_retrieval(Decoder& decoder, const EvalRequest& request);

}  // namespace espalier
