#!/usr/bin/env python3
"""Checks the files that docs/deployment.md shows: the units of systemd and the manifests of Kubernetes.

Takes `systemd-analyze` and `kubernetes-validate` (PyPI); says what it skips without them."""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

PAGE = pathlib.Path(__file__).parent.parent / "docs" / "deployment.md"


def blocks(language):
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.M | re.S)


def run(*command):
    """Fails if the command does, or complains."""
    ended = subprocess.run(command, capture_output=True, text=True)
    said = (ended.stdout + ended.stderr).strip()
    if said:
        print(said)
    return ended.returncode == 0 and not ended.stderr.strip()


def check_units(folder):
    paths = []
    for block in blocks("ini"):
        name = re.match(r"# /etc/systemd/system/(\S+)\n", block).group(1)
        path = folder / name
        # The user and the program need not be on this machine.
        path.write_text(re.sub(r"(?m)^(ExecStart=)\S+", r"\1/bin/true", block).replace("User=tokens", "User=root"))
        paths.append(path)
    assert len(paths) == 2, paths
    return run("systemd-analyze", "verify", "--man=no", *paths)


def check_manifests(folder):
    manifests = [block for block in blocks("yaml") if "apiVersion" in block]
    assert len(manifests) == 3
    paths = []
    for number, manifest in enumerate(manifests):
        paths.append(folder / f"{number}.yaml")
        paths[-1].write_text(manifest)
    return run("kubernetes-validate", "--strict", *paths)


def main():
    good = True
    for program, check in [("systemd-analyze", check_units), ("kubernetes-validate", check_manifests)]:
        if shutil.which(program):
            with tempfile.TemporaryDirectory() as folder:
                good = check(pathlib.Path(folder)) and good
        else:
            print(f"SKIPPED {check.__name__}: no {program} here")
    sys.exit(not good)


main()
