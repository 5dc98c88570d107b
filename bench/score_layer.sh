#!/bin/bash
# Wanda and SparseGPT for one layer: espalier against the same algorithms written plainly in PyTorch, interleaved.
#   bench/score_layer.sh [OUT IN [TOKENS [ROUNDS]]]     default 4096 4096 1024 5; a big FFN is 4096 11008
# Environment: THREADS (default: all cores), PYTHON (default /usr/bin/python3, with torch), BUILD (default build).
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-4096} in=${2:-4096} tokens=${3:-1024} rounds=${4:-5}
threads=${THREADS:-$(nproc)} python=${PYTHON:-/usr/bin/python3} program=${BUILD:-build}/bin/score_layer
export OMP_NUM_THREADS=$threads OPENBLAS_NUM_THREADS=$threads
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

median() { sort -g "$1" | awk '{v[NR] = $1} END {print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }

$python bench/score_layer_torch.py make "$work" "$out" "$in" "$tokens"
echo "layer [$out, $in], 50 %, $threads threads, $rounds rounds, medians"
for method in wanda sparsegpt; do
  for ((round = 0; round < rounds; ++round)); do
    $program "$work" $method "$out" "$in" "$tokens" "$threads" >> "$work/$method.espalier.times"
    $python bench/score_layer_torch.py time "$work" $method "$out" "$in" "$tokens" "$threads" \
      >> "$work/$method.torch.times"
  done
  ours=$(median "$work/$method.espalier.times") theirs=$(median "$work/$method.torch.times")
  echo "$method: espalier $ours s, PyTorch $theirs s, ratio $(awk "BEGIN {printf \"%.2f\", $theirs / $ours}")"
  $python bench/score_layer_torch.py compare "$work" $method "$out" "$in" "$tokens"
done
