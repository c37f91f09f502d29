#!/usr/bin/env bash
# Checks that the tests fail if a critical line is broken. Each mutant is one small replacement in a copy of the sources, and the tests
# named with it must fail; a mutant that no longer applies is a failure, too. Arguments select mutants by part of their name. Needs what
# the tests need, and takes about half a minute for each mutant.
set -euo pipefail
cd "$(dirname "$0")/.."

selected=("$@")
source=$PWD/target/mutants/source
export CARGO_TARGET_DIR=$PWD/target/mutants/build
failed=0 count=0 filters=()
mkdir -p "$source"

# A run that was interrupted may have left a mutant there.
rm -rf "$source/src"
git ls-files -z --cached --others --exclude-standard src Cargo.toml Cargo.lock man completions .cargo benches tests examples README.md |
    while IFS= read -r -d '' file; do
        cmp -s "$file" "$source/$file" || cp --parents "$file" "$source"
    done

# Only the program changes, which is built beside the tests, not the tests that run it.
tests=$(cd "$source" && cargo test --locked --test cli --no-run --message-format json 2>/dev/null |
    sed -n 's/.*"name":"cli".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
[ -x "$tests" ] || { echo 'FAILED ci/mutants.sh: the tests do not build'; exit 1; }

build() { (cd "$source" && cargo build --quiet --locked 2>"$source/../log"); }
run_tests() { env -u CODEX_AUTH_TEST_BIN "$tests" "$@" >"$source/../log" 2>&1; }
complain() { echo "FAILED $*"; failed=1; }

# Replaces text that occurs once in a file or folder, however it is wrapped there, and prints the name of the file.
replace() {
    python3 - "$source" "$@" <<'END'
import pathlib, re, sys
source, place, old, new = sys.argv[1:]
pattern = r"\s*".join(re.escape(letter) for letter in old if not letter.isspace())
path = pathlib.Path(source, place)
texts = {file: file.read_text() for file in ([path] if path.is_file() else path.rglob("*.rs"))}
found = [(file, match) for file, text in texts.items() for match in re.finditer(pattern, text)]
if len(found) != 1:
    sys.exit(1)
file, match = found[0]
pathlib.Path(source, "../original").write_text(texts[file])
file.write_text(texts[file][: match.start()] + new + texts[file][match.end() :])
print(file.relative_to(source))
END
}

# Arguments: a name, a file or folder, text that occurs in it once, its replacement, and filters for the tests that must fail.
mutant() {
    local name=$1 place=$2 from=$3 to=$4 file
    shift 4
    if [ ${#selected[@]} -gt 0 ]; then
        local word found=no
        for word in "${selected[@]}"; do [[ $name == *"$word"* ]] && found=yes; done
        [ $found = yes ] || return 0
    fi
    count=$((count + 1))
    filters+=("$@")
    if ! file=$(replace "$place" "$from" "$to"); then
        complain "$name: its text does not occur exactly once in $place: $from"
        return
    fi
    if ! build; then
        complain "$name: it does not compile: $(grep -m 1 '^error' "$source/../log")"
    elif run_tests "$@"; then
        complain "$name: not noticed by $*"
    elif ! grep -q '^test result: FAILED' "$source/../log"; then
        complain "$name: the tests did not run"
    else
        echo "noticed: $name, by $(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$source/../log" | head -n 2 | paste -sd' ')"
    fi
    cp "$source/../original" "$source/$file"
}

. ci/mutants.list
# All of them must pass without a mutant.
build && run_tests "${filters[@]}" || complain "without a mutant, too: $(grep '^test .* FAILED$' "$source/../log")"
echo "mutants.sh: $count mutants"
exit $failed
