#!/usr/bin/env bash
# The main job on the embedded model: prune it in several ways, repair one, verify, run, measure, and show one table.
#   demo/demo.sh [PROGRAM [OUTPUT DIRECTORY]]
set -euo pipefail
program=${1:-build/bin/espalier}
out=${2:-out/demo}
model=espalier-tiny

rm -rf "$out"
mkdir -p "$out"
export ESPALIER_ASSETS=${ESPALIER_ASSETS:-$(cd "$(dirname "$0")/.." && pwd)/assets}
model_dir=$ESPALIER_ASSETS/models/$model

number() { grep -o "\"$2\": *[-0-9.e+]*" "$1" | head -1 | sed 's/.*: *//'; }

row() { # name, directory
  "$program" eval "$2" --json -q > "$out/$1.eval.json"
  "$program" inspect "$2" --json -q > "$out/$1.inspect.json"
  "$program" generate "$2" --prompt "It was a dark night, and" -n 64 --json -q > "$out/$1.generate.json"
  local speed
  "$program" bench "$2" --context 64 --tokens 64 --rounds 9 --json -q > "$out/$1.bench.json"
  speed=$(tr -d ' \n' < "$out/$1.bench.json" | grep -o '"decode_tok_s":{"median":[0-9.e+]*' | sed 's/.*://')
  printf '%-18s %10.3f %12d %12d %10.3f  %s\n' "$1" "$(number "$out/$1.eval.json" value)" \
    "$(number "$out/$1.inspect.json" params)" "$(du -sb "$2" | cut -f1)" \
    "$(awk "BEGIN { print 1000 / $speed }")" "$2" >> "$out/table.txt"
}

prune() { # name, options…
  local name=$1
  shift
  echo "== $name: espalier prune $model $*" >&2
  "$program" prune "$model" "$@" -o "$out/$name" -q
  row "$name" "$out/$name"
}

printf '%-18s %10s %12s %12s %10s  %s\n' model perplexity parameters bytes ms/token where > "$out/table.txt"
row dense "$model_dir"
prune amp-30 --method amp --sparsity 0.3
prune finercut-25 --method finercut --sparsity 0.25
prune wanda-50 --method wanda --sparsity 0.5 --pack bitmap
prune wanda-50-ls --method wanda --sparsity 0.5 --repair ls --pack bitmap
prune magnitude-50 --method magnitude --sparsity 0.5 --pack bitmap
prune random-50 --method random --sparsity 0.5 --pack bitmap

echo
cat "$out/table.txt"
echo
echo "Every result was re-opened and compared with what was in memory before it counted as done."
echo "Masked results (wanda, magnitude, random) are packed: same parameters, fewer bytes. ms/token is the engine's."
echo
"$program" bench "$out/amp-30" --against "$model_dir" --context 64 --tokens 64
