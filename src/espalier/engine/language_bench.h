// Prefill and decode speed of language models, beside what the machine can give.
#pragma once

#include "espalier/core/json.h"
#include "espalier/requests/requests.h"

namespace espalier {

// The fields of `bench` in docs/cli.md. Two models are measured turn by turn in the same rounds.
Json bench_language(const BenchRequest& request);

}  // namespace espalier
