#!/usr/bin/env bash
# Tests real containers that end right after `token`: an image FROM scratch with the static binary, and the store on a volume. Needs
# root, podman, runc, Rust's musl target, and gcc with a static C library.
set -euo pipefail
cd "$(dirname "$0")/.."

target=$(uname -m)-unknown-linux-musl
skip() { echo "SKIPPED ci/containers.sh: $*"; exit; }
has() { command -v "$1" >/dev/null; }

[ "$(id -u)" = 0 ] || skip 'needs root'
for program in podman runc gcc; do
    has $program || skip "no $program here"
done
[ -d "$(rustc --print target-libdir --target "$target")" ] || skip "no Rust target $target here"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# Acts as a container's script: runs the program, and exits the given number of milliseconds later.
mkdir "$folder/image"
gcc -static -O1 -x c -o "$folder/image/script" - <<'END' || skip 'no static C library here'
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int count, char **words) {
    int status = 1;
    if (count < 3) return 2;
    if (fork() == 0) {
        execv(words[2], words + 2);
        _exit(127);
    }
    wait(&status);
    usleep(1000 * atoi(words[1]));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
END
cargo build --quiet --locked --release --target "$target"
cp "target/$target/release/codex-auth" "$folder/image/"
cat >"$folder/image/Containerfile" <<'END'
FROM scratch
COPY codex-auth script /
END

# Keeps images and containers in the folder, so that they are removed with it.
cat >"$folder/podman" <<END
#!/bin/sh
exec podman --root $folder/root --runroot $folder/runroot --storage-driver=vfs --cgroup-manager=cgroupfs --runtime runc "\$@"
END
cat >"$folder/run" <<END
#!/bin/sh
exec $folder/podman run --rm --network=host --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 \\
    --log-driver=none --env CODEX_AUTH_HOME=/store "\$@"
END
chmod +x "$folder/podman" "$folder/run"
"$folder/podman" build --quiet --isolation=chroot --tag codex-auth-test "$folder/image" >"$folder/log" 2>&1 ||
    skip "cannot build images: $(tail -n 1 "$folder/log")"
"$folder/run" codex-auth-test /codex-auth --version >"$folder/log" 2>&1 ||
    skip "cannot run containers: $(tail -n 1 "$folder/log")"

CODEX_AUTH_TEST_CONTAINER=$folder/run \
    cargo test --quiet --locked --test stress containers -- --ignored --nocapture
