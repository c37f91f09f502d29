#!/usr/bin/env bash
# Builds the program and its tests for Windows and runs them under Wine. Needs the Rust target x86_64-pc-windows-gnu, and from
# Debian gcc-mingw-w64-x86-64, wine64, jq and util-linux. Arguments filter the tests.
#
# Leaves out the tests of the harness, and one that runs the program twice within a second, for which Wine is too slow.
set -euo pipefail
cd "$(dirname "$0")/.."
# Some tests need programs that Wine lacks, so skipped tests are fine here.
export CODEX_AUTH_TEST_SKIP=

target=x86_64-pc-windows-gnu
skip() { echo "SKIPPED ci/windows.sh: $*"; exit 0; }
wine=$(command -v wine64 || command -v wine || command -v /usr/lib/wine/wine64) || skip 'no wine64 here'
command -v jq >/dev/null || skip 'no jq here'
command -v x86_64-w64-mingw32-gcc >/dev/null || skip 'no x86_64-w64-mingw32-gcc here'
[ -d "$(rustc --print target-libdir --target $target)" ] || skip "no Rust target $target here"

folder=$(mktemp -d)
export WINEPREFIX=$folder/wine WINEDEBUG=-all
end() {
    # Wine leaves processes running that keep the folder busy.
    "$(dirname "$(readlink -f "$wine")")/wineserver" -k || true
    rm -rf "$folder"
}
trap end EXIT

export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUSTFLAGS='-D warnings'
cargo build --locked --target $target
tests=$(cargo test --locked --target $target --test cli --no-run --message-format json |
    jq -r 'select(.target.name == "cli" and .executable) | .executable')
x86_64-w64-mingw32-gcc -O2 -shared -o "$folder/bcryptprimitives.dll" ci/bcryptprimitives.c -ladvapi32
cp "$tests" "$folder/cli.exe"
cp target/$target/debug/codex-auth.exe "$folder"

# Wine needs certain addresses, and Debian's has no preloader that reserves them. With random addresses, about one process in a thousand
# finds them taken, and does not start (ERROR_INTERNAL_ERROR).
fixed=()
if setarch -R true 2>/dev/null; then fixed=(setarch -R); fi
CODEX_AUTH_TEST_BIN="Z:${folder//\//\\}\\codex-auth.exe" "${fixed[@]}" "$wine" "$folder/cli.exe" \
    --skip harness:: --skip the_backoff_grows_to_a_minute "$@"
