"""YAML files that people write: read strictly, with the line of every key at hand for messages."""

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import yaml

from llmops_assets.errors import LlmopsError


class UnreadableYaml(LlmopsError):
    """A file is missing, is not UTF-8, or is no YAML that can be read without doubt."""


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, and keys that are no text or number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is a list or a mapping", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def read_yaml(path: Path) -> tuple[Any, yaml.Node | None]:
    """Return what a file holds, and its nodes for `line_of`. Raises UnreadableYaml, naming file and line."""
    try:
        text = path.read_text(encoding="utf-8")
        return yaml.load(text, Loader=_StrictLoader), yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        raise UnreadableYaml(f"{path}: cannot be read ({error.strerror}); name an existing recipe file") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UnreadableYaml(f"{path}:{line}: is not UTF-8 ({error.reason}); save the file as UTF-8") from error
    except yaml.YAMLError as error:
        raise UnreadableYaml(f"{path}: is not valid YAML: {error}") from error


def line_of(node: yaml.Node | None, location: Sequence[Any]) -> int:
    """Return the line (from 1) of the deepest part of `location` that the file really has."""
    line = 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            match = next(((k, v) for k, v in node.value if k.value == part), None)
            if match is None:
                continue  # the tag of a discriminated union, or a missing key: stay at the parent
            line, node = _line(match[0]), match[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            item: yaml.Node = node.value[part]
            line, node = _line(item), item
    return line


def _line(node: yaml.Node) -> int:
    assert node.start_mark is not None, "yaml.compose marks every node"
    return node.start_mark.line + 1
