"""Writes a draft as the text of a recipe file, with a comment at each value that says where it comes from."""

from collections.abc import Sequence
from typing import Any

import yaml

from llmops_assets.config_import.draft import Draft, Entry
from llmops_assets.recipe import Recipe

_COMMENT_COLUMN = 40


def recipe_text(draft: Draft, title: str, command: str) -> str:
    """Return the YAML of `draft`, in the order of the recipe's sections."""
    lines = [f"# {title}", f"# Look at what `{command}` reported before you run it."]
    for section in Recipe.model_fields:
        if section in draft.entries:
            lines.append(_line("", section, draft.entries[section]))
            continue
        inside = {key: entry for key, entry in draft.entries.items() if key.startswith(f"{section}.")}
        if not inside:
            continue
        lines += ["", f"{section}:"]
        for key, entry in inside.items():
            leaf = key.partition(".")[2]
            lines += _sources(entry) if leaf == "sources" else [_line("  ", leaf, entry)]
    return "\n".join(lines) + "\n"


def _line(indent: str, key: str, entry: Entry) -> str:
    text = f"{indent}{key}: {_value(entry.value)}"
    return f"{text:<{_COMMENT_COLUMN}}  # {entry.comment}" if entry.comment else text


def _sources(entry: Entry) -> Sequence[str]:
    return ["  sources:" + (f"  # {entry.comment}" if entry.comment else "")] + [
        f"    - {_value(source)}" for source in entry.value
    ]


def _value(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6).strip().removesuffix("\n...")
