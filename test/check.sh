#!/usr/bin/env bash
# Runs every test of a built tree; ends with `N passed, N failed[, N skipped]`.
#   test/check.sh [BUILD]
set -uo pipefail
cd "$(dirname "$0")/.."
build=${1:-build}
logs=$build/test/logs
mkdir -p "$logs"
passed=0 failed=0 skipped=0

# Adds what a step counted: passed, failed, skipped.
add() {
  passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
}

# A step that ended without counts has failed as a whole.
count() {
  local counts
  if counts=$(python3 "$@"); then
    add $counts
  else
    add 0 1 0
  fi
}

run_lit() {
  echo "== lit: the compiler, the tools, the house"
  rm -f "$logs/lit.json"
  lit-22 -s -v --output "$logs/lit.json" "$build/test"
  count test/counts.py lit "$logs/lit.json"
}

# unit NAME TESTS [FLAG…]: some or all tests of a program, dealt out over the cores, with logs
# of that name
unit() {
  local shards i
  shards=$(nproc)
  local reports=()
  for ((i = 0; i < shards; i++)); do
    local log=$logs/$1.$i
    rm -f "$log.json"
    reports+=("$log.json")
    # RapidCheck reports every property; only a failure is worth reading.
    { GTEST_TOTAL_SHARDS=$shards GTEST_SHARD_INDEX=$i "$build/bin/$2" --gtest_brief=1 \
      --gtest_output="json:$log.json" "${@:3}" >"$log.log" 2>&1 || cat "$log.log"; } &
  done
  wait
  count test/counts.py gtest "${reports[@]}"
}

run_unit() {
  local tests name
  for tests in "$build"/bin/*Tests; do
    [ -x "$tests" ] || continue
    name=$(basename "$tests")
    echo "== $name"
    unit "$name" "$name"
  done
}

# A program of test/e2e, which ends with its counts.
run_e2e() {
  local log=$logs/$1.log counts
  .venv/bin/python "test/e2e/$1.py" "${@:2}" >"$log" 2>&1
  grep -v passed "$log"
  counts=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2 0/p' "$log")
  add ${counts:-0 1 0}
}

# Real models, executed on real ranks, against ONNX Runtime's outputs.
run_models() {
  echo "== the models of $1 over meshes"
  run_e2e golden "$build/bin/cleave" "$1" --jobs 2 "${@:2}"
  echo "== the models of $1 read, written and run by ONNX Runtime"
  run_e2e round_trip "$build/bin/cleave-opt" "$1"
}

# Code for GPUs, whose threads then run as late and in as bad an order as they may, each rank
# on a GPU of its own.
run_simulated() {
  echo "== kernels of tensor cores, and the models over NCCL, in another order of threads"
  CLEAVE_SIMT_SCHEDULE=shuffled:1 unit shuffled CleaveCudaTests \
    --gtest_filter='Matmul.OfHalves*:*Attention*'
  CLEAVE_SIMT_DEVICES=2 CLEAVE_SIMT_SCHEDULE=shuffled:1 run_e2e golden "$build/bin/cleave" test/models --jobs 2 \
    --mesh "tp=2 --target simt:sm_90a"
}

# Some of them compiled to folders, which a program without a compiler runs.
run_artifacts() {
  echo "== models as artifacts"
  run_e2e golden "$build/bin/cleave" test/models --artifact "$build/bin/cleave-run" --jobs 2 \
    --mpirun mpirun.openmpi \
    --only bert --only gpt2_odd --only mobius_bf16 --only mobius_fp16 \
    --mesh 1 --mesh tp=3 --mesh dp=2,tp=2 --mesh "pp=2,tp=2 --micro-batches 2" \
    --mesh "1 --target simt" --mesh "tp=2 --target simt"
}

# Models that do not belong to the tree.
run_shared() {
  local shared=../shared/models
  if [ ! -d $shared/exported ]; then
    echo "== no $shared: its models are left out"
    return
  fi
  run_models $shared/exported --refused test/e2e/refused.json \
    --mesh 1 --mesh tp=2 --mesh tp=3 --mesh tp=4 --mesh tp=8 \
    --mesh pp=2,tp=2 --mesh pp=4 --mesh "pp=3 --micro-batches 5"
  echo "== the models of $shared over meshes"
  run_e2e foreign "$build/bin/cleave" $shared \
    --mesh 1 --mesh tp=2 --mesh tp=3 --mesh tp=4 --mesh tp=8
}

# The ONNX project's cases of quantised tensors, 8-bit floats and pools.
run_backend() {
  local data=../shared/onnx-backend-tests/data.tgz
  [ -f $data ] || return 0
  echo "== cases of the ONNX project"
  run_e2e backend "$build/bin/cleave" $data --mesh 1 --mesh tp=2 --mesh "1 --target simt"
}

# fuzz NAME SECONDS
fuzz() {
  local log=$logs/fuzz-$1.log grown
  grown=$(mktemp -d)
  if "$build/bin/$1-fuzzer" -max_total_time="$2" -timeout=60 -rss_limit_mb=3072 \
    -dict=test/fuzz/corpus/dictionary.txt -artifact_prefix="$logs/" \
    "$grown" "test/fuzz/corpus/$1" >"$log" 2>&1; then
    add 1 0 0
  else
    grep -E 'ERROR|SUMMARY|runtime error|Test unit written' "$log" || tail "$log"
    add 0 1 0
  fi
  rm -rf "$grown"
}

run_fuzzers() {
  local log=$logs/fuzz-build.log
  echo "== the fuzzers: build with sanitizers (minutes the first time), run for a minute"
  if cmake --build "$build" --target fuzzers >"$log" 2>&1; then
    fuzz frontend 45
    fuzz tensors 15
    fuzz artifact 15
  else
    tail -n 40 "$log"
    add 0 1 0
  fi
}

run_lit
run_unit
run_models test/models --mesh 1 --mesh tp=2 --mesh tp=3 --mesh tp=8 --mesh dp=2,tp=2 --mesh pp=2 \
  --mesh "pp=3 --micro-batches 5" --mesh "pp=2,tp=2 --micro-batches 2 --virtual-stages 2" \
  --mesh "1 --target simt:sm_90a" --mesh "tp=4 --target simt"
run_simulated
run_artifacts
run_shared
run_backend
run_fuzzers

summary="$passed passed, $failed failed"
[ $skipped = 0 ] || summary="$summary, $skipped skipped"
echo "$summary"
[ $failed = 0 ] && [ $passed -gt 0 ]
