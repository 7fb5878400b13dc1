"""Data sets of the Hugging Face hub as sources, at a pinned revision; `datasets` is imported only when one is read.

With HF_HUB_OFFLINE=1 they are read from the hub's cache under HF_HOME, at the very revision, or not at all.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmops_assets.data.formats.conversations import parse_conversation
from llmops_assets.data.formats.eval_items import EvalItem, parse_eval_item
from llmops_assets.data.formats.preferences import Comparison, parse_comparisons
from llmops_assets.data.formats.texts import class_of, optional_name, parse_text
from llmops_assets.data.formats.turns import messages_of
from llmops_assets.data.jsonl import JsonLine, excerpt, parse_json_object
from llmops_assets.data.records import (
    Conversation,
    Document,
    QuarantinedRecord,
    Reason,
    RecordError,
    canonical_json,
    row_hash,
)
from llmops_assets.data.sources.content_hashes import file_hashes
from llmops_assets.data.sources.file_sources import MissingSourceError, conversation_of
from llmops_assets.data.sources.named_sets import AnyHubSource, resolved
from llmops_assets.data.sources.parsing import PlacedRow, parsed
from llmops_assets.data.sources.record_files import json_text_of
from llmops_assets.data.sources.source_facts import SourceFacts
from llmops_assets.data.sources.specs import (
    HubConversationsSource,
    HubEvalSource,
    HubPreferencesSource,
    HubSource,
    HubTextSource,
)
from llmops_assets.data.splits import Sample

Row = dict[str, Any]
# Columns that say of a row what it belongs to; they have no part in the draw.
_TOLD = ("category", "class", "group")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHARD = re.compile(r"(?P<head>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})(?!\d)")


def pinned_hub(source: AnyHubSource, base_dir: Path) -> AnyHubSource:
    """Return `source` with the set that its name stands for, at the commit that its revision is now.

    Raises MissingSourceError if the hub, or offline its cache, does not know.
    """
    source = resolved(source)
    if (base_dir / source.dataset).is_dir():
        return source
    return source.model_copy(update={"revision": _commit(source)})


def hub_facts(source: HubSource, base_dir: Path) -> SourceFacts:
    """Return what is known about a data set; its content hash is that of data set, commit and selection.

    For a local folder it is that of the folder's files and the selection. Raises MissingSourceError as `pinned_hub`.
    """
    source = pinned_hub(source, base_dir)
    local = base_dir / source.dataset
    content = _hash_folder(local) if local.is_dir() else f"{source.dataset}@{source.revision}"
    told_otherwise = {"name", "dataset", "revision", "license", "kind", "weight", "max_repeats"}
    selection = source.model_dump(exclude=told_otherwise)
    files = _files(local) if local.is_dir() else []
    return SourceFacts(
        source=source.name,
        kind=source.kind,
        license=source.license,
        revision=None if local.is_dir() else source.revision,
        content_hash=hashlib.sha256(f"{content}\0{canonical_json(selection)}".encode()).hexdigest(),
        files=len(files) or None,
        bytes=sum(path.stat().st_size for path in files) or None,
    )


def read_hub_rows(source: HubSource, base_dir: Path) -> Iterator[PlacedRow]:
    """Yield the rows of a data set with their place and 1-based number, checked as those of files are.

    Columns of pictures, sounds and other bytes are left out. Raises MissingSourceError.
    """
    return _entries(resolved(source), base_dir, None)


def read_hub_documents(source: HubTextSource, base_dir: Path) -> Iterator[Document | QuarantinedRecord]:
    """Yield the texts in `source.column`."""

    def parse(value: Row, origin: str) -> list[Document]:
        text, group = parse_text(value, key=source.column), optional_name(value, "group")
        identity = f"{source.name}/{origin.rpartition(':')[2]}"
        return [Document(identity, text, source.name, origin, group or identity, source.license)]

    return parsed(source.name, _entries(source, base_dir, source.column), parse)


def read_hub_conversations(
    source: HubConversationsSource, base_dir: Path
) -> Iterator[Conversation | QuarantinedRecord]:
    """Yield the conversations in `source.column`, a list of turns, or in whole rows of the layout `source.format`."""
    source = resolved(source)

    def parse(value: Row, origin: str) -> list[Conversation]:
        class_name, group = class_of(value, source.class_key), optional_name(value, "group")
        if source.column is None:
            layout, messages = parse_conversation(value, source.format)
        else:
            layout, messages = "messages", messages_of(value[source.column], key=source.column)
        return [conversation_of(messages, layout, source.name, origin, group=group, class_name=class_name)]

    return parsed(source.name, _entries(source, base_dir, source.column, source.class_key), parse)


def read_hub_comparisons(
    source: HubPreferencesSource, base_dir: Path
) -> Iterator[tuple[str, Comparison] | QuarantinedRecord]:
    """Yield (origin, preference) of the rows."""
    source = resolved(source)

    def parse(value: Row, origin: str) -> list[tuple[str, Comparison]]:
        return [(origin, comparison) for comparison in parse_comparisons(value, source.format)]

    return parsed(source.name, _entries(source, base_dir, None), parse)


def read_hub_eval_items(source: HubEvalSource, base_dir: Path) -> Iterator[EvalItem | QuarantinedRecord]:
    """Yield the eval items of the rows."""
    source = resolved(source)

    def parse(value: Row, origin: str) -> list[EvalItem]:
        item = parse_eval_item(value, source.format)
        return [replace(item, id=f"{source.name}/{item.id}", source=source.name, origin=origin)]

    return parsed(source.name, _entries(source, base_dir, None), parse)


def _entries(source: HubSource, base_dir: Path, column: str | None, also: str | None = None) -> Iterator[PlacedRow]:
    for row in _rows(source, base_dir, column, also):
        yield row if isinstance(row, QuarantinedRecord) else (_place(source), row)


def _place(source: HubSource) -> str:
    return f"{source.dataset}/{source.split}"


def _rows(
    source: HubSource, base_dir: Path, column: str | None, also: str | None = None
) -> Iterator[JsonLine | QuarantinedRecord]:
    """Yield the rows to use: `max_records` of those that differ, drawn by the hash of their content."""
    loaded = _loaded(source, base_dir)
    said: list[str] | None = None
    if column is None:
        # No layout reads them, and to decode them takes long.
        loaded = loaded.select_columns([f.name for f in loaded.features.arrow_schema if not _is_of_bytes(f.type)])
    else:
        columns = {column: "column"} if also is None else {column: "column", also: "class_key"}
        for name, key in columns.items():
            if name not in (loaded.column_names or []):
                raise MissingSourceError(
                    f"source '{source.name}': data set {source.dataset} has no column '{name}'; "
                    f"it has {loaded.column_names}. Set `{key}` to one of these"
                )
        said = list(columns)
        told = [name for name in _TOLD if name in loaded.column_names and name not in columns]
        loaded = loaded.select_columns([*said, *told])
    if source.max_records is None or len(loaded) <= source.max_records:
        for number, row in enumerate(loaded, 1):
            yield _checked(row, number, source)
        return
    sample: Sample[int] = Sample(source.max_records, seed=0)
    for number, row in enumerate(loaded, 1):
        sample.offer(number, _draw_key(_checked(row, number, source), said))
    for number in sample.items():
        yield _checked(loaded[number - 1], number, source)


def _is_of_bytes(kind: Any) -> bool:
    """Return whether an Arrow type is that of bytes, or of a picture or sound: bytes with a path."""
    import pyarrow

    if pyarrow.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _is_of_bytes(kind.field("bytes").type)
    return pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)


def _checked(row: Row, number: int, source: HubSource) -> JsonLine | QuarantinedRecord:
    """Return a row as the same row of a Parquet file is read: strictly, with dates and decimal numbers as texts."""
    try:
        return JsonLine(number, parse_json_object(json.dumps(row, default=json_text_of, ensure_ascii=False).encode()))
    except RecordError as error:
        reason, detail = error.reason, str(error)
    except UnicodeEncodeError as error:
        reason, detail = Reason.INVALID_UNICODE, str(error)
    except (TypeError, ValueError, OverflowError) as error:
        reason, detail = Reason.WRONG_TYPE, str(error)
    # The type alone of what JSON lacks: its text may hold an address in memory.
    shown = excerpt(json.dumps(row, default=lambda value: type(value).__name__, skipkeys=True))
    return QuarantinedRecord(source.name, _place(source), number, reason, detail, shown)


def _draw_key(row: JsonLine | QuarantinedRecord, said: list[str] | None) -> str:
    """Return the hash of what a row says in the columns `said`, None for all; of a row that is refused, its number."""
    if isinstance(row, QuarantinedRecord):
        return f"row {row.line}"
    return row_hash(row.value if said is None else {name: row.value[name] for name in said})


def _loaded(source: HubSource, base_dir: Path) -> Any:
    from datasets import load_dataset_builder

    folder, place, revision = base_dir / source.dataset, source.dataset, None
    try:
        if folder.is_dir():
            place = str(folder)
        elif _is_offline():
            place = str(_cached(source))
        else:
            revision = _commit(source)
        builder = load_dataset_builder(place, source.subset, data_dir=source.folder, revision=revision)
        if type(builder).__module__.startswith("datasets.packaged_modules.cache"):
            # It is what `datasets` has prepared of the set before, of whatever revision.
            raise _missing(source, "the hub does not answer")
        builder.download_and_prepare()
        return builder.as_dataset(split=source.split)
    except MissingSourceError:
        raise
    except Exception as error:  # load_dataset raises what its many loaders raise; to a reader they are all this one
        raise _missing(source, error) from error


def _cached(source: HubSource) -> Path:
    """Return the folder of the set's files at its revision in the hub's cache."""
    from huggingface_hub import snapshot_download

    folder = Path(
        snapshot_download(source.dataset, repo_type="dataset", revision=source.revision, local_files_only=True)
    )
    if missing := _missing_shard(folder):
        raise _missing(source, f"the cache lacks {missing}")
    return folder


def _missing_shard(folder: Path) -> str | None:
    """Return the name of a file that belongs to a series, as in train-00001-of-00004.parquet, and is not there."""
    series: dict[tuple[str, str], set[int]] = {}
    for path in _files(folder):
        # What follows the numbers may be a hash, which each file of a series has its own of.
        if found := _SHARD.match(path.relative_to(folder).as_posix()):
            series.setdefault((found["head"], found["count"]), set()).add(int(found["number"]))
    for (head, count), numbers in sorted(series.items()):
        if missing := set(range(int(count))) - numbers:
            return f"{head}-{min(missing):05}-of-{count}"
    return None


def _is_offline() -> bool:
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE


def _commit(source: HubSource) -> str:
    if source.revision is not None and _COMMIT.fullmatch(source.revision):
        return source.revision
    from huggingface_hub import HfApi

    try:
        if _is_offline():
            return _cached(source).name
        sha = HfApi().dataset_info(source.dataset, revision=source.revision).sha
    except MissingSourceError:
        raise
    except Exception as error:  # hub errors and those of the HTTP client have no common base
        raise _missing(source, error) from error
    if sha is None:
        raise _missing(source, "the hub names no commit")
    return sha


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _hash_folder(folder: Path) -> str:
    digest, files = hashlib.sha256(), _files(folder)
    for path, content in zip(files, file_hashes(files), strict=True):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()


def _missing(source: HubSource, cause: object) -> MissingSourceError:
    revision = f"@{source.revision}" if source.revision else ""
    return MissingSourceError(
        f"source '{source.name}': data set {source.dataset}{revision} (subset {source.subset}, split '{source.split}') "
        f"cannot be read: {cause}. Check `dataset`, `subset` and `split`, the network and HF_TOKEN; "
        f"pin `revision` and `hf download {source.dataset} --repo-type dataset --revision <commit>` to read it offline"
    )
