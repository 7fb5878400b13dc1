"""Dagster instances by name: each `configs/instances/<name>/dagster.yaml` says where runs are recorded and run."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from llmops_assets.errors import LlmopsError
from llmops_assets.settings import configs_dir, state_dir


class UnknownInstance(LlmopsError):
    """There is no instance file of that name."""


class MissingVariables(LlmopsError):
    """An instance file takes values from environment variables that are not set."""


def instance_names() -> list[str]:
    """The names under `configs/instances/`, in order."""
    return sorted(file.parent.name for file in (configs_dir() / "instances").glob("*/dagster.yaml"))


def instance_home(name: str) -> Path:
    """The folder to use as DAGSTER_HOME for the instance `name`; it is made if it is not there.

    It lies under the state folder, because Dagster writes into its home, and links to the instance file, so that the
    next start reads what was edited there.

    Raises:
        UnknownInstance: no such file; the message lists the names.
    """
    if name not in instance_names():
        raise UnknownInstance(
            f"there is no instance '{name}' under {configs_dir() / 'instances'}; there are "
            f"{', '.join(instance_names())}. Choose one, or add a folder {name}/ with a dagster.yaml."
        )
    home = state_dir() / "instances" / name
    home.mkdir(parents=True, exist_ok=True)
    link = home / "dagster.yaml"
    target = configs_dir() / "instances" / name / "dagster.yaml"
    if not (link.is_symlink() and link.readlink() == target):
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    return home


def require_variables(name: str) -> None:
    """Check that every `{env: NAME}` of the instance file is set, all at once, before any server starts.

    Raises:
        MissingVariables: some are not; the message names them.
    """
    file = configs_dir() / "instances" / name / "dagster.yaml"
    missing = sorted({v for v in _variables(yaml.safe_load(file.read_text(encoding="utf-8"))) if v not in os.environ})
    if missing:
        raise MissingVariables(
            f"{file} reads {', '.join(missing)} from the environment, where there is no such variable; its first lines "
            "say what to set."
        )


def _variables(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if value.keys() == {"env"}:
            yield value["env"]
        else:
            for inner in value.values():
                yield from _variables(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _variables(inner)
