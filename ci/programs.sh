#!/usr/bin/env bash
# Installs the programs that can call us and drives each with what `setup` prints, against a strict backend on loopback: signed in,
# with an expired, a rejected and a revoked login, and signed out. Writes what it saw into docs/programs.md.
#
# Usage: ci/programs.sh [install] [FOLDER]. The programs go into FOLDER and stay there, else into target/programs. All of them take npm,
# python3 with pip, about 7 GB and half an hour. `install` only installs, and only those that are tried with every change; the tests
# pass over the others. VT Code is built only with VTCODE=1: that takes another hour.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() { echo "SKIPPED ci/programs.sh: $*"; exit 0; }
for program in npm python3; do
    command -v $program >/dev/null || skip "no $program here"
done
all=1
if [ "${1:-}" = install ]; then
    all=
    shift
fi
mkdir -p "${1:-target/programs}"
programs=$(cd "${1:-target/programs}" && pwd)

# npm picks the releases that its own Node can run, and some want a newer one than many systems have.
npm_install() { npm install --silent --no-audit --no-fund --prefix "$programs" "$@"; }
npm_install node@22
PATH=$programs/node_modules/.bin:$PATH
npm_install @openai/codex @anthropic-ai/claude-code @github/copilot opencode-ai @mariozechner/pi-coding-agent \
    openai @openai/agents ai @ai-sdk/openai ${all:+@qwen-code/qwen-code @continuedev/cli cline}
# These put the binary for this machine into its place. npm runs them by itself only if it is an old one.
node "$programs/node_modules/@anthropic-ai/claude-code/install.cjs"
node "$programs/node_modules/opencode-ai/postinstall.mjs"

# Each in a folder of its own: they do not agree about the versions of what they share.
pip_install() { python3 -m pip install --quiet --root-user-action ignore --upgrade --target "$programs/$1" "${@:2}"; }
pip_install sdk openai openai-agents 'pydantic-ai-slim[openai]' langchain-openai
pip_install litellm "$(sed -n 's/^# dependencies = \["\(.*\)"\]$/\1/p' src/commands/setup/litellm.py)"
[ -n "$all" ] || exit 0
pip_install hermes hermes-agent
pip_install aider aider-chat
pip_install llm llm httpie
if [ -n "${VTCODE:-}" ]; then
    cargo install --quiet --locked --debug --root "$programs/vtcode" vtcode
    "$programs/vtcode/bin/vtcode" --version | sed 's/^[^0-9]*//' | head -n 1 >"$programs/vtcode/version"
fi

table=$(mktemp -d)
export CODEX_AUTH_TEST_PROGRAMS=$programs CODEX_AUTH_TEST_TABLE=$table
export CODEX_AUTH_TEST_CODEX=$programs/node_modules/.bin/codex
cargo test --locked --no-run --test cli
# Nothing of theirs gets out, if that can be had.
alone=()
if unshare --net true 2>/dev/null; then
    alone=(unshare --net sh -c 'ip link set lo up; exec "$@"' sh)
fi
timeout 3600 "${alone[@]}" cargo test --offline --locked --test cli callers:: || echo 'What failed has no row.'

python3 - "$table" <<'END'
import datetime, pathlib, re, sys

rows = sorted((path.read_text() for path in pathlib.Path(sys.argv[1]).iterdir()), key=str.lower)
head = "| program | version | signed in | expired | rejected | revoked | signed out |\n|" + " --- |" * 7 + "\n"
date = f"Made by the tests of `ci/programs.sh` on {datetime.date.today()}.\n\n"
page = pathlib.Path("docs/programs.md")
between = r"(?s)(<!-- begin -->\n).*(<!-- end -->\n)"
page.write_text(re.sub(between, lambda found: found[1] + date + head + "".join(rows) + found[2], page.read_text()))
END
rm -rf "$table"
