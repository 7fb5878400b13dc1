"""What a config file says, key by key, with the line that says it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from llmops_assets.errors import LlmopsError


class ConfigImportError(LlmopsError):
    """A config that cannot become a recipe; the message names every problem with file, line and key."""


@dataclass(frozen=True)
class Setting:
    """One key of a config: `line` counts from 1 and is 0 for an override from the command line."""

    key: str
    value: Any
    file: Path
    line: int

    @property
    def where(self) -> str:
        """The place as error messages name it: `file:line: key`."""
        return f"{self.file}:{self.line}: {self.key}" if self.line else f"--{self.key} (command line)"


def read_settings(file: Path, groups: frozenset[str] = frozenset()) -> list[Setting]:
    """Return the keys of a YAML or JSON file in order.

    Mappings under a key of `groups`, such as `training:`, are opened, and their keys stand for themselves; all other
    values stay as nested as they are written.

    Raises:
        ConfigImportError: the file cannot be read, is no YAML mapping, or gives a key twice.
    """
    root = _compose(file)
    if not isinstance(root, yaml.MappingNode):
        raise ConfigImportError(f"{file}:1: holds no `key: value` lines; name a config file")
    return list(_settings(root, file, groups, {}))


def read_overrides(arguments: Sequence[str]) -> list[Setting]:
    """Return `--key=value` arguments as settings; values are read as YAML, so `2e-5` and `False` are what they look.

    Raises:
        ConfigImportError: an argument has another shape.
    """
    settings = []
    for argument in arguments:
        key, separator, value = argument.removeprefix("--").partition("=")
        if not separator or not key or not argument.startswith("--"):
            raise ConfigImportError(f"{argument}: overrides are written --key=value, such as --learning_rate=2e-5")
        try:
            read = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError) as error:  # ValueError: dates and numbers that there are not
            raise ConfigImportError(
                f"--{key} (command line): {value!r} is no YAML value ({_first_line(error)}); write a number, true, "
                "false, a name, or a text in quotes: --key='\"[text]\"'"
            ) from error
        settings.append(Setting(key.replace("-", "_"), read, Path(), 0))
    return settings


def override(settings: Sequence[Setting], overrides: Sequence[Setting]) -> list[Setting]:
    """Return `settings` with the values of `overrides` in place of those of the same key."""
    replaced = {setting.key for setting in overrides}
    return [setting for setting in settings if setting.key not in replaced] + list(overrides)


def _compose(file: Path) -> yaml.Node | None:
    try:
        return yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigImportError(f"{file}: cannot be read ({error}); name an existing config file") from error
    except yaml.YAMLError as error:
        raise ConfigImportError(f"{file}: is not valid YAML: {error}") from error


def _settings(root: yaml.MappingNode, file: Path, groups: frozenset[str], seen: dict[str, int]) -> Iterator[Setting]:
    constructor = yaml.SafeLoader("")
    for key_node, value_node in root.value:
        key, line = str(key_node.value), key_node.start_mark.line + 1
        if key in groups and isinstance(value_node, yaml.MappingNode):
            yield from _settings(value_node, file, groups, seen)
            continue
        if key in seen:
            raise ConfigImportError(f"{file}:{line}: {key}: is given twice (also in line {seen[key]}); keep one")
        seen[key] = line
        try:
            value = constructor.construct_object(value_node, deep=True)
        except (yaml.YAMLError, ValueError) as error:
            raise ConfigImportError(f"{file}:{line}: {key}: {error}; plain YAML values only") from error
        yield Setting(key, value, file, line)


def _first_line(error: Exception) -> str:
    return str(getattr(error, "problem", None) or error).splitlines()[0]
