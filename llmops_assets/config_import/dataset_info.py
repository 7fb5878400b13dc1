"""Data sets by the names of LLaMA-Factory's `dataset_info.json`, as sources of a lane."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmops_assets.config_import.dataset_rows import (
    Columns,
    as_conversation,
    as_text,
    as_thumb,
    is_lane_conversation,
    read_rows,
)
from llmops_assets.config_import.draft import Joined
from llmops_assets.config_import.places import Place, source_name
from llmops_assets.config_import.values import Unusable

_OTHER_HUBS = ("ms_hub_url", "om_hub_url", "script_url", "cloud_file_name")


@dataclass(frozen=True)
class DatasetInfo:
    """The registry of a data folder; `entries` is None where no dataset_info.json was found."""

    folder: Path
    entries: dict[str, dict[str, Any]] | None

    @classmethod
    def find(cls, folder: str, config: Path) -> "DatasetInfo":
        """Look for the registry in `folder`, from the config and from the working directory, and beside the config."""
        for place in (config.parent / folder, Path(folder), config.parent):
            file = place / "dataset_info.json"
            if file.is_file():
                return cls(place, json.loads(file.read_text(encoding="utf-8")))
        return cls(config.parent, None)


def add_sources(
    joined: Joined, section: str, info: DatasetInfo, datasets: list[str], limit: int | None, place: Place
) -> None:
    """Write `<section>.sources`; `limit` is how many rows of each data set count, its first ones in a file."""
    sources: list[dict[str, Any]] = []
    for name in datasets:
        try:
            source = _source(joined, section, info, name, limit, place)
        except Unusable as error:
            joined.refuse("dataset", f"{name}: {error}")
            continue
        sources.append(source)
        what = source.get("dataset") or source.get("pattern")
        joined.draft.tell("dataset", "translated", f"{name} -> a source of kind {source['kind']}: {what}")
        if source["kind"] == "hub":
            joined.draft.tell("dataset", "look", f"{name} is not pinned: set its revision to a commit of the hub")
    joined.draft.put(f"{section}.sources", sources, "dataset", joined.settings.get("dataset"))
    joined.tell("max_samples", "translated", "the first so many rows of a file; of a hub data set, so many by hash")


def _source(
    joined: Joined, section: str, info: DatasetInfo, name: str, limit: int | None, place: Place
) -> dict[str, Any]:
    entry = (info.entries or {}).get(name)
    if entry is None and "/" in name and section in _PLAIN:
        entry = {"hf_hub_url": name, "formatting": "sharegpt", **_PLAIN[section]}
    if entry is None:
        where = (
            f"{info.folder / 'dataset_info.json'} has {', '.join(sorted(info.entries))}"
            if info.entries
            else (f"no dataset_info.json in dataset_dir or {info.folder}")
        )
        raise Unusable(
            f"data set not found: {where}. Add it there, set dataset_dir, or name a hub data set (owner/name)"
        )
    columns = Columns.of(entry)
    if entry.get("hf_hub_url"):
        return _hub_source(section, name, entry, columns, limit)
    if not entry.get("file_name"):
        other = next((key for key in _OTHER_HUBS if entry.get(key)), "nothing")
        raise Unusable(f"comes from {other}; a lane reads local files and the Hugging Face hub")
    return _file_source(joined, section, info.folder / entry["file_name"], name, columns, limit, place)


_PLAIN: dict[str, dict[str, Any]] = {
    "corpus": {"columns": {"prompt": "text"}},
    "sft_set": {
        "columns": {"messages": "messages"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
    },
}


def _hub_source(section: str, name: str, entry: dict[str, Any], columns: Columns, limit: int | None) -> dict[str, Any]:
    if entry.get("folder") or entry.get("num_samples"):
        raise Unusable("`folder` and `num_samples` of a hub data set cannot be honoured; download it and name the file")
    if section == "thumbs_set":
        raise Unusable("a lane reads thumbs from local files; download the set as JSON, and name the file")
    if section == "sft_set" and not columns.are_lane_messages:
        raise Unusable(
            f"rows of {entry['hf_hub_url']} are no lists of role and content, which is all that a lane reads from the "
            "hub; download the data set as JSON, name the file in dataset_info.json, and import again to convert it"
        )
    source = {
        "kind": "hub",
        "name": source_name(name),
        "dataset": entry["hf_hub_url"],
        "subset": entry.get("subset"),
        "split": entry.get("split") or "train",
        "column": columns.messages if section == "sft_set" else columns.prompt,
        "max_records": limit,
    }
    return {key: value for key, value in source.items() if value is not None}


def _file_source(
    joined: Joined, section: str, file: Path, name: str, columns: Columns, limit: int | None, place: Place
) -> dict[str, Any]:
    rows = read_rows(file)
    kept = rows if limit is None else rows[:limit]
    source = {"kind": "files", "name": source_name(name)}
    readable = file.is_file() and file.suffix == ".jsonl" and len(kept) == len(rows)
    if section == "corpus":
        if readable and columns.prompt == "text":
            return {**source, "pattern": place.pattern(file)}
        converted = [as_text(row, columns, file, number) for number, row in enumerate(kept, start=1)]
    elif section == "thumbs_set":
        converted = [as_thumb(row, columns, file, number) for number, row in enumerate(kept, start=1)]
    else:
        fits = columns.are_lane_messages and columns.messages == "messages" and not columns.system
        if readable and fits and all(is_lane_conversation(row) for row in rows):
            return {**source, "pattern": place.pattern(file)}
        converted = [as_conversation(row, columns, file, number) for number, row in enumerate(kept, start=1)]
    target = place.data_file(name)
    joined.draft.files[target] = converted
    joined.draft.tell("dataset", "translated", f"{name}: {len(converted)} of {len(rows)} rows of {file} -> {target}")
    return {**source, "pattern": place.pattern(target)}
