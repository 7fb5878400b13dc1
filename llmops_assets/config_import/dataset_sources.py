"""Data sets of LLaMA-Factory as sources of a lane: read where they lie, converted, or refused."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmops_assets.config_import.dataset_info import DatasetInfo
from llmops_assets.config_import.draft import Joined
from llmops_assets.config_import.places import Place, source_name
from llmops_assets.config_import.row_files import is_lane_conversation, read_rows
from llmops_assets.config_import.values import Unusable
from llmops_assets.data.records import RecordError
from llmops_assets.data.sources.registry.columns import Columns, check_purpose, unread_keys
from llmops_assets.data.sources.registry.entries import ELSEWHERE, RegistryError
from llmops_assets.data.sources.registry.rows import AS_RECORD

# What a hub data set that no registry describes is taken for.
_PLAIN: dict[str, dict[str, Any]] = {
    "corpus": {"columns": {"prompt": "text"}},
    "sft_set": {
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "system_tag": "system",
        },
    },
}


def sources_of(
    joined: Joined, section: str, info: DatasetInfo, datasets: list[str], limit: int | None, place: Place
) -> list[dict[str, Any]]:
    """Return the sources of a section; `limit` is how many rows of each data set count, its first ones in a file.

    What cannot be a source is reported as a problem of the draft.
    """
    sources: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(datasets):
        try:
            source = _source(joined, section, info, name, limit, place)
            if source["name"] in sources:
                raise Unusable(f"two data sets would be the source {source['name']}; rename one in dataset_info.json")
        except (Unusable, RegistryError) as error:
            joined.refuse("dataset", f"{name}: {error}")
            continue
        sources[source["name"]] = source
        what = source.get("dataset") or source.get("pattern")
        joined.draft.tell("dataset", "translated", f"{name} -> a source of kind {source['kind']}: {what}")
        if source["kind"] == "hub":
            joined.draft.tell("dataset", "look", f"{name} is not pinned: set its revision to a commit of the hub")
    joined.tell("max_samples", "translated", "the first so many rows of a file; of a hub data set, so many by hash")
    return list(sources.values())


def _source(
    joined: Joined, section: str, info: DatasetInfo, name: str, limit: int | None, place: Place
) -> dict[str, Any]:
    plain = not info.online and name not in (info.entries or {}) and "/" in name and section in _PLAIN
    entry = {"hf_hub_url": name, **_PLAIN[section]} if plain else info.entry(name)
    columns = Columns.of(entry)
    if entry.get("num_samples") is not None:
        raise Unusable(
            "`num_samples` draws rows at random in LLaMA-Factory, again and again where there are too few; remove it "
            "and set max_samples for the first rows, or draw them into a file of their own"
        )
    check_purpose(columns, section)
    if ignored := unread_keys(entry):
        joined.draft.tell("dataset", "unread", f"{name}: {', '.join(ignored)}: LLaMA-Factory does not read it either")
    if entry.get("hf_hub_url"):
        return _hub_source(section, name, entry, columns, limit)
    if other := next((key for key in (*ELSEWHERE, "cloud_file_name") if key in entry), None):
        raise Unusable(f"comes from {other}; a lane reads local files and the Hugging Face hub")
    file = entry.get("file_name")
    if not isinstance(file, str) or not file:
        raise Unusable(f"`file_name` must name a file or folder, and is {file!r}; mend it in dataset_info.json")
    if entry.get("split") not in (None, "train"):
        raise Unusable(f"`split: {entry['split']}` of a file cannot be honoured; write those rows to a file")
    return _file_source(joined, section, info.folder / file, name, columns, limit, place)


def _hub_source(
    section: str, name: str, entry: Mapping[str, Any], columns: Columns, limit: int | None
) -> dict[str, Any]:
    to_convert = "download the data set as JSON, name the file in dataset_info.json, and import again to convert it"
    if section == "preferences" and not _is_pair_layout(columns):
        raise Unusable(f"rows of {entry['hf_hub_url']} are in no layout of pairs that a lane reads; {to_convert}")
    if section == "thumbs_set":
        raise Unusable("a lane reads thumbs from local files; download the set as JSON, and name the file")
    if section == "sft_set" and not columns.are_lane_messages:
        raise Unusable(
            f"rows of {entry['hf_hub_url']} are no lists of turns; where they have instruction and input, a lane puts "
            f"an empty line between them and LLaMA-Factory a line break; {to_convert}"
        )
    if section == "sft_set" and columns.tools:
        raise Unusable(f"`columns.tools` is a second column, and a lane reads one from the hub; {to_convert}")
    if section == "sft_set" and columns.system:
        raise Unusable(f"`columns.system` is a second column, and a lane reads one from the hub; {to_convert}")
    if section == "corpus" and (columns.query or not columns.prompt):
        raise Unusable(f"its texts are not in one column `prompt`, which a lane reads from the hub; {to_convert}")
    source = {
        "kind": "hub",
        "name": source_name(name),
        "dataset": entry["hf_hub_url"],
        "subset": entry.get("subset"),
        "folder": entry.get("folder"),
        "split": entry.get("split") or "train",
        "column": {"sft_set": columns.messages, "corpus": columns.prompt}.get(section),
        "max_records": limit,
        "format": "sharegpt" if section == "preferences" else None,
    }
    return {key: value for key, value in source.items() if value is not None}


def _file_source(
    joined: Joined, section: str, file: Path, name: str, columns: Columns, limit: int | None, place: Place
) -> dict[str, Any]:
    rows = read_rows(file)
    kept = rows if limit is None else rows[:limit]
    source = {"kind": "files", "name": source_name(name)}
    if section == "preferences":
        # Other columns of the rows could be taken for a prompt too.
        source["format"] = "sharegpt"
    converted = [_record(section, row, columns, file, number) for number, row in enumerate(kept, start=1)]
    if file.is_file() and file.suffix == ".jsonl" and len(kept) == len(rows) and _fits(section, columns, rows):
        return {**source, "pattern": place.pattern(file)}
    target = place.data_file(section, name)
    joined.draft.keep(target, converted)
    joined.draft.tell("dataset", "translated", f"{name}: {len(converted)} of {len(rows)} rows of {file} -> {target}")
    return {**source, "pattern": place.pattern(target)}


def _record(section: str, row: dict[str, Any], columns: Columns, file: Path, number: int) -> dict[str, Any]:
    if section == "corpus" and file.suffix == ".txt":
        return {"text": row["text"]}
    try:
        return AS_RECORD[section](row, columns)
    except RecordError as error:
        raise Unusable(f"{file}: row {number}: {error}") from error


def _fits(section: str, columns: Columns, rows: list[dict[str, Any]]) -> bool:
    """Whether a lane reads the rows as they are."""
    if section == "corpus":
        return columns.prompt == "text" and not columns.query
    if section == "preferences":
        return _is_pair_layout(columns)
    messages = columns.are_lane_messages and columns.messages == "messages" and not columns.system
    messages = messages and columns.tools in (None, "tools")
    return section == "sft_set" and messages and all(is_lane_conversation(row) for row in rows)


def _is_pair_layout(columns: Columns) -> bool:
    """Whether a lane reads the rows as pairs of turns and two answers, as they are."""
    named = (columns.messages, columns.chosen, columns.rejected) == ("conversations", "chosen", "rejected")
    return named and columns.are_lane_messages and not columns.system and columns.tools in (None, "tools")
