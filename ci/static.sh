#!/usr/bin/env bash
# The binary for Linux, installed as the README says: that it is static and small, that a fresh token costs one look at one
# file, that it runs in an empty root, and that it passes the tests. Needs the musl target of Rust, gcc and binutils; to count
# calls strace, and for the empty root python3, unshare, ip and a root user.
set -euo pipefail
cd "$(dirname "$0")/.."

target=$(uname -m)-unknown-linux-musl
most=3700000 # bytes
fail() { echo "FAILED ci/static.sh: $*"; exit 1; }
skip() { echo "SKIPPED ci/static.sh: $*"; }
has() { command -v "$1" >/dev/null; }

if ! [ -d "$(rustc --print target-libdir --target "$target")" ]; then
    skip "no Rust target $target here"
    exit
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
CARGO_ENCODED_RUSTFLAGS=$(ci/flags.sh) cargo install --quiet --locked --path . --target "$target" --root "$folder" --no-track
program=$folder/bin/codex-auth

size=$(stat -c %s "$program")
[ "$size" -lt $most ] || fail "it has $size bytes, more than $most"
headers=$(LC_ALL=C readelf --file-header --program-headers "$program")
[[ $headers != *INTERP* ]] || fail 'it asks for a dynamic linker'
[[ $headers =~ Type:\ +DYN ]] || fail 'its address is not random'
echo "static.sh: static, with a random address, $size bytes"

if has strace; then
    mkdir -m 700 "$folder/store"
    cat >"$folder/store/default.json" <<END
{"version": 1, "tokens": {"access_token": "a.b.c"}, "expires_at": $(($(date +%s) + 7200)), "expires_in": 7200}
END
    CODEX_AUTH_HOME=$folder/store strace -f -o "$folder/trace" "$program" token >"$folder/token"
    [ "$(cat "$folder/token")" = a.b.c ] || fail 'it printed another token'
    count() { grep -cE "^[0-9]+ +($1)\(" "$folder/trace" || true; }
    for call in 'open|openat' read write; do
        [ "$(count "$call")" = 1 ] || fail "a fresh token took $(count "$call") calls of $call"
    done
    others='socket|connect|flock|clone|clone3|fork|vfork|execveat|getdents|getdents64'
    [ "$(count "$others")" = 0 ] || fail "a fresh token took one of $others"
    echo 'static.sh: a fresh token took one open, one read and one write'
else
    skip 'the calls of a fresh token: no strace here'
fi

if [ "$(id -u)" = 0 ] && has python3 && has unshare && has ip && unshare --net true 2>/dev/null; then
    unshare --net python3 ci/empty_root.py "$program"
else
    skip 'the empty root: it takes root, python3, unshare and ip'
fi

# It has another C library and another allocator than what `cargo test` builds.
CODEX_AUTH_TEST_BIN=$program cargo test --quiet --locked --test cli --test network
