"""Instance files as a process finds them, and launching runs of the tiny lane through them."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from llmops_assets_tests.assets.tiny_lane import TinyLane

REPOSITORY = Path(__file__).parents[2]
INSTANCES = REPOSITORY / "configs" / "instances"


def write_home(home: Path, instance: str, launcher_settings: Mapping[str, Any]) -> Path:
    """A DAGSTER_HOME with the shipped file of `instance`; runs in SQLite, `launcher_settings` in every launcher."""
    settings = yaml.safe_load((INSTANCES / instance / "dagster.yaml").read_text())
    settings["storage"] = {"sqlite": {"base_dir": {"env": "LLMOPS_STATE_DIR"}}}
    for entry in settings["run_launcher"]["config"]["launchers"].values():
        entry["config"].update(launcher_settings)
    home.mkdir()
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
    return home


def launch_runs(lane: TinyLane, home: Path, assets: list[str], environment: Mapping[str, str]) -> list[str]:
    """Launch a run of each asset through the instance at `home`; returns their ids."""
    done = subprocess.run(
        [sys.executable, "-m", "llmops_assets_tests.deploy.launch_run", *assets],
        env={**lane.environment, "DAGSTER_HOME": str(home), "PYTHONPATH": str(REPOSITORY), **environment},
        cwd=lane.root,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def run_worker_environment(lane: TinyLane, home: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """What a run worker of the lane inherits, with the programs of this virtual environment on its path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**lane.environment, "DAGSTER_HOME": str(home), "PATH": path, **environment}
