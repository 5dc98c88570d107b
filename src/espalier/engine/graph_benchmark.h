// How fast models that are no text decoders run: pictures a second, beside what the machine can give.
#pragma once

#include "espalier/core/json.h"
#include "espalier/requests/requests.h"

namespace espalier {

// The fields of `bench` for graphs: images_per_s and ms (of a batch; {"median", "p05", "p95"}), load_s (graph read,
// weights arranged), flops of a batch, share_of_peak_flops, workspace_bytes, resident_bytes. With request.against that
// model is measured turn by turn in the same rounds: "against", and "ratio" of the two. A round is at least one run and
// a tenth of a second of them.
Json bench_graph(const BenchRequest& request);

}  // namespace espalier
