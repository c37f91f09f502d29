"""Runs the program in a root that contains only the program, /etc/resolv.conf and a login: no /dev, no /proc, no certificates.
Needs root and a separate network namespace, where a name server resolves every host to this machine."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

ISSUER = "issuer.example"


def serve_names(server, asked):
    """Answers every query (RFC 1035): with 127.0.0.1 for an IPv4 address, otherwise with no records."""
    while True:
        query, client = server.recvfrom(512)
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode())
            at += 1 + query[at]
        asked.add(".".join(labels))
        question = query[12 : at + 5]
        is_a = question[-4:] == b"\0\1\0\1"
        answer = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4\x7f\0\0\1" if is_a else b""
        counts = b"\0\1" + (b"\0\1" if is_a else b"\0\0") + b"\0\0\0\0"
        server.sendto(query[:2] + b"\x81\x80" + counts + question + answer, client)


def store(root, life_left):
    """Stores a login in the root, with a token that expires in this many seconds."""
    login = {
        "version": 1,
        "auth_mode": "chatgpt",
        "issuer": f"https://{ISSUER}",
        "client_id": "client",
        "tokens": {"access_token": "a.b.c", "refresh_token": "r"},
        "last_refresh": "2026-01-01T00:00:00.000000Z",
        "expires_at": int(time.time()) + life_left,
        "expires_in": 7200,
    }
    with open(f"{root}/store/default.json", "w", encoding="utf-8") as file:
        json.dump(login, file)


def run(root, *words):
    """The exit code, stdout and stderr of the program in the root."""
    done = subprocess.run(
        ["/codex-auth", *words],
        executable="/codex-auth",
        preexec_fn=lambda: (os.chroot(root), os.chdir("/")),
        env={"CODEX_AUTH_HOME": "/store"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def expect(what, is_so, seen):
    if not is_so:
        sys.exit(f"FAILED ci/empty_root.py: {what}: {seen}")
    print(f"empty_root.py: {what}")


def main(program):
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    server, asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), set()
    server.bind(("127.0.0.1", 53))
    threading.Thread(target=serve_names, args=(server, asked), daemon=True).start()
    with tempfile.TemporaryDirectory() as root:
        os.umask(0o077)
        os.mkdir(f"{root}/etc")
        os.mkdir(f"{root}/store")
        with open(f"{root}/etc/resolv.conf", "w", encoding="utf-8") as file:
            file.write("nameserver 127.0.0.1\n")
        shutil.copy(program, f"{root}/codex-auth")

        store(root, 7200)
        seen = run(root, "token")
        expect("prints a fresh token", seen == (0, "a.b.c\n", ""), seen)

        store(root, -10)
        seen = run(root, "token")
        tried = seen[0] == 75 and seen[1] == "" and "refused" in seen[2]
        expect("starts the refresh of an expired one", tried, seen)
        expect("finds the issuer's address", ISSUER in asked, asked)

        seen = run(root, "doctor", "--verbose")
        expect("trusts the built-in roots", "the built-in ones" in seen[1], seen)


main(sys.argv[1])
