"""Small tables and examples for asset pages. User text is fenced, so Markdown in it is shown, not rendered."""

import base64
import json
import re
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import dagster as dg


def counts_table(counts: Mapping[str, int]) -> dg.TableMetadataValue:
    """Return a two-column table of counts, largest first."""
    rows = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return dg.MetadataValue.table(
        [dg.TableRecord({"what": name, "count": count}) for name, count in rows],
        schema=dg.TableSchema([dg.TableColumn("what", "string"), dg.TableColumn("count", "int")]),
    )


def histogram_table(bands: Mapping[str, int]) -> dg.MarkdownMetadataValue:
    """Return a histogram as fenced text, one bar a band."""
    top = max(bands.values(), default=1)
    width = max((len(band) for band in bands), default=1)
    lines = [f"{band:>{width}}  {count:>6}  {'█' * round(40 * count / top)}" for band, count in bands.items()]
    return dg.MetadataValue.md("```text\n" + "\n".join(lines) + "\n```")


def example_rows(file: Path, show: Callable[[dict[str, Any]], str], count: int = 3) -> dg.MarkdownMetadataValue:
    """Return the first `count` rows of a JSONL file, each as `show` prints it, fenced."""
    with file.open(encoding="utf-8") as stream:
        rows = [show(json.loads(line)) for line in islice(stream, count)]
    return dg.MetadataValue.md("\n\n".join(fenced(row) for row in rows))


def as_json(value: object) -> str:
    """Return `value` on several lines, letters of every script as they are."""
    return json.dumps(value, indent=1, ensure_ascii=False)


def inline_png(file: Path, title: str) -> dg.MarkdownMetadataValue:
    """Return a picture that the page shows without another request."""
    data = base64.b64encode(file.read_bytes()).decode()
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{data})")


def fenced(text: str) -> str:
    """Return `text` in a Markdown fence that is longer than any run of backticks inside it."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(4, longest + 1)
    return f"{fence}text\n{text}\n{fence}"
