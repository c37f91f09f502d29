#!/usr/bin/env bash
# Prints the value of CARGO_ENCODED_RUSTFLAGS that makes builds for a Rust target reproducible. Without it, messages in the program contain
# the paths of the sources, and so the name of the user who built it. Usage: ci/flags.sh TARGET
set -euo pipefail
cd "$(dirname "$0")/.."

# Prints a path as rustc sees it, which on Windows is not how bash sees it.
native() { if command -v cygpath >/dev/null; then cygpath --windows "$1"; else printf %s "$1"; fi; }

# The crates' sources must be fetched before their folder can be found.
cargo fetch --quiet --locked >&2
# It replaces what .cargo/config.toml sets.
mapfile -t flags < <(sed -n "/^\[target.$1\]$/,/^$/s/^rustflags = \[\"\(.*\)\"\]$/\1/p" .cargo/config.toml)
for registry in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do
    flags+=("--remap-path-prefix=$(native "$registry")=/registry")
done
# The last match wins.
flags+=("--remap-path-prefix=$(native "$PWD")=/codex-auth")
flags+=("--remap-path-prefix=$(native "${CARGO_TARGET_DIR:-$PWD/target}")=/target")
(IFS=$'\x1f' && printf %s "${flags[*]}")
