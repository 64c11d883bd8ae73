#!/usr/bin/env bash
# Installs what Cleave is built with: packages of Debian, as root or with sudo,
# and a private Python environment in .venv. Does nothing where all is there.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(
  clang-22 lld-22 llvm-22-dev libmlir-22-dev mlir-22-tools llvm-22-tools
  clang-format-22 libclang-rt-22-dev
  cmake ninja-build ccache make git pkg-config
  librapidcheck-dev libgtest-dev libgmock-dev libbenchmark-dev
  libzip-dev nlohmann-json3-dev libcli11-dev libfmt-dev libspdlog-dev
  libboost-context-dev libhwloc-dev libxxhash-dev libopenmpi-dev openmpi-bin
  libflatbuffers-dev flatbuffers-compiler liblld-22-dev
  libprotobuf-dev protobuf-compiler
  python3 python3-venv
)

fail() {
  echo "make deps: $1" >&2
  exit 1
}

# Runs a command as root; its output is shown only if it fails.
as_root() {
  local log status=0
  log=$(mktemp)
  if [ "$(id -u)" = 0 ]; then
    "$@" >"$log" 2>&1 || status=$?
  else
    sudo "$@" >"$log" 2>&1 || status=$?
  fi
  [ $status = 0 ] || cat "$log" >&2
  rm -f "$log"
  return $status
}

missing_packages() {
  local installed
  installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${packages[@]}" 2>/dev/null |
    sed -n 's/ installed$//p' | sort -u) || true
  comm -23 <(printf '%s\n' "${packages[@]}" | sort -u) <(printf '%s\n' "$installed")
}

install_packages() {
  local missing unknown=()
  mapfile -t missing < <(missing_packages)
  [ ${#missing[@]} -gt 0 ] || return 0

  command -v apt-get >/dev/null ||
    fail "this system has no apt-get; install by hand: ${missing[*]}"
  [ "$(id -u)" = 0 ] || command -v sudo >/dev/null ||
    fail "packages are missing and there is no sudo; as root run: apt-get install ${missing[*]}"

  echo "== read the package lists of apt"
  as_root apt-get update || fail "apt-get update failed, see above; is there a network?"
  for package in "${missing[@]}"; do
    apt-cache show "$package" >/dev/null 2>&1 || unknown+=("$package")
  done
  case "${unknown[*]-}" in
  *22*) fail "apt knows no ${unknown[*]}: Debian 12 has LLVM 22 in bookworm-security (main), and https://apt.llvm.org has it in llvm-toolchain-<suite>-22; add one of them to /etc/apt/sources.list.d" ;;
  ?*) fail "apt knows no ${unknown[*]}: Cleave is built on Debian 12 (bookworm, main)" ;;
  esac

  echo "== install ${#missing[@]} packages: ${missing[*]}"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" ||
    fail "apt-get install failed, see above; is there room on the disk?"
}

# .venv is good while it was made from this very requirements.txt.
install_python() {
  local stamp=.venv/requirements.txt
  cmp -s requirements.txt "$stamp" && return 0
  echo "== install the Python packages of requirements.txt into .venv"
  if [ ! -x .venv/bin/pip ]; then
    rm -rf .venv
    python3 -m venv .venv || fail "python3 -m venv failed, see above"
  fi
  .venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt ||
    fail "pip failed, see above; is PyPI within reach (pip config list shows which index is used)?"
  cp requirements.txt "$stamp"
}

install_packages
install_python
