#!/usr/bin/env bash
# Builds the program for Linux on Arm and tests it under qemu. Needs the Rust target aarch64-unknown-linux-musl, and from Debian
# gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user-static. Arguments filter the tests.
set -euo pipefail
cd "$(dirname "$0")/.."

target=aarch64-unknown-linux-musl
skip() { echo "SKIPPED ci/arm.sh: $*"; exit 0; }
command -v aarch64-linux-gnu-gcc >/dev/null || skip 'no aarch64-linux-gnu-gcc here'
qemu=$(command -v qemu-aarch64-static) || skip 'no qemu-aarch64-static here'
[ -d "$(rustc --print target-libdir --target $target)" ] || skip "no Rust target $target here"

export CC_aarch64_unknown_linux_musl=aarch64-linux-gnu-gcc CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld
cargo build --locked --target $target
export CODEX_AUTH_TEST_BIN=$PWD/target/$target/debug/codex-auth
if [ -e /proc/sys/fs/binfmt_misc/qemu-aarch64 ]; then
    exec cargo test --locked --test cli -- "$@"
fi

# The program starts itself again as its worker, so qemu must be registered with the kernel, here in a separate namespace.
namespace=(unshare --user --map-root-user --mount)
mount='mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc'
"${namespace[@]}" sh -c "$mount" 2>/dev/null || skip 'this kernel has no binfmt_misc per namespace (Linux 6.7)'
magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
export MAGIC=":qemu-aarch64:M::$magic:$mask:$qemu:F"
# The namespace has only one user, so tests that need another one are left out. So are tests with a limit of 1.5 s, which may be too
# short for an emulator.
# shellcheck disable=SC2016
"${namespace[@]}" bash -c "$mount"' && printf %s "$MAGIC" >/proc/sys/fs/binfmt_misc/register && exec "$@"' - \
    cargo test --locked --test cli -- --skip disk:: --skip other_processes_of_the_user \
    --skip verify:: --skip whatever_an_issuer_repeats "$@"
