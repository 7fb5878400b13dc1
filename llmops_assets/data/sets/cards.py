"""The data card of a set: a README.md as the Hugging Face hub has it, written from what the build counted."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

CARD_FILE = "README.md"
NOT_STATED = "not stated"
_Language = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")]
_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
# Those of the hub's list that data sets mostly have; its name for all others is `other`.
_HUB_LICENSES = frozenset(
    (
        *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "gpl-2.0", "gpl-3.0", "agpl-3.0", "lgpl-3.0", "mpl-2.0"),
        *("cc0-1.0", "cc-by-2.0", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-3.0"),
        *("cc-by-nc-4.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-4.0"),
        *("odc-by", "odbl", "pddl", "unlicense", "unknown"),
    )
)
# An underscore inside a word is only that.
_MEANS_SOMETHING = re.compile(r"[\\`*\[\]|]|(?<!\w)_|_(?!\w)")
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


class CardSpec(BaseModel):
    """What people have to say about the lane's data; what is left out, cards call "not stated"."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    language: list[_Language] = Field(default=[], description="ISO 639 codes, such as en.")
    collection: _Text | None = Field(default=None, description="How, by whom and when the data were collected.")
    intended_use: _Text | None = Field(default=None, description="What the data are for.")
    out_of_scope: _Text | None = Field(default=None, description="What they should not be used for.")
    limitations: _Text | None = Field(default=None, description="Known biases, gaps and risks.")
    personal_data: _Text | None = Field(default=None, description="What personal data they hold, and on which ground.")
    citation: _Text | None = Field(default=None, description="How to cite the data.")
    contact: _Text | None = Field(default=None, description="Whom to ask, and to tell of errors.")


@dataclass(frozen=True)
class CardFacts:
    """What a build knows of its set. Tables are rows of cells under the names of their columns; all are shown.

    `splits` has (file, rows, tokens or None) by the hub's name of the split, `licenses` SPDX expressions by source, and
    `features` the types of columns as the hub's `dataset_info` has them, where files may lack a column or hold nulls.
    """

    name: str
    about: str
    splits: Mapping[str, tuple[str, int, int | None]]
    licenses: Mapping[str, str]
    tables: Mapping[str, Sequence[Mapping[str, object]]] = field(default_factory=dict)
    gaps: Sequence[str] = ()
    features: Sequence[Mapping[str, object]] = ()


def write_card(folder: Path, facts: CardFacts, stated: CardSpec) -> None:
    """Write the card into the folder of the set."""
    (folder / CARD_FILE).write_text(card_text(facts, stated), encoding="utf-8")


def card_text(facts: CardFacts, stated: CardSpec) -> str:
    """Return the whole card, front matter included; the same facts give the same bytes."""
    from huggingface_hub import DatasetCardData

    licenses = sorted({_hub_license(part) for each in facts.licenses.values() for part in each.split(" AND ")})
    rows = sum(count for _, count, _ in facts.splits.values())
    data_files = [{"split": split, "path": file} for split, (file, count, _) in facts.splits.items() if count]
    front = DatasetCardData(
        pretty_name=facts.name,
        language=stated.language or None,
        license=licenses[0] if len(licenses) == 1 else licenses or None,
        task_categories=["text-generation"],
        size_categories=[next((name for limit, name in _SIZES if rows < limit), "n>1M")],
        configs=[{"config_name": "default", "data_files": data_files}],
    )
    if facts.features:
        front["dataset_info"] = {"features": [dict(feature) for feature in facts.features]}
    return f"---\n{front.to_yaml()}\n---\n\n{card_body(facts, stated)}"


def card_body(facts: CardFacts, stated: CardSpec) -> str:
    """Return the card as Markdown without its front matter."""
    splits = [
        {"split": split, "file": file, "rows": rows, **({} if tokens is None else {"tokens": tokens})}
        for split, (file, rows, tokens) in facts.splits.items()
    ]
    said = {name: getattr(stated, name) for name in CardSpec.model_fields}
    people = [{"": name.replace("_", " "), "stated": value} for name, value in said.items()]
    parts = [f"# {facts.name}", facts.about, _table(splits)]
    parts += [f"## {title}\n\n{_table(rows)}" for title, rows in facts.tables.items() if rows]
    parts.append("## What people say\n\n" + _table([{**row, "stated": row["stated"] or NOT_STATED} for row in people]))
    if facts.gaps:
        parts.append("## Known gaps\n\n" + "\n".join(f"- {inline(gap)}" for gap in facts.gaps))
    return "\n\n".join(parts) + "\n"


def inline(value: object) -> str:
    """Return a cell of a table: one line, in which neither Markdown nor HTML means anything; numbers in groups."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join(map(inline, value)) or "-"
    text = _MEANS_SOMETHING.sub(r"\\\g<0>", " ".join(str(value).split()))
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _table(rows: Sequence[Mapping[str, object]]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [columns, ["---"] * len(columns), *([inline(row.get(name)) for name in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _hub_license(expression: str) -> str:
    """Return the hub's name of an SPDX id, which has no versions of the data licences and no `-only`."""
    name = expression.strip("() ").lower()
    name = re.sub(r"-(?:only|or-later)$|(?<=^odc-by)-1\.0$|(?<=^odbl)-1\.0$|(?<=^pddl)-1\.0$", "", name)
    return name if name in _HUB_LICENSES else "other"
