#!/usr/bin/env bash
# Builds the image of the Dockerfile and checks that it works as described there: it runs as an unprivileged user, and keeps its logins
# in a volume. Needs root, podman and runc, and the base image, from its registry or a local one named in BASE_IMAGE.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "FAILED ci/image.sh: $*"; exit 1; }
skip() { echo "SKIPPED ci/image.sh: $*"; exit; }
[ "$(id -u)" = 0 ] || skip 'needs root'
for program in podman runc; do
    command -v $program >/dev/null || skip "no $program here"
done
storage=(podman --storage-driver=vfs --cgroup-manager=cgroupfs --runtime runc)
base=$(sed -n 's/^FROM \(.*\) AS build$/\1/p' Dockerfile)
if [ -n "${BASE_IMAGE:-}" ]; then
    context=(--build-context "$base=container-image://$BASE_IMAGE")
else
    timeout 300 "${storage[@]}" pull --quiet "$base" >/dev/null 2>&1 || skip "$base cannot be pulled"
    context=()
fi

trap '"${storage[@]}" volume rm --force codex-auth-test >/dev/null 2>&1; "${storage[@]}" rmi --force codex-auth-test >/dev/null 2>&1' EXIT
"${storage[@]}" build --quiet --isolation=chroot "${context[@]}" --tag codex-auth-test . >/dev/null
run() {
    "${storage[@]}" run --rm --network=none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --log-driver=none \
        --volume codex-auth-test:/store codex-auth-test "$@"
}
[ "$(run --version)" = "codex-auth $(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)" ] || fail 'it has the wrong version'
code=0 && run token 2>/dev/null || code=$?
[ $code = 4 ] || fail "token without a login exits with $code"
# It can write to its volume: the missing network is all that doctor finds.
problems=$(run doctor | grep '^✗') || true
[[ $problems == '✗ issuer '* && $problems != *$'\n'* ]] || fail "doctor: $problems"
echo "image.sh: the image is built and runs, $("${storage[@]}" image inspect --format '{{.Size}}' codex-auth-test) bytes"
