"""A remote box: its service as systemd itself reads it, and what a push brings there and leaves alone."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from llmops_assets_tests.deploy.homes import REPOSITORY

UNIT = REPOSITORY / "deploy" / "llmops@.service"


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    checkout = tmp_path / "box"
    program = checkout / ".venv" / "bin" / "llmops"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "llmops@box.service"
    # systemd takes %h from the account and not from HOME.
    unit.write_text(UNIT.read_text().replace("%h/%i", str(checkout)))

    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", str(unit)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (0, "")


def push_command() -> str:
    """What `make remote-push` runs first."""
    names = ["REMOTE_USER=ada", "REMOTE_HOST=box", "REMOTE_DIR=there"]
    done = subprocess.run(
        ["make", "-n", "remote-push", *names], cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=True
    )
    return next(line for line in done.stdout.splitlines() if line.startswith("rsync "))


def test_the_guide_pushes_as_make_does() -> None:
    guide = (REPOSITORY / "docs" / "remote-gpu-box.md").read_text().replace("\\\n  ", "")
    assert push_command().replace("ada@box:there", "$REMOTE_USER@$REMOTE_HOST:$REMOTE_DIR") in guide


def test_a_push_brings_code_and_data_and_spares_what_the_box_made(tmp_path: Path) -> None:
    if shutil.which("rsync") is None:
        pytest.skip("rsync is not installed")
    here, box = tmp_path / "here", tmp_path / "box"
    ours = {"llmops_assets/a.py", "data/dsl/rows.jsonl"}
    ignored = {".venv/bin/python", ".llmops/artifacts/a"}
    theirs = {"data/large/rows.jsonl", ".venv/lib/torch", ".llmops/artifacts/b"}
    for folder, files in ((here, ours | ignored), (box, theirs | {"llmops_assets/old.py"})):
        for file in files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).touch()
        shutil.copy(REPOSITORY / ".gitignore", folder)  # as an earlier push has left it

    subprocess.run(push_command().replace("ada@box:there", str(box)), shell=True, cwd=here, check=True, timeout=60)

    there = {file.relative_to(box).as_posix() for file in box.rglob("*") if file.is_file()}
    assert there == ours | theirs | {".gitignore"}


def test_stopping_the_service_spares_the_runs() -> None:
    """systemd's default would kill everything that the service ever started, detached run workers included."""
    assert re.search(r"^KillMode=process$", UNIT.read_text(), re.MULTILINE)
