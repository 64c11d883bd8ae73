#!/usr/bin/env bash
# Cuts a Llama-style decoder and BERT over 4 ranks, says what travels and why, and
# compares the outputs with the uncut run and with ONNX Runtime's.
set -euo pipefail
cd "$(dirname "$0")/.."

demo() {
  local model=test/models/$1.onnx case=test/models/$1.case0.npz work
  work=$(mktemp -d)
  .venv/bin/python test/e2e/split_case.py "$case" "$work/in.npz" "$work/golden.npz"
  echo "== $1 over --mesh tp=4"
  build/bin/cleave explain "$model" --mesh tp=4 --inputs "$work/in.npz"
  echo "differences to the uncut run, and to ONNX Runtime (golden)"
  build/bin/cleave check "$model" --mesh tp=4 --inputs "$work/in.npz" --golden "$work/golden.npz"
  rm -r "$work"
  echo
}

demo llama_mobius
demo bert_optimum
