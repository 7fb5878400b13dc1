"""The seeds of Self-Instruct: instructions that people wrote, from files."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmops_assets.data.formats.texts import optional_name
from llmops_assets.data.generation.specs import SeedsSource
from llmops_assets.data.normalize import collapse_whitespace, comparison_key, normalize_text
from llmops_assets.data.records import QuarantinedRecord, Reason, RecordError
from llmops_assets.data.sources.file_sources import file_entries
from llmops_assets.data.sources.parsing import parsed


@dataclass(frozen=True, slots=True)
class Seed:
    """One instruction that a person wrote."""

    id: str
    instruction: str


def read_seeds(source: SeedsSource, base_dir: Path) -> Iterator[Seed | QuarantinedRecord]:
    """Yield the instruction of each record that has one, each text once; its instances are not needed.

    Raises MissingSourceError if there is no file, and UnreadableFileError for a broken one.
    """
    first: dict[str, str] = {}

    def parse(value: Mapping[str, Any], origin: str) -> list[Seed]:
        text = _instruction(value)
        identity = optional_name(value, "id") or origin
        if (earlier := first.setdefault(comparison_key(text), origin)) != origin:
            raise RecordError(Reason.EXACT_DUPLICATE, f"the same instruction is {earlier}")
        return [Seed(identity, text)]

    return parsed(source.name, file_entries(source, base_dir), parse)


def _instruction(value: Mapping[str, Any]) -> str:
    if "instruction" not in value:
        raise RecordError(Reason.MISSING_FIELD, f"no `instruction`; keys are {sorted(value)}")
    text = value["instruction"]
    if not isinstance(text, str):
        raise RecordError(Reason.WRONG_TYPE, f"`instruction` is a {type(text).__name__}, not a string")
    if not (text := collapse_whitespace(normalize_text(text))):
        raise RecordError(Reason.EMPTY, "`instruction` is empty")
    return text
