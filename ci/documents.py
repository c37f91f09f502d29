#!/usr/bin/env python3
"""Checks configuration for other programs with parsers of its language: the systemd units and Kubernetes manifests in
docs/deployment.md and in the packages, and the output of `setup`.

Uses `systemd-analyze`, `node`, `kubernetes-validate` and PyYAML (PyPI), and says what it skips without them."""

import json
import os
import pathlib
import plistlib
import py_compile
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib

ROOT = pathlib.Path(__file__).parent.parent
PAGE = ROOT / "docs" / "deployment.md"
# The programs of `setup` that no check has asked for yet.
UNCHECKED = set(re.findall(r"(?m)^[^:]+", (ROOT / "src" / "help" / "programs.txt").read_text()))


def blocks(language):
    """The fenced code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.M | re.S)


def run(*command, **options):
    """Returns whether the command succeeds without printing errors."""
    ended = subprocess.run(command, capture_output=True, text=True, **options)
    said = (ended.stdout + ended.stderr).strip()
    if said:
        print(said)
    return ended.returncode == 0 and not ended.stderr.strip()


def with_program(unit):
    """Replaces the program and the user, which may not exist on this machine."""
    return re.sub(r"(?m)^(ExecStart=)\S+", r"\1/bin/true", unit).replace("User=tokens", "User=root")


def check_units(folder):
    paths = []
    for block in blocks("ini"):
        name = re.match(r"# /etc/systemd/system/(\S+)\n", block).group(1)
        paths.append(folder / name)
        paths[-1].write_text(with_program(block))
    assert len(paths) == 2, paths
    return run("systemd-analyze", "verify", "--man=no", *paths)


def check_user_units(folder):
    paths = []
    for unit in sorted((ROOT / "ci" / "systemd").iterdir()):
        # A template unit needs an instance name.
        paths.append(folder / unit.name.replace("@", "@work"))
        (folder / unit.name).write_text(with_program(unit.read_text()))
    assert len(paths) == 2, paths
    return run("systemd-analyze", "--user", "verify", "--man=no", *paths, env={**os.environ, "XDG_RUNTIME_DIR": str(folder)})


def check_manifests(folder):
    manifests = [block for block in blocks("yaml") if "apiVersion" in block]
    assert len(manifests) == 3
    paths = []
    for number, manifest in enumerate(manifests):
        paths.append(folder / f"{number}.yaml")
        paths[-1].write_text(manifest)
    return run("kubernetes-validate", "--strict", *paths)


def setup_printer(folder):
    """Returns a function that runs `setup`, and the command line that its output should call. The paths of the program and the
    store need quotes in every language."""
    folder = folder / "it's \"a\" \\ $dir é %h <&>"
    folder.mkdir()
    program = folder / "codex-auth"
    shutil.copy(ROOT / "target" / "debug" / "codex-auth", program)
    store = f"CODEX_AUTH_HOME={folder / 'store'}"
    words = ["env", store, str(program), "--profile", "default", "token", "--verify", "--timeout", "8s"]

    def printed(name, *options):
        UNCHECKED.discard(name)
        call = [*words[:3], "setup", name, *options]
        return subprocess.run(call, check=True, capture_output=True, text=True, env={"PATH": os.environ["PATH"]}).stdout

    return printed, words


def check_setup(folder):
    printed, words = setup_printer(folder)
    codex = tomllib.loads(printed("codex"))["model_providers"]["chatgpt"]["auth"]
    vtcode = tomllib.loads(printed("vtcode"))["custom_providers"][0]["auth"]
    for auth in codex, vtcode:
        assert [auth["command"], *auth["args"]] == words, auth
    claude = json.loads(printed("claude-code", "--base-url", "https://gateway.example"))["apiKeyHelper"]
    pi = json.loads(printed("pi"))["providers"]["chatgpt"]["apiKey"].removeprefix("!")
    for line in claude, pi:
        assert shlex.split(line) == words, line
    json.loads(printed("claude-code"))
    assert plistlib.loads(printed("launchd").encode())["ProgramArguments"] == words
    *when, line = printed("cron").splitlines()[-1].split(" ", 5)
    assert when == ["17", "*", "*", "*", "*"], when
    assert shlex.split(line.replace(r"\%", "%")) == [*words, ">/dev/null"], line
    for name in "openai-python", "openai-agents", "litellm":
        path = folder / f"{name}.py"
        path.write_text(printed(name))
        py_compile.compile(str(path), doraise=True)
    good = True
    for name in "copilot", "curl", "env", "crush", "systemd":
        good = run("sh", "-n", input=printed(name)) and good
    return run("sh", "-n", input=printed("crush", "--base-url", "https://gateway.example")) and good


def check_setup_yaml(folder):
    import yaml

    printed, words = setup_printer(folder)
    text = printed("hermes")
    assert yaml.safe_load(text)["providers"]["chatgpt"]["key_env"] == "CODEX_AUTH_TOKEN"
    newer = text.replace("key_env: CODEX_AUTH_TOKEN", "").replace("# key_cmd", "key_cmd")
    line = yaml.safe_load(newer)["providers"]["chatgpt"]["key_cmd"]
    assert shlex.split(line) == [*words, "--min-ttl", "20m"], line
    return True


def check_setup_node(folder):
    printed, _ = setup_printer(folder)
    good = True
    for name in "openai-node", "ai-sdk", "opencode":
        path = folder / f"{name}.mjs"
        path.write_text(printed(name))
        good = run("node", "--check", path) and good
    return good


def check_setup_systemd(folder):
    """Installs the units as a user would, with a fake systemctl."""
    printed, words = setup_printer(folder)
    systemctl = folder / "systemctl"
    systemctl.write_text("#!/bin/sh\necho \"$@\" >>\"$0.log\"\n")
    systemctl.chmod(0o755)
    env = {"HOME": str(folder), "PATH": f"{folder}:{os.environ['PATH']}"}
    if not run("sh", input=printed("systemd"), env=env):
        return False
    enabled = (folder / "systemctl.log").read_text().splitlines()
    assert enabled == ["--user daemon-reload", "--user enable --now codex-auth-refresh.timer"], enabled
    units = sorted((folder / ".config/systemd/user").iterdir())
    assert len(units) == 2, units
    return run("systemd-analyze", "--user", "verify", "--man=no", *units, env={**env, "XDG_RUNTIME_DIR": str(folder)})


def missing(needed):
    if needed == "yaml":
        return subprocess.run([sys.executable, "-c", "import yaml"], capture_output=True).returncode != 0
    return shutil.which(needed) is None


def main():
    good = whole = True
    for needed, check in [
        ("systemd-analyze", check_units),
        ("systemd-analyze", check_user_units),
        ("kubernetes-validate", check_manifests),
        ("sh", check_setup),
        ("yaml", check_setup_yaml),
        ("node", check_setup_node),
        ("systemd-analyze", check_setup_systemd),
    ]:
        if missing(needed):
            print(f"SKIPPED {check.__name__}: no {needed} here")
            whole = False
            continue
        with tempfile.TemporaryDirectory() as folder:
            good = check(pathlib.Path(folder)) and good
    if whole and UNCHECKED:
        sys.exit(f"no check of setup {', '.join(sorted(UNCHECKED))}")
    sys.exit(not good)


main()
