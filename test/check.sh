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

run_unit() {
  local tests name
  for tests in "$build"/bin/*Tests; do
    [ -x "$tests" ] || continue
    name=$(basename "$tests")
    echo "== $name"
    rm -f "$logs/$name.json"
    # RapidCheck reports every property; only a failure is worth reading.
    "$tests" --gtest_brief=1 --gtest_output="json:$logs/$name.json" >"$logs/$name.log" 2>&1 ||
      cat "$logs/$name.log"
    count test/counts.py gtest "$logs/$name.json"
  done
}

# Real models, executed on real ranks, against ONNX Runtime's outputs.
run_models() {
  local log=$logs/models.log counts
  echo "== the models of $1 over meshes"
  .venv/bin/python test/e2e/golden.py "$build/bin/cleave" "$1" "${@:2}" >"$log" 2>&1
  grep -v passed "$log"
  counts=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2 0/p' "$log")
  add ${counts:-0 1 0}
}

run_lit
run_unit
run_models test/models --mesh 1 --mesh tp=2 --mesh tp=3 --mesh tp=8

summary="$passed passed, $failed failed"
[ $skipped = 0 ] || summary="$summary, $skipped skipped"
echo "$summary"
[ $failed = 0 ] && [ $passed -gt 0 ]
