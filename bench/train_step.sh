#!/bin/bash
# Training steps of ResNet-20 (batch 128) and of a small decoder: espalier, without and with a plugin that masks, against
# the same trainings written plainly in PyTorch, interleaved.
#   bench/train_step.sh [STEPS [ROUNDS]]     default 10 3
# Environment: THREADS (default: all cores), PYTHON (default /usr/bin/python3, with torch), BUILD (default build).
set -euo pipefail
cd "$(dirname "$0")/.."
steps=${1:-10} rounds=${2:-3}
threads=${THREADS:-$(nproc)} python=${PYTHON:-/usr/bin/python3} program=${BUILD:-build}/bin/train_step
export OMP_NUM_THREADS=$threads OPENBLAS_NUM_THREADS=$threads
for kind in resnet20 lm; do
  for ((round = 0; round < rounds; ++round)); do
    $program $kind "$steps" "$threads"
    $program $kind "$steps" "$threads" masked
    $python bench/train_step.py $kind "$steps" "$threads"
  done
done
