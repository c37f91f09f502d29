#!/usr/bin/env bash
# The tests with the program that an archive of target/dist ships, unpacked as a user would. Takes the Rust target.
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
