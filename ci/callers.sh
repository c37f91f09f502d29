#!/usr/bin/env bash
# Codex CLI, Claude Code, Copilot CLI, opencode, pi, and OpenAI's SDKs for Python and Node, with what `setup` prints, against a strict backend on
# loopback: signed in, expired, rejected, revoked and signed out. Needs npm and pip. They are put into target/callers, and stay there. Says which versions
# were tried. `ci/callers.sh install` only puts them there.
set -euo pipefail
cd "$(dirname "$0")/.."

callers=$PWD/target/callers
skip() { echo "SKIPPED ci/callers.sh: $*"; exit 0; }
for program in node npm python3; do
    command -v $program >/dev/null || skip "no $program here"
done

mkdir -p "$callers"
npm install --no-audit --no-fund --prefix "$callers" \
    openai @mariozechner/pi-coding-agent @github/copilot @openai/codex @anthropic-ai/claude-code opencode-ai
# These put the binary for this machine into its place. npm runs them by itself only if it is an old one.
node "$callers/node_modules/@anthropic-ai/claude-code/install.cjs"
node "$callers/node_modules/opencode-ai/postinstall.mjs"
python3 -m pip install --quiet --upgrade --target "$callers/python" openai
npm ls --depth 0 --prefix "$callers"
python3 -m pip list --path "$callers/python" 2>/dev/null | grep '^openai '

[ "${1:-}" != install ] || exit 0
export CODEX_AUTH_TEST_CALLERS=$callers CODEX_AUTH_TEST_CODEX=$callers/node_modules/.bin/codex
exec cargo test --locked --test cli -- callers:: codex:: "$@"
