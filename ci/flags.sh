#!/usr/bin/env bash
# Prints what CARGO_ENCODED_RUSTFLAGS has to be, so that a build has the same bytes wherever it is done: without it, messages in
# the program have the paths of the sources, and with them the name of whoever built it.
set -euo pipefail
cd "$(dirname "$0")/.."

# As rustc sees a path: on Windows not as bash does.
native() { if command -v cygpath >/dev/null; then cygpath --windows "$1"; else printf %s "$1"; fi; }

# The sources of the crates have to be there before their folder is looked for.
cargo fetch --quiet --locked >&2
flags=()
for registry in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do
    flags+=("--remap-path-prefix=$(native "$registry")=/registry")
done
# The last one that fits counts.
flags+=("--remap-path-prefix=$(native "$PWD")=/codex-auth")
flags+=("--remap-path-prefix=$(native "${CARGO_TARGET_DIR:-$PWD/target}")=/target")
(IFS=$'\x1f' && printf %s "${flags[*]}")
