#!/usr/bin/env bash
# Checks that the same source builds the same program in another folder, with the crates in another location. The argument is a Rust
# target; the default is static Linux on this processor. Needs git, and what a build needs.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${1:-$(uname -m)-unknown-linux-musl}
fail() { echo "FAILED ci/reproducible.sh: $*"; exit 1; }
skip() { echo "SKIPPED ci/reproducible.sh: $*"; exit; }
[ -d "$(rustc --print target-libdir --target "$target")" ] || skip "no Rust target $target here"

build() { CARGO_ENCODED_RUSTFLAGS=$(ci/flags.sh "$target") cargo build --quiet --locked --release --target "$target"; }

mkdir -p target
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
source=$folder/the/same/source home=$folder/cargo
mkdir -p "$source" "$home"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$source"
here=${CARGO_HOME:-$HOME/.cargo}
# Hard-linked, or copied if on another file system.
cp -al "$here/registry" "$home/" 2>/dev/null || { rm -rf "$home/registry" && cp -a "$here/registry" "$home/"; }
cp "$here"/config* "$home/" 2>/dev/null || true

build
(cd "$source" && CARGO_HOME=$home CARGO_NET_OFFLINE=true build)
first=target/$target/release/codex-auth second=$source/target/$target/release/codex-auth
! grep -qaF -e "$here" -e "$PWD" "$first" || fail "the program contains $here or $PWD"
cmp "$first" "$second" || fail 'the two programs differ'
echo "reproducible.sh: built twice, $(sha256sum <"$first" | cut -d' ' -f1) ($(rustc --version))"
