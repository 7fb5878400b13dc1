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


# A LLMOPS_CONFIGS_DIR with recipes of its own need not repeat the instance files that ship with the project.
_SHIPPED = Path(__file__).resolve().parent.parent / "configs"


def instance_names() -> list[str]:
    """The names under `instances/` of the configs folder and of the project's own, in order."""
    return sorted(_files())


def instance_file(name: str) -> Path:
    """The file of the instance `name`; one in the configs folder goes before one that ships with the project.

    Raises:
        UnknownInstance: no such file; the message lists the names.
    """
    files = _files()
    if name not in files:
        raise UnknownInstance(
            f"there is no instance '{name}' under {configs_dir() / 'instances'}; there are {', '.join(sorted(files))}. "
            "Choose one, or add a folder of that name with a dagster.yaml."
        )
    return files[name]


def _files() -> dict[str, Path]:
    folders = (_SHIPPED, configs_dir())
    return {file.parent.name: file for folder in folders for file in (folder / "instances").glob("*/dagster.yaml")}


def instance_home(name: str) -> Path:
    """The folder to use as DAGSTER_HOME for the instance `name`; it is made if it is not there.

    It lies under the state folder, because Dagster writes into its home, and links to the instance file, so that the
    next start reads what was edited there.

    Raises:
        UnknownInstance: as `instance_file`.
    """
    target = instance_file(name)
    home = state_dir() / "instances" / name
    home.mkdir(parents=True, exist_ok=True)
    link = home / "dagster.yaml"
    if not (link.is_symlink() and link.readlink() == target):
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    return home


def require_variables(name: str) -> None:
    """Check that every `{env: NAME}` of the instance file is set, all at once, before any server starts.

    Raises:
        MissingVariables: some are not; the message names them.
        UnknownInstance: as `instance_file`.
    """
    file = instance_file(name)
    missing = sorted({v for v in _variables(yaml.safe_load(file.read_text(encoding="utf-8"))) if v not in os.environ})
    if missing:
        raise MissingVariables(
            f"{file} reads {', '.join(missing)} from the environment, where there is no such variable; its first lines "
            "say what to set."
        )


def use_instance(name: str | None) -> None:
    """Point Dagster, here and in the processes that this one starts, at the instance `name`, if one is named.

    Raises:
        UnknownInstance, MissingVariables: as `instance_file` and `require_variables`.
    """
    if name:
        os.environ["DAGSTER_HOME"] = str(instance_home(name))
        require_variables(name)


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
