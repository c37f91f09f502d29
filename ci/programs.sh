#!/usr/bin/env bash
# Installs the programs that can call codex-auth and runs each with the output of `setup`, against a strict backend on loopback: signed
# in, with an expired, a rejected and a revoked login, and signed out. Writes the results into docs/programs.md.
#
# Usage: ci/programs.sh [install] [FOLDER]. The programs are installed into FOLDER (default: target/programs) and stay there. This needs
# npm, python3 with pip, about 7 GB and half an hour. `install` only installs, and only the programs tested with every change; the tests
# skip the others. VT Code is built only with VTCODE=1, which takes another hour.
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

# npm picks releases that its own Node can run, and some need a newer Node than many systems have.
npm_install() { npm install --silent --no-audit --no-fund --prefix "$programs" "$@"; }
npm_install node@22
PATH=$programs/node_modules/.bin:$PATH
npm_install @openai/codex @anthropic-ai/claude-code @github/copilot opencode-ai @mariozechner/pi-coding-agent \
    openai @openai/agents ai @ai-sdk/openai ${all:+@qwen-code/qwen-code @continuedev/cli cline}
# These install the binary for this machine. Only old versions of npm run them automatically.
node "$programs/node_modules/@anthropic-ai/claude-code/install.cjs"
node "$programs/node_modules/opencode-ai/postinstall.mjs"

# Each in its own folder: they need different versions of the same packages. An update would leave files of the old version behind.
pip_install() {
    rm -rf "${programs:?}/$1"
    python3 -m pip install --quiet --root-user-action ignore --no-warn-conflicts --target "$programs/$1" "${@:2}"
}
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
# Cut them off from the network, if possible.
alone=()
if unshare --net true 2>/dev/null; then
    alone=(unshare --net sh -c 'ip link set lo up; exec "$@"' sh)
fi
timeout 3600 "${alone[@]}" cargo test --offline --locked --test cli callers:: || echo 'Programs that failed have no row.'

python3 - "$table" <<'END'
import datetime, pathlib, re, sys

rows = sorted((path.read_text() for path in pathlib.Path(sys.argv[1]).iterdir()), key=str.lower)
head = "| program | version | signed in | expired | rejected | revoked | signed out |\n|" + " --- |" * 7 + "\n"
date = f"Results of the tests that `ci/programs.sh` runs, {datetime.date.today()}.\n\n"
page = pathlib.Path("docs/programs.md")
between = r"(?s)(<!-- begin -->\n).*(<!-- end -->\n)"
page.write_text(re.sub(between, lambda found: found[1] + date + head + "".join(rows) + found[2], page.read_text()))
END
rm -rf "$table"
