#!/usr/bin/env bash
# Packs what `make gpu-check` needs where there is a GPU, CUDA and Python, and nothing of ours:
# the programs that were built, the libraries they are linked with, tests and models.
#   tools/gpu_bundle.sh [BUILD] [FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build}
folder=${2:-$build/gpu-bundle}
programs=(cleave cleave-run CleaveCudaTests CleaveNcclTests)
for program in "${programs[@]}"; do
  [ -x "$build/bin/$program" ] || {
    echo "make gpu-bundle: $build/bin/$program is not built; run make build" >&2
    exit 1
  }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$folder" "$work/build/bin" "$work/build/bundled"
for program in "${programs[@]}"; do
  strip -o "$work/build/bin/$program" "$build/bin/$program"
done
# Of the C and C++ libraries every machine has its own.
mapfile -t libraries < <(ldd "$work"/build/bin/* | awk '$2 == "=>" { print $3 }' |
  grep -vE '/(ld-linux|lib(c|m|dl|rt|pthread|stdc\+\+|gcc_s))[.-]' | sort -u)
cp -L "${libraries[@]}" "$work/build/bundled"

# LLVM takes minutes to pack, and is the same from build to build.
if [ "$(sha256sum "${libraries[@]}")" != "$(cat "$folder/libraries.txt" 2>/dev/null)" ]; then
  tar -C "$work" -c build/bundled | xz -T0 -6 > "$folder/libraries.tar.xz"
  sha256sum "${libraries[@]}" > "$folder/libraries.txt"
fi
cp -r Makefile test "$work"
tar -C "$work" --exclude __pycache__ -c Makefile build/bin test/gpu test/e2e test/models test/bench |
  xz -T0 -6 > "$folder/programs.tar.xz"
echo "packed; there: for a in *.tar.xz; do tar -xf \$a; done; make gpu-check"
du -h "$folder"/*.tar.xz
