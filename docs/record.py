#!/usr/bin/env python3
"""Writes docs/terminal.svg, the recording in the README: a real run of the program in a pseudo-terminal, with the tests' fake
issuer on loopback and this script as the browser. The recording shows the usual host, port and path instead of those of this
run, and truncates long URLs. Needs cargo and Python on Linux or macOS, and no account. To use an existing build, set
CODEX_AUTH_TEST_BIN."""

import fcntl
import html
import json
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
COLUMNS = 80
COMMANDS = [
    "codex-auth login",
    "TOKEN=$(codex-auth token)",
    'echo "${TOKEN:0:24}…"',
    "codex-auth status",
    "codex-auth setup codex | tail -n 5",
]
# Seconds for the finished session at the start, for typing a command, and for reading its output.
STILL, TYPED, SEEN = 3.0, 0.7, 0.9
WIDTH, HEIGHT, MARGIN = 8.43, 20, 20
# A character that no command prints.
PROMPT = "\x04"
COLOURS = {"31": "#ff7b72", "32": "#56d364", "33": "#e3b341", "36": "#76e3ea"}
TOKENS = re.compile(r"\x1b\[([0-9;]*)m|\x1b\]8;[^\x1b\x07]*(?:\x1b\\|\x07)|\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+")


def browse(url):
    urllib.request.urlopen(url).read()


def built():
    """Returns the paths of the program and the fake issuer."""
    def build(*arguments):
        command = ["cargo", "build", "--locked", "--quiet", "--message-format=json-render-diagnostics", *arguments]
        lines = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
        found = [message["executable"] for message in map(json.loads, lines) if message.get("executable")]
        return found[-1]
    program = os.environ.get("CODEX_AUTH_TEST_BIN") or build("--bin", "codex-auth")
    return program, build("-p", "codex-auth-test-support", "--example", "issuer")


def environment(folder, program, exports):
    """The variables for the session, without any from this machine. The store is in the default folder."""
    os.mkdir(f"{folder}/bin")
    os.symlink(program, f"{folder}/bin/codex-auth")
    variables = dict(word.split("=", 1) for word in exports.split()[1:])
    del variables["CODEX_AUTH_HOME"]
    browser = f"{sys.executable} {os.path.abspath(__file__)} %s"
    path = f"{folder}/bin:/usr/local/bin:/usr/bin:/bin"
    return variables | {"HOME": folder, "PATH": path, "TERM": "xterm-256color", "BROWSER": browser, "LANG": "C.UTF-8"}


def await_prompt(shell):
    """Returns the output up to the next prompt."""
    shown = b""
    while not shown.endswith(PROMPT.encode()):
        if not select.select([shell], [], [], 60)[0]:
            sys.exit(f"no prompt came after {shown.decode()}")
        shown += os.read(shell, 65536)
    return shown.decode().removesuffix(PROMPT)


def run(shell, command):
    os.write(shell, f"{command}\n".encode())
    return await_prompt(shell)


def session(folder, variables):
    """Yields each command with its output and how long it took."""
    child, shell = pty.fork()
    if child == 0:
        os.chdir(folder)
        # Without readline, the terminal itself echoes the input, which can be switched off.
        os.execve("/bin/bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"], variables | {"PS1": PROMPT})
    fcntl.ioctl(shell, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    await_prompt(shell)
    run(shell, "stty -echo")
    for command in COMMANDS:
        if " setup " in command:
            # Keep it out of the configuration.
            run(shell, "unset CODEX_AUTH_CHATGPT_URL")
        begun = time.monotonic()
        shown = run(shell, command)
        yield command, as_usual(shown, folder, variables["CODEX_AUTH_ISSUER"]), time.monotonic() - begun
    os.close(shell)
    os.waitpid(child, 0)


def as_usual(shown, folder, issuer):
    """Replaces this run's host, port and path with the usual ones."""
    shown = shown.replace(issuer, "https://auth.openai.com").replace(f"{folder}/bin/", "/usr/bin/").replace(folder, "~")
    return re.sub(r"localhost:\d+", "localhost:1455", shown)


def lines(shown):
    """The lines that stay on the screen, as lists of (style, text)."""
    line, style, kept = [], "", []
    for match in TOKENS.finditer(shown):
        token = match.group()
        if match.group(1) is not None:
            style = match.group(1)
        elif token == "\n":
            kept += broken(line)
            line = []
        elif token.endswith("K"):
            line = []
        elif token[0] not in "\x1b\r":
            line.append((style, token))
    return kept + (broken(line) if line else [])


def broken(line):
    """Breaks a line as a terminal does, but truncates URLs."""
    text = "".join(text for _, text in line)
    if len(text) > COLUMNS and text.strip().startswith("http"):
        return [[(line[0][0], text[:COLUMNS - 1] + "…")]]
    rows, used = [[]], 0
    for style, text in line:
        while text:
            if used == COLUMNS:
                rows.append([])
                used = 0
            part, text = text[:COLUMNS - used], text[COLUMNS - used:]
            rows[-1].append((style, part))
            used += len(part)
    return rows


def svg_line(number, line, at):
    spans, column = [], 0
    for style, text in line:
        codes = style.split(";")
        colour = next((f' fill="{COLOURS[code]}"' for code in codes if code in COLOURS), "")
        bold = ' font-weight="bold"' if "1" in codes else ""
        x = MARGIN + column * WIDTH
        spans.append(f'<tspan x="{x:.1f}"{colour}{bold}>{html.escape(text, quote=False)}</tspan>')
        column += len(text)
    y = 64 + number * HEIGHT
    # Nothing hides the first prompt, so that the window is never empty.
    hidden = f' style="animation-duration:{at:.1f}s"' if at else ""
    return f'<text y="{y}"{hidden}>{"".join(spans)}</text>'


def draw(commands):
    """Shows the finished session, and then plays it. Without animations it stays finished."""
    drawn, at = [], 0
    for command, shown, took in commands:
        drawn.append(([("36;1", "$"), ("", f" {command}")], at))
        at += TYPED + took
        drawn += [(line, at) for line in lines(shown)]
        at += SEEN
    texts = "\n".join(svg_line(number, line, at) for number, (line, at) in enumerate(drawn))
    width, height = round(2 * MARGIN + COLUMNS * WIDTH), 64 + len(drawn) * HEIGHT
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">
<title>codex-auth in a terminal</title>
<style>
text{{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#e6edf3;white-space:pre;animation:hide 0s {STILL}s}}
@keyframes hide{{from,to{{opacity:0}}}}
@media (prefers-reduced-motion:reduce){{text{{animation:none}}}}
</style>
<rect width="{width}" height="{height}" rx="10" fill="#0d1117"/>
<circle cx="22" cy="22" r="6" fill="#ff5f57"/><circle cx="42" cy="22" r="6" fill="#febc2e"/><circle cx="62" cy="22" r="6" fill="#28c840"/>
{texts}
</svg>
"""


def main():
    program, issuer = built()
    # A short name, as it appears in some lines.
    folder = tempfile.mkdtemp(prefix="home-")
    server = subprocess.Popen([issuer], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        variables = environment(folder, program, server.stdout.readline())
        drawing = draw(session(folder, variables))
    finally:
        server.stdin.close()
        server.wait()
        shutil.rmtree(folder)
    with open(f"{ROOT}/docs/terminal.svg", "w", encoding="utf-8") as file:
        file.write(drawing)


if len(sys.argv) > 1:
    browse(sys.argv[1])
else:
    main()
