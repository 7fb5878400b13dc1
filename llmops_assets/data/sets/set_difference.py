"""What differs between two versions of a data set: added, removed, changed and moved rows, by source and split."""

import json
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from llmops_assets.data.jsonl import excerpt
from llmops_assets.data.records import row_hash
from llmops_assets.data.sets.data_set import DataSetFiles

if TYPE_CHECKING:
    from numpy.typing import NDArray

Change = Literal["added", "removed", "changed", "moved"]
_MARKS: dict[Change, str] = {"added": "+", "removed": "-", "changed": "~", "moved": ">"}
CHANGES: tuple[Change, ...] = tuple(_MARKS)
# Rows without a source of their own are pairs that people voted on.
_VOTES = "votes"
_OFFSET_BITS = 48
_ODD = 0x9E3779B97F4A7C15


@dataclass
class SetDifference:
    """How the rows of one kind (documents, chunks, conversations, ...) differ between an old and a new version.

    A row of which source and content are in both versions is the same, and moved if its split is another; of the
    others, one with the id of an old one is changed. `counts` are by "source, split", with the old and the new split
    where these differ; `examples` are a few rows of each change.
    """

    unit: str
    old: int = 0
    new: int = 0
    counts: dict[Change, dict[str, int]] = field(default_factory=dict)
    examples: dict[Change, list[str]] = field(default_factory=dict)

    def total(self, change: Change) -> int:
        return sum(self.counts.get(change, {}).values())

    @property
    def is_empty(self) -> bool:
        return not any(map(self.total, CHANGES))


@dataclass(frozen=True)
class _Version:
    """Rows of one version: 64-bit hashes of identity and content, number of the label, and place in the files."""

    files: list[Path]
    identities: "NDArray[Any]"
    contents: "NDArray[Any]"
    labels: "NDArray[Any]"
    places: "NDArray[Any]"

    def row(self, index: int) -> dict[str, Any]:
        place = int(self.places[index])
        with self.files[place >> _OFFSET_BITS].open("rb") as stream:
            stream.seek(place & ((1 << _OFFSET_BITS) - 1))
            return json.loads(stream.readline())


def set_differences(old: Path, new: Path, examples: int = 3) -> list[SetDifference]:
    """Return how the data sets in two folders differ: documents and chunks of corpora, the rows of other sets.

    Documents, chunks and conversations have ids; the id of a pair is its prompt with both answers (one whose preference
    has turned is changed), that of a thumb its prompt and answer. Files are read one row at a time, and some 100 bytes
    a row are held. Two rows are taken for one once in 2^64.
    """
    return [
        _difference(unit, _existing(old, names), _existing(new, names), examples) for unit, names in _units(old, new)
    ]


def difference_text(differences: list[SetDifference]) -> str:
    """Return differences as plain text: a line of totals for each kind of row, counts by source, and examples."""
    lines: list[str] = []
    for each in differences:
        totals = ", ".join(f"{each.total(change):,} {change}" for change in CHANGES)
        lines.append(f"{each.unit}: {each.old:,} -> {each.new:,}; {totals}")
        for change in CHANGES:
            for label, count in sorted(each.counts.get(change, {}).items()):
                lines.append(f"  {change:<8} {count:>9,}  {label}")
            lines += [f"    {_MARKS[change]} {row}" for row in each.examples.get(change, [])]
    return "\n".join(lines)


def _units(old: Path, new: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield (kind of rows, the files that hold them) of sets of this kind."""
    documents = DataSetFiles(folder=Path()).documents.name
    if (new / documents).is_file() or (old / documents).is_file():
        yield "documents", (documents,)
        yield "chunks", ("train.jsonl",)
    else:
        yield "rows", ("train.jsonl", "heldout.jsonl")


def _existing(folder: Path, names: tuple[str, ...]) -> list[Path]:
    return [folder / name for name in names if (folder / name).is_file()]


def _difference(unit: str, old_files: list[Path], new_files: list[Path], examples: int) -> SetDifference:
    import numpy as np

    labels: dict[tuple[str, str], int] = {}
    old, new = _read(old_files, labels), _read(new_files, labels)
    names = list(labels)
    splits = np.array([split for _, split in names] or [""])
    _, same_old, same_new = np.intersect1d(
        _numbered(old.contents), _numbered(new.contents), assume_unique=True, return_indices=True
    )
    is_moved = splits[old.labels[same_old]] != splits[new.labels[same_new]]
    rest_old, rest_new = _without(old, same_old), _without(new, same_new)
    _, in_old, in_new = np.intersect1d(old.identities[rest_old], new.identities[rest_new], return_indices=True)
    result = SetDifference(unit, len(old.identities), len(new.identities))
    places: dict[Change, list[tuple[_Version, NDArray[Any]]]] = {
        "added": [(new, np.delete(rest_new, in_new))],
        "removed": [(old, np.delete(rest_old, in_old))],
        "changed": [(old, rest_old[in_old]), (new, rest_new[in_new])],
        "moved": [(old, same_old[is_moved]), (new, same_new[is_moved])],
    }
    for change, sides in places.items():
        pairs = np.stack([version.labels[at] for version, at in sides])
        kinds, counts = np.unique(pairs, axis=1, return_counts=True)
        found = {_label([names[code] for code in kind]): n for kind, n in zip(kinds.T, counts.tolist(), strict=True)}
        result.counts[change] = dict(sorted(found.items()))
        result.examples[change] = [
            " => ".join(dict.fromkeys(_said(version.row(at[place])) for version, at in sides))
            for place in range(min(examples, pairs.shape[-1]))
        ]
    return result


def _numbered(contents: "NDArray[Any]") -> "NDArray[Any]":
    """Return `contents` made unique: the first row of a content, the second, and so on have keys of their own."""
    import numpy as np

    order = np.argsort(contents, kind="stable")
    ordered = contents[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(ordered) else order
    counts = np.diff(np.append(starts, len(ordered)))
    ranks = np.arange(len(ordered)) - np.repeat(starts, counts)
    keys = np.empty_like(contents)
    keys[order] = ordered + ranks.astype(np.uint64) * np.uint64(_ODD)
    return keys


def _without(version: _Version, found: "NDArray[Any]") -> "NDArray[Any]":
    """Return the other rows, in the order of their hashes, so that the first ones are a fair sample."""
    import numpy as np

    others = np.delete(np.arange(len(version.identities)), found)
    return others[np.argsort(version.identities[others], kind="stable")]


def _label(sides: list[tuple[str, str]]) -> str:
    """Return "source, split" of a row, with both splits where it has been in another one."""
    source, split = sides[-1]
    return f"{source}, {split}" if sides[0][1] == split else f"{source}, {sides[0][1]} to {split}"


def _read(files: list[Path], labels: dict[tuple[str, str], int]) -> _Version:
    import numpy as np

    identities, contents, places, codes = array("Q"), array("Q"), array("Q"), array("I")
    for number, file in enumerate(files):
        offset = 0
        with file.open("rb") as stream:
            for line in stream:
                row = json.loads(line)
                identity, content = _named(row)
                label = (str(row.get("source", _VOTES)), str(row.get("split", file.stem)))
                identities.append(_hash(identity))
                contents.append(_hash([label[0], content]))
                codes.append(labels.setdefault(label, len(labels)))
                places.append(number << _OFFSET_BITS | offset)
                offset += len(line)
    kinds = ((identities, np.uint64), (contents, np.uint64), (codes, np.uint32), (places, np.uint64))
    return _Version(files, *(np.array(column, kind) for column, kind in kinds))


def _named(row: Mapping[str, Any]) -> tuple[object, object]:
    """Return what makes a row the same one in another version, and all that it says."""
    if "chosen" in row:
        chosen, rejected = _text(row["chosen"]), _text(row["rejected"])
        return [row["prompt"], *sorted((chosen, rejected))], [row["prompt"], chosen, rejected]
    if "completion" in row:
        thumb = [row["prompt"], _text(row["completion"])]
        return thumb, [*thumb, row["label"]]
    return row["id"], row["text"] if "text" in row else row["messages"]


def _said(row: Mapping[str, Any]) -> str:
    """Return a row for a person to recognise it by, in one line."""
    if "chosen" in row:
        text = f"{row['prompt'][-1]['content']} | {_text(row['chosen'])} | not {_text(row['rejected'])}"
    elif "completion" in row:
        text = f"{row['prompt'][-1]['content']} | {_text(row['completion'])} | {'up' if row['label'] else 'down'}"
    else:
        turns = row.get("messages", [])
        said = row.get("text") or " | ".join(turn["content"] for turn in turns if turn["role"] != "system")
        text = f"{row['id']}: {said}"
    return excerpt(" ".join(text.split()))


def _text(answer: str | list[dict[str, Any]]) -> str:
    return answer if isinstance(answer, str) else "\n".join(turn["content"] for turn in answer)


def _hash(value: object) -> int:
    return int(row_hash(value)[:16], 16)
