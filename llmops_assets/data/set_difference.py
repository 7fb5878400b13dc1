"""What differs between two versions of a data set: added, removed, changed and moved rows, by source and split."""

import json
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from llmops_assets.data.jsonl import excerpt
from llmops_assets.data.records import row_hash
from llmops_assets.data.specs import DataSetFiles

if TYPE_CHECKING:
    from numpy.typing import NDArray

Change = Literal["added", "removed", "changed", "moved"]
_MARKS: dict[Change, str] = {"added": "+", "removed": "-", "changed": "~", "moved": ">"}
CHANGES: tuple[Change, ...] = tuple(_MARKS)
# Rows without a source of their own are pairs that people voted on.
_VOTES = "votes"
_OFFSET_BITS = 48


@dataclass
class SetDifference:
    """How the rows of one kind (documents, chunks, conversations, ...) differ between an old and a new version.

    A changed row has the id of an old one and another content, a moved one the content too and another split. `counts`
    are by "source, split", the old and the new split for moved ones; `examples` are a few rows of each change.
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
    """Rows of one version, sorted by identity: 64-bit hashes of identity and content, label, and place in the files."""

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

    Documents, chunks and conversations are the same by their id; pairs by prompt and both answers (changed is one whose
    preference has turned), thumbs by prompt and answer (changed is one with another label). Files are read one row at a
    time; held are 28 bytes a row. Two rows are taken for one once in 2^64.
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
    _, in_old, in_new = np.intersect1d(old.identities, new.identities, assume_unique=True, return_indices=True)
    changed = old.contents[in_old] != new.contents[in_new]
    splits = np.array([split for _, split in names] or [""])
    moved = ~changed & (splits[old.labels[in_old]] != splits[new.labels[in_new]])
    added = np.setdiff1d(np.arange(len(new.identities)), in_new)
    removed = np.setdiff1d(np.arange(len(old.identities)), in_old)
    result = SetDifference(unit, len(old.identities), len(new.identities))
    places: dict[Change, list[tuple[_Version, NDArray[Any]]]] = {
        "added": [(new, added)],
        "removed": [(old, removed)],
        "changed": [(old, in_old[changed]), (new, in_new[changed])],
        "moved": [(old, in_old[moved]), (new, in_new[moved])],
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
                contents.append(_hash(content))
                codes.append(labels.setdefault(label, len(labels)))
                places.append(number << _OFFSET_BITS | offset)
                offset += len(line)
    hashes = np.frombuffer(identities, np.uint64) if identities else np.zeros(0, np.uint64)
    unique, order = np.unique(hashes, return_index=True)
    return _Version(
        files,
        unique,
        *(
            np.array(column, kind)[order]
            for column, kind in ((contents, np.uint64), (codes, np.uint32), (places, np.uint64))
        ),
    )


def _named(row: Mapping[str, Any]) -> tuple[object, object]:
    """Return what makes a row the same one in another version, and what may have changed in it."""
    if "chosen" in row:
        chosen, rejected = _text(row["chosen"]), _text(row["rejected"])
        return [row["prompt"], *sorted((chosen, rejected))], chosen
    if "completion" in row:
        return [row["prompt"], _text(row["completion"])], row["label"]
    return row["id"], row["text"] if "text" in row else row["messages"]


def _said(row: Mapping[str, Any]) -> str:
    """Return a row for a person to recognise it by, in one line."""
    if "chosen" in row:
        text = f"{row['prompt'][-1]['content']} | {_text(row['chosen'])} | not {_text(row['rejected'])}"
    elif "completion" in row:
        text = f"{row['prompt'][-1]['content']} | {_text(row['completion'])} | {'up' if row['label'] else 'down'}"
    else:
        said = (
            row["text"]
            if "text" in row
            else " | ".join(turn["content"] for turn in row["messages"] if turn["role"] != "system")
        )
        text = f"{row['id']}: {said}"
    return excerpt(" ".join(text.split()))


def _text(answer: object) -> str:
    return answer if isinstance(answer, str) else "\n".join(turn["content"] for turn in answer)  # pyright: ignore


def _hash(value: object) -> int:
    return int(row_hash(value)[:16], 16)
