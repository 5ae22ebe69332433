# shellcheck shell=bash
# Shared by the scripts of this folder (sourced, not run): where things are cached and how they speak.

COHORT_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
COHORT_CACHE="${COHORT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cohort}"
COHORT_TORCH_VERSION=2.11.0
COHORT_TORCH_DIR="$COHORT_CACHE/libtorch-$COHORT_TORCH_VERSION"
COHORT_CUDA_DIR="$COHORT_CACHE/cuda-headers-13.0"
# Debian's own interpreter: what python3 means on PATH may differ from machine to machine.
COHORT_PYTHON=/usr/bin/python3
export COHORT_ROOT COHORT_CACHE COHORT_TORCH_VERSION COHORT_TORCH_DIR COHORT_CUDA_DIR COHORT_PYTHON

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }
die() {
  say "error: $*"
  exit 1
}

# find_prometheus: puts prometheus and promtool on PATH, where they are not: Debian's package, unpacked into the cache,
# since installing it would start a server.
find_prometheus() {
  local unpacked="$COHORT_CACHE/tools/prometheus" partial
  command -v prometheus >/dev/null && command -v promtool >/dev/null && return
  if [[ ! -x "$unpacked/usr/bin/promtool" ]]; then
    say "fetching Debian's prometheus into $unpacked"
    mkdir -p "$COHORT_CACHE/tools"
    partial="$(mktemp -d "$unpacked.partial.XXXXXX")"
    (cd "$partial" && apt-get download -q prometheus >&2 && dpkg-deb -x prometheus_*.deb "$partial") ||
      die "could not fetch Debian's package prometheus; after \`apt-get update\` try again"
    rm -rf "$unpacked"
    mv -T "$partial" "$unpacked"
  fi
  PATH="$unpacked/usr/bin:$PATH"
}

# make_venv DIR PACKAGE...: a virtual environment with these packages. It is marked complete last, so an
# interrupted run leaves nothing that looks finished; a changed list makes it anew.
make_venv() {
  local dir="$1" list
  shift
  list="$(printf '%s\n' "$@")"
  venv_is_complete "$dir" "$list" && return 0
  mkdir -p "$dir"
  (
    flock 9
    venv_is_complete "$dir" "$list" && exit 0
    say "making the Python environment $dir"
    rm -rf "$dir"
    "$COHORT_PYTHON" -m venv "$dir"
    "$dir/bin/pip" install --quiet --disable-pip-version-check "$@" >&2
    printf '%s\n' "$list" >"$dir/packages.txt"
  ) 9>"$dir.lock"
}

venv_is_complete() {
  [[ -x "$1/bin/python" && "$(cat "$1/packages.txt" 2>/dev/null)" == "$2" ]]
}
