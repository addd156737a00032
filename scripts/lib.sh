# shellcheck shell=bash
# Shared by the scripts of this folder: the place of the tree, and Debian packages that are missing.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Debian package names, by purpose.
# shellcheck disable=SC2034  # read by the scripts that source this file
BUILD_PACKAGES=(g++ cmake ninja-build ccache nlohmann-json3-dev libutf8proc-dev libxxhash-dev)
# shellcheck disable=SC2034
TEST_PACKAGES=(libgtest-dev clang-format python3 python3-pip shellcheck)
# shellcheck disable=SC2034
FUZZ_PACKAGES=(clang libclang-rt-14-dev)
# shellcheck disable=SC2034
TIDY_PACKAGES=(clang-tidy)

say() { printf '%s\n' "$*" >&2; }

# need_packages NAME...: installs those that are missing; without root and without sudo it prints the
# one line that would, and ends with 2. Asks the network for nothing if nothing is missing.
need_packages() {
  command -v dpkg-query >/dev/null || return 0 # not Debian: the tools are the user's care
  local name missing=() as_root=()
  for name in "$@"; do
    if ! dpkg-query -W -f='${db:Status-Status}\n' "$name" 2>/dev/null | grep -qx installed; then
      missing+=("$name")
    fi
  done
  if [ ${#missing[@]} -eq 0 ]; then return 0; fi
  if [ "$(id -u)" -ne 0 ]; then
    if ! sudo -n true 2>/dev/null; then
      say "missing packages; please run:"
      say "  sudo apt-get install --no-install-recommends ${missing[*]}"
      exit 2
    fi
    as_root=(sudo -n)
  fi
  say "installing: ${missing[*]}"
  "${as_root[@]}" apt-get update -qq >&2 || say "apt-get update failed; trying what is known"
  if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
    --no-install-recommends "${missing[@]}" >&2; then
    say "could not install: ${missing[*]} (no network?)"
    exit 2
  fi
}
