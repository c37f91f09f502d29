#!/usr/bin/env bash
# Compiles the code for macOS, without linking or running it. Needs the Rust target aarch64-apple-darwin, and for ring a C compiler
# with that target: `zig`, or python3 with the package ziglang.
set -euo pipefail
cd "$(dirname "$0")/.."

target=aarch64-apple-darwin
skip() { echo "SKIPPED ci/macos.sh: $*"; exit 0; }
[ -d "$(rustc --print target-libdir --target $target)" ] || skip "no Rust target $target here"
if command -v zig >/dev/null; then
    zig=zig
elif python3 -c 'import ziglang' 2>/dev/null; then
    zig='python3 -m ziglang'
else
    skip 'neither zig nor the Python package ziglang here'
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# zig has a different name for the target than the caller passes.
cat >"$folder/cc" <<END
#!/usr/bin/env bash
words=()
for word; do
    case \$word in --target=* | -arch | arm64 | -mmacosx-version-min=*) ;; *) words+=("\$word") ;; esac
done
exec $zig cc -target aarch64-macos "\${words[@]}"
END
printf '#!/bin/sh\nexec %s ar "$@"\n' "$zig" >"$folder/ar"
chmod +x "$folder/cc" "$folder/ar"

export CC_aarch64_apple_darwin=$folder/cc AR_aarch64_apple_darwin=$folder/ar
cargo clippy --locked --target $target --all-targets -- -D warnings
