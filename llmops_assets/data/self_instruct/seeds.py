"""The seeds of Self-Instruct: instructions that people wrote, from files."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llmops_assets.data.formats.texts import optional_name
from llmops_assets.data.generation.specs import SeedsSource
from llmops_assets.data.jsonl import JsonLine
from llmops_assets.data.normalize import collapse_whitespace, comparison_key, normalize_text
from llmops_assets.data.quarantine import unreadable
from llmops_assets.data.records import QuarantinedRecord, Reason, RecordError
from llmops_assets.data.sources.file_sources import find_files, records_of


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
    for path, name in find_files(source, base_dir):
        for entry in records_of(path, name, source):
            if isinstance(entry, QuarantinedRecord):
                yield entry
                continue
            try:
                text = _instruction(entry)
                identity = optional_name(entry.value, "id") or f"{name}:{entry.line}"
                key = comparison_key(text)
                if key in first:
                    raise RecordError(Reason.EXACT_DUPLICATE, f"the same instruction is {first[key]}")
                first[key] = identity
                yield Seed(identity, text)
            except RecordError as error:
                yield unreadable(source.name, name, entry, error)


def _instruction(entry: JsonLine) -> str:
    if "instruction" not in entry.value:
        raise RecordError(Reason.MISSING_FIELD, f"no `instruction`; keys are {sorted(entry.value)}")
    text = entry.value["instruction"]
    if not isinstance(text, str):
        raise RecordError(Reason.WRONG_TYPE, f"`instruction` is a {type(text).__name__}, not a string")
    if not (text := collapse_whitespace(normalize_text(text))):
        raise RecordError(Reason.EMPTY, "`instruction` is empty")
    return text
