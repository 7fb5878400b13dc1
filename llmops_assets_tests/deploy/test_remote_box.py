"""The service of a remote box, as systemd itself reads it."""

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


def test_stopping_the_service_spares_the_runs() -> None:
    """systemd's default would kill everything that the service ever started, detached run workers included."""
    assert re.search(r"^KillMode=process$", UNIT.read_text(), re.MULTILINE)
