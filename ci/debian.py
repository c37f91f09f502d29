#!/usr/bin/env python3
"""Tests the package on a fresh Debian: installs the .deb from target/dist (built by `ci/package.sh`), signs in to the tests' fake
issuer, completes a profile name with TAB in bash, opens the man page, and removes the package. Needs Linux, root, debootstrap
and cargo; debootstrap downloads about 100 MB."""

import fcntl
import glob
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RELEASE = "bookworm"
# A limit in seconds for each step, reached only if something is broken.
PATIENCE = 60
ADDRESS = re.compile(r"http://\S+/oauth/authorize\?\S+(?=\r?\n)")
SEQUENCES = re.compile(r"\x1b\][^\x1b\x07]*(?:\x1b\\|\x07)|\x1b\[[0-9;?]*[A-Za-z]")


def say(text):
    print(f"debian.py: {text}", flush=True)


def skip(why):
    print(f"SKIPPED ci/debian.py: {why}")
    sys.exit()


def fail(why):
    sys.exit(f"FAILED ci/debian.py: {why}")


def in_debian(root, *command):
    path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
    done = subprocess.run(["env", "-i", path, "chroot", root, *command], capture_output=True, text=True)
    if done.returncode:
        fail(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


class Terminal:
    """A user logged in to the new system, at a terminal of 80 columns."""

    def __init__(self, root):
        self.seen = ""
        self.child, self.terminal = pty.fork()
        if self.child == 0:
            command = ["chroot", root, "su", "--login", "person"]
            os.execvpe("chroot", command, {"TERM": "xterm", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))

    def press(self, keys):
        """Types keys. Later searches only look at output after this."""
        self.seen = ""
        os.write(self.terminal, keys.encode())

    def wait_for(self, pattern):
        """The first match on the screen, without colours and links."""
        end = time.monotonic() + PATIENCE
        while not (found := re.search(pattern, SEQUENCES.sub("", self.seen))):
            if not select.select([self.terminal], [], [], max(0, end - time.monotonic()))[0]:
                fail(f"{pattern} did not come after {self.seen!r}")
            self.seen += os.read(self.terminal, 65536).decode(errors="replace")
        return found.group()

    def leave(self):
        os.write(self.terminal, b"exit\n")
        os.waitpid(self.child, 0)


def walk(terminal, exports):
    terminal.wait_for(r"\$ $")
    terminal.press(f"{exports}codex-auth --profile laboratory login\n")
    address = terminal.wait_for(ADDRESS)
    terminal.wait_for("Waiting for up to 15 minutes")
    page = urllib.request.urlopen(address).read().decode()
    if "You are signed in" not in page:
        fail(f"the browser shows {page}")
    terminal.wait_for(r"✓ Signed in as \S+")
    say("signed in")
    terminal.press("codex-auth --profile lab\t")
    terminal.wait_for("laboratory $")
    terminal.press("sta\t")
    terminal.wait_for("status $")
    terminal.press("\n")
    terminal.wait_for("Signed in as (?s:.*)laboratory.json")
    say("TAB completes the name of a profile, and a command")
    terminal.press("man codex-auth | cat\n")
    terminal.wait_for("NAME(?s:.*)SEE ALSO")
    say("man shows the page")


def main():
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        skip("it takes root and debootstrap")
    architecture = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True).stdout.strip()
    packages = glob.glob(f"{ROOT}/target/dist/codex-auth_*_{architecture}.deb")
    if not packages:
        skip("no .deb in target/dist: run ci/package.sh")
    build = ["cargo", "build", "--quiet", "--locked", "-p", "codex-auth-test-support", "--example", "issuer"]
    subprocess.run(build, cwd=ROOT, check=True)
    folder = tempfile.mkdtemp()
    root = f"{folder}/debian"
    # Our server listens on loopback, which a chroot shares.
    command = [f"{ROOT}/target/debug/examples/issuer"]
    issuer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        options = ["--variant=minbase", "--include=bash-completion,man-db"]
        made = subprocess.run(["debootstrap", *options, RELEASE, root], capture_output=True, text=True)
        if made.returncode:
            fail(f"debootstrap: {made.stdout}{made.stderr}")
        say(f"Debian {in_debian(root, 'cat', '/etc/debian_version').strip()}, new")
        shutil.copy(packages[0], f"{root}/tmp/codex-auth.deb")
        in_debian(root, "useradd", "--create-home", "--shell", "/bin/bash", "person")
        in_debian(root, "dpkg", "--install", "/tmp/codex-auth.deb")
        terminal = Terminal(root)
        walk(terminal, issuer.stdout.readline())
        terminal.leave()
        in_debian(root, "dpkg", "--purge", "codex-auth")
        left = in_debian(root, "find", "/usr", "/etc", "/var", "-name", "*codex-auth*")
        if left:
            fail(f"the package leaves {left}")
        say("the package is removed again")
    finally:
        issuer.stdin.close()
        issuer.wait()
        shutil.rmtree(folder)


main()
