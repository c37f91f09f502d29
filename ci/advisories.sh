#!/usr/bin/env bash
# Whether any crate in Cargo.lock has a known weakness (RUSTSEC). Needs cargo-audit, and its database from GitHub.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() { echo "SKIPPED ci/advisories.sh: $*"; exit; }
command -v cargo-audit >/dev/null || skip 'no cargo-audit here'
database=${CARGO_HOME:-$HOME/.cargo}/advisory-db
# Asked for apart, so that having no network is told from having a weakness.
if ! git -C "$database" pull --quiet 2>/dev/null &&
    ! timeout 60 git clone --quiet --depth 1 https://github.com/RustSec/advisory-db.git "$database" 2>/dev/null; then
    skip 'the database of advisories cannot be fetched here'
fi
cargo audit --no-fetch --db "$database" --deny warnings
