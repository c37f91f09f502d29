#!/usr/bin/env bash
# Checks that the tests fail if a critical line is broken. Each mutant is one small replacement in a copy of the sources, and the tests
# named with it must fail; a mutant that no longer applies is a failure, too. Arguments select mutants by part of their name. Needs what
# the tests need, and takes a few minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

selected=("$@")
source=$PWD/target/mutants/source
export CARGO_TARGET_DIR=$PWD/target/mutants/build
failed=0 count=0 filters=()
mkdir -p "$source"
git ls-files -z --cached --others --exclude-standard src Cargo.toml Cargo.lock man completions .cargo benches tests examples README.md |
    xargs -0 cp --parents --update -t "$source"

# Only the program changes, not the tests that run it.
tests=$(cd "$source" && cargo test --locked --test cli --no-run --message-format json 2>/dev/null |
    sed -n 's/.*"name":"cli".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
[ -x "$tests" ] || { echo 'FAILED ci/mutants.sh: the tests do not build'; exit 1; }

build() { (cd "$source" && cargo build --quiet --locked 2>"$source/../log"); }
run_tests() { CODEX_AUTH_TEST_BIN=$CARGO_TARGET_DIR/debug/codex-auth "$tests" "$@" >"$source/../log" 2>&1; }
complain() { echo "FAILED $*"; failed=1; }

# Arguments: a name, a file, text that occurs in it once, its replacement, and filters for the tests that must fail.
mutant() {
    local name=$1 file=$source/$2 from=$3 to=$4 original rest
    shift 4
    if [ ${#selected[@]} -gt 0 ]; then
        local word found=no
        for word in "${selected[@]}"; do [[ $name == *"$word"* ]] && found=yes; done
        [ $found = yes ] || return 0
    fi
    count=$((count + 1))
    filters+=("$@")
    original=$(<"$file")
    rest=${original#*"$from"}
    if [ "$rest" = "$original" ] || [ "${rest#*"$from"}" != "$rest" ]; then
        complain "$name: its text does not occur exactly once in ${file#"$source/"}: $from"
        return
    fi
    printf '%s\n' "${original%%"$from"*}$to$rest" >"$file"
    if ! build; then
        complain "$name: it does not compile: $(grep -m 1 '^error' "$source/../log")"
    elif run_tests "$@"; then
        complain "$name: not noticed by $*"
    elif ! grep -q '^test result: FAILED' "$source/../log"; then
        complain "$name: the tests did not run"
    else
        echo "noticed: $name, by $(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$source/../log" | head -n 2 | paste -sd' ')"
    fi
    printf '%s\n' "$original" >"$file"
}

. ci/mutants.list
# All of them must pass without a mutant.
build && run_tests "${filters[@]}" || complain "without a mutant, too: $(grep '^test .* FAILED$' "$source/../log")"
echo "mutants.sh: $count mutants"
exit $failed
