#!/usr/bin/env bash
# Copilot CLI, pi, and OpenAI's SDKs for Python and Node, with what `setup` prints, against a strict backend on loopback: fresh, expired, rejected and
# signed out. Needs npm and pip. They are put into target/callers, and stay there. Says which versions were tried.
set -euo pipefail
cd "$(dirname "$0")/.."

callers=$PWD/target/callers
skip() { echo "SKIPPED ci/callers.sh: $*"; exit 0; }
for program in node npm python3; do
    command -v $program >/dev/null || skip "no $program here"
done

mkdir -p "$callers"
npm install --no-audit --no-fund --prefix "$callers" \
    openai @mariozechner/pi-coding-agent @github/copilot
python3 -m pip install --quiet --upgrade --target "$callers/python" openai
npm ls --depth 0 --prefix "$callers"
python3 -m pip list --path "$callers/python" 2>/dev/null | grep '^openai '

CODEX_AUTH_TEST_CALLERS=$callers exec cargo test --locked --test cli callers:: -- "$@"
