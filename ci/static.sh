#!/usr/bin/env bash
# Installs the Linux binary as in the README, and checks that it is static and small, that a fresh token takes one read of one file, that
# it runs in an empty root, and that it passes the tests. Needs Rust's musl target, gcc and binutils; strace to count system calls; and
# for the empty root python3, unshare, ip and root. Arguments filter the tests.
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
CARGO_ENCODED_RUSTFLAGS=$(ci/flags.sh "$target") cargo install --quiet --locked --path . --target "$target" --root "$folder" --no-track
program=$folder/bin/codex-auth

size=$(stat -c %s "$program")
[ "$size" -lt $most ] || fail "its size is $size bytes, more than $most"
headers=$(LC_ALL=C readelf --file-header --program-headers "$program")
[[ $headers != *INTERP* ]] || fail 'it needs a dynamic linker'
[[ $headers =~ Type:\ +DYN ]] || fail 'it is not position-independent'
echo "static.sh: static, position-independent, $size bytes"

if has strace; then
    mkdir -m 700 "$folder/store"
    cat >"$folder/store/default.json" <<END
{"version": 1, "tokens": {"access_token": "a.b.c"}, "expires_at": $(($(date +%s) + 7200)), "expires_in": 7200}
END
    CODEX_AUTH_HOME=$folder/store strace -f -o "$folder/trace" "$program" token >"$folder/token"
    [ "$(cat "$folder/token")" = a.b.c ] || fail 'it printed another token'
    count() { grep -cE "^[0-9]+ +($1)\(" "$folder/trace" || true; }
    for call in 'open|openat' read write; do
        [ "$(count "$call")" = 1 ] || fail "a fresh token took $(count "$call") calls to $call"
    done
    others='socket|connect|flock|clone|clone3|fork|vfork|execveat|getdents|getdents64'
    [ "$(count "$others")" = 0 ] || fail "a fresh token took one of $others"
    echo 'static.sh: a fresh token took one open, one read and one write'
else
    skip 'the system calls of a fresh token: no strace here'
fi

if [ "$(id -u)" = 0 ] && has python3 && has unshare && has ip && unshare --net true 2>/dev/null; then
    unshare --net python3 ci/empty_root.py "$program"
else
    skip 'the empty root: needs root, python3, unshare and ip'
fi

# Its C library and allocator differ from those of the binary that `cargo test` builds.
# Programs that call it, and shells, see no difference.
CODEX_AUTH_TEST_BIN=$program cargo test --quiet --locked --test cli --test network -- \
    --skip callers:: --skip completions:: --skip setup:: "$@"
