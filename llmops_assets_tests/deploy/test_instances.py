"""Every shipped instance file, through Dagster's own validation and held against what the others promise."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._config import ConfigType, resolve_to_config_type, validate_config

from llmops_assets.launchers.routing import RoutingRunLauncher
from llmops_assets_tests.deploy.homes import INSTANCES, REPOSITORY

NAMES = sorted(file.parent.name for file in INSTANCES.glob("*/dagster.yaml"))
TRAINER_GRACE_SECONDS = 60


def settings_of(name: str) -> dict[str, Any]:
    return yaml.safe_load((INSTANCES / name / "dagster.yaml").read_text())


@pytest.fixture(params=NAMES)
def instance(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, dg.DagsterInstance]]:
    """An instance opened from the shipped file. What is on a PostgreSQL server is put on a real one."""
    name = request.param
    monkeypatch.setenv("LLMOPS_STATE_DIR", str(tmp_path / "state"))
    if "postgres" in settings_of(name)["storage"]:
        monkeypatch.setenv("LLMOPS_POSTGRES_URL", request.getfixturevalue("empty_postgres_url"))
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text((INSTANCES / name / "dagster.yaml").read_text())
    with dg.DagsterInstance.from_config(str(home)) as opened:
        yield name, opened


def test_all_places_have_a_file() -> None:
    assert {"local", "ray", "kubernetes", "docker", "postgres"} <= set(NAMES)


def test_file_is_accepted_and_keeps_the_promises_of_every_instance(instance: tuple[str, dg.DagsterInstance]) -> None:
    name, opened = instance
    launchers = settings_of(name)["run_launcher"]["config"]["launchers"]

    assert opened.get_runs() == []
    assert isinstance(opened.run_launcher, RoutingRunLauncher)
    assert opened.run_monitoring_enabled
    assert opened.run_monitoring_max_resume_run_attempts == 0
    assert opened.run_retries_enabled
    assert settings_of(name)["run_monitoring"]["free_slots_after_run_end_seconds"] > 0
    assert settings_of(name)["run_launcher"]["config"]["routes"]["gpu"] in launchers
    for entry in launchers.values():
        assert TRAINER_GRACE_SECONDS < _grace(entry["config"]) < opened.run_monitoring_cancel_timeout_seconds


@pytest.mark.parametrize("name", NAMES)
def test_settings_of_every_launcher_are_accepted_by_it(name: str) -> None:
    for entry in settings_of(name)["run_launcher"]["config"]["launchers"].values():
        module = __import__(entry["module"], fromlist=[entry["class"]])
        schema = resolve_to_config_type(getattr(module, entry["class"]).config_type())
        assert isinstance(schema, ConfigType)
        result = validate_config(schema, entry.get("config", {}))
        assert result.success, result.errors


@pytest.mark.parametrize("name", NAMES)
def test_file_begins_with_the_command_that_uses_it(name: str) -> None:
    first = (INSTANCES / name / "dagster.yaml").read_text().splitlines()[0].removeprefix("# ")
    assert first.startswith((f"make dev INSTANCE={name}", "make dev", "docker compose ", "kubectl "))
    folders = [word for word in first.split() if word.startswith("deploy/")]
    assert all((REPOSITORY / folder).exists() for folder in folders)


def test_local_instance_is_the_one_at_the_root() -> None:
    assert (REPOSITORY / "dagster.yaml").resolve() == INSTANCES / "local" / "dagster.yaml"


def _grace(config: dict[str, Any]) -> float:
    """Seconds between the request to stop and the kill, wherever the launcher has them."""
    pod = config.get("run_k8s_config", {}).get("pod_spec_config", {})
    stop = config.get("container_kwargs", {}).get("stop_timeout")
    return pod.get("termination_grace_period_seconds") or stop or config["grace_seconds"]
