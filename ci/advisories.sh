#!/usr/bin/env bash
# Checks the crates in Cargo.lock for known vulnerabilities (RUSTSEC). Needs cargo-audit, and its database from GitHub.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() { echo "SKIPPED ci/advisories.sh: $*"; exit; }
command -v cargo-audit >/dev/null || skip 'no cargo-audit here'
database=${CARGO_HOME:-$HOME/.cargo}/advisory-db
# Fetched separately, to tell a missing network from a vulnerability.
if ! git -C "$database" pull --quiet 2>/dev/null &&
    ! timeout 60 git clone --quiet --depth 1 https://github.com/RustSec/advisory-db.git "$database" 2>/dev/null; then
    skip 'the advisory database cannot be fetched'
fi
cargo audit --no-fetch --db "$database" --deny warnings
