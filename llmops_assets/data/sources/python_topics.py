"""The language reference that ships with Python (`pydoc_data.topics`), one document per section."""

import re
from collections.abc import Iterator
from functools import cache

from llmops_assets.data.normalize import normalize_text
from llmops_assets.data.records import Document
from llmops_assets.data.sources.specs import PythonTopicsSource

LICENSE = "PSF-2.0"
_HEADING = re.compile(r"^(\S[^\n]*)\n([*=\-~^\"])\2{2,}[ ]*$", re.MULTILINE)


def read_python_topics(source: PythonTopicsSource) -> Iterator[Document]:
    """Yield the sections of every topic, short topics first; one group per topic.

    Topics quote one another whole (`compound` holds `if`, `with` and `try`). Sections are what is equal between them,
    so that deduplication finds it; short topics come first, so that the small group is the one that keeps the text.
    """
    for topic, index, title, body in _sections():
        head = f"{title}\n\n"
        yield Document(
            id=f"{source.name}/{topic}#{index}",
            text=head + body,
            source=source.name,
            origin=f"pydoc_data/topics.py:{topic}",
            group=f"topic/{topic}",
            license=LICENSE,
            body_start=len(head),
            metadata={"kind": "topic", "topic": topic, "title": title},
        )


@cache
def _sections() -> tuple[tuple[str, int, str, str], ...]:
    """Return (topic, number of the section, title, body) of every section with a body; 0 is what precedes headings."""
    from pydoc_data.topics import topics

    found: list[tuple[str, int, str, str]] = []
    for topic, raw in sorted(topics.items(), key=lambda item: (len(item[1]), item[0])):
        text = normalize_text(raw)
        headings = list(_HEADING.finditer(text))
        if not headings or text[: headings[0].start()].strip():
            found.append((topic, 0, topic, text[: headings[0].start() if headings else None].strip("\n")))
        ends = [*(heading.start() for heading in headings[1:]), len(text)][: len(headings)]
        for index, (heading, end) in enumerate(zip(headings, ends, strict=True), start=1):
            body = text[heading.end() : end].strip("\n")
            if body.strip():
                found.append((topic, index, heading[1].strip(), body))
    return tuple(found)
