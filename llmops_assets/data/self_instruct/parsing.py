"""Reads what a generator wrote: numbered lists, yes or no, and instances of a task."""

import re
from dataclasses import dataclass

from llmops_assets.data.normalize import collapse_whitespace

# "9. ", "9) ", "**9.** ", "Task 9: "; and the forms of Chinese, which take no space.
_NUMBER = re.compile(
    r"^[ \t]*(?:[*_#]+[ \t]*)?(?:Task[ \t]+)?\d{1,4}[ \t]*(?:[*_]+)?(?:[.):](?:[*_]+)?[ \t]+|[、\uff0e\uff1a])",
    re.MULTILINE | re.IGNORECASE,
)
_FIELD = re.compile(
    r"^[ \t]*(?:[*_]{0,2})(?P<name>Input|Output|Class label)(?:[*_]{0,2}):(?:[*_]{0,2})[ \t]*",
    re.MULTILINE | re.IGNORECASE,
)
# A line that stands between two instances and belongs to neither.
_HEADING = re.compile(r"[*_# ]*(?:(?:Example|Instance)\s*\d*[.:)]?|\d{1,3}[.)]|-{3,})[*_ ]*", re.IGNORECASE)
_YES_OR_NO = re.compile(r"\b(yes|no)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Instance:
    """An input, empty for tasks that have none, and its output."""

    input: str
    output: str


def numbered_items(text: str) -> list[str]:
    """Return the items of a numbered list, on one line each; what stands before the first number is left out."""
    starts = list(_NUMBER.finditer(text))
    ends = [*(match.start() for match in starts[1:]), len(text)]
    return [collapse_whitespace(text[match.end() : end]) for match, end in zip(starts, ends, strict=False)]


def yes_or_no(text: str) -> bool | None:
    """Return what the response says first; None if it says neither."""
    found = _YES_OR_NO.search(text)
    return None if found is None else found[1].casefold() == "yes"


def instances_of(text: str, *, output_first: bool) -> list[Instance]:
    """Return the instances that a response holds, in order.

    The field that comes first by the order asked for opens an instance. One without an input is a task that needs none;
    one without an output is for the filters to reject. A response that pairs its fields in the other order throughout
    is read in that; of one that begins so and does not go on so, nobody can tell which belongs to which: it holds none.
    """
    matches = list(_FIELD.finditer(text))
    names = ["input" if match["name"].casefold() == "input" else "output" for match in matches]
    first, second = ("output", "input") if output_first else ("input", "output")
    if names[:1] == [second]:
        if names == [second, first] * (len(names) // 2):
            first = second
        elif output_first:
            return []
    found: list[Instance] = []
    held: dict[str, str] = {}

    def finish() -> None:
        if held:
            found.append(Instance(held.get("input", ""), held.get("output", "")))
            held.clear()

    for index, (name, match) in enumerate(zip(names, matches, strict=True)):
        end = matches[index + 1].start() if index + 1 < len(matches) else len(text)
        if name == first or name in held:
            finish()
        held[name] = _without_heading(text[match.end() : end])
    finish()
    return found


def _without_heading(text: str) -> str:
    """Return a field without the heading of the next instance below it; the first line is never one."""
    text = text.strip()
    while "\n" in text:
        above, _, last = text.rpartition("\n")
        if _HEADING.fullmatch(last.strip()) is None:
            break
        text = above.rstrip()
    return text
