#!/usr/bin/env bash
# Runs the tests with the program from an archive in target/dist. The argument is the Rust target.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
archive=$(echo target/dist/codex-auth-*-"$1".{tar.gz,zip} | tr ' ' '\n' | grep -v '\*')
if [[ $archive == *.zip ]]; then python3 -m zipfile -e "$archive" "$folder"; else tar -xzf "$archive" -C "$folder"; fi
program=$(echo "$folder"/*/codex-auth*)
if command -v cygpath >/dev/null; then program=$(cygpath --windows "$program"); fi
"$program" --version
CODEX_AUTH_TEST_BIN=$program cargo test --locked --test cli --test network
