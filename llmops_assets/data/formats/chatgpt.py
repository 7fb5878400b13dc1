"""Exports of ChatGPT: a conversation is a tree of messages, in which edits and regenerated answers are branches.

What a person saw is kept: user and assistant texts along the path to `current_node`. Messages between the assistant and
its tools, hidden system messages and empty ones are passed over; several messages of one side in a row are one turn.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llmops_assets.data.normalize import comparison_key
from llmops_assets.data.records import Reason, RecordError

Record = Mapping[str, Any]
Turns = list[dict[str, str]]
_SPEAKERS = ("user", "assistant")


@dataclass(frozen=True)
class _Tree:
    nodes: Mapping[str, Any]
    current: str

    @classmethod
    def of(cls, value: Record) -> "_Tree":
        nodes, current = value["mapping"], value.get("current_node")
        if not isinstance(nodes, Mapping) or not all(isinstance(node, Mapping) for node in nodes.values()):
            raise RecordError(Reason.WRONG_TYPE, "`mapping` is no object of messages by id")
        if not isinstance(current, str) or current not in nodes:
            raise RecordError(Reason.MISSING_FIELD, f"`current_node` is {current!r}, which `mapping` does not hold")
        return cls(nodes, current)

    def path(self, last: str) -> list[str]:
        """Return the ids from the root to `last`."""
        ids: dict[str, None] = {}  # keeps their order
        at: object = last
        while isinstance(at, str) and at in self.nodes:
            if at in ids:
                raise RecordError(Reason.WRONG_TYPE, f"`mapping` goes round in a circle at {at!r}")
            ids[at] = None
            at = self.nodes[at].get("parent")
        return list(ids)[::-1]

    def children(self, identity: str) -> list[str]:
        children = self.nodes[identity].get("children")
        if not isinstance(children, list):
            return []
        return [child for child in children if isinstance(child, str) and child in self.nodes]

    def said(self, identity: str) -> tuple[str, str] | None:
        """Return who said what in a message, or None for one that nobody saw."""
        message = self.nodes[identity].get("message")
        if not isinstance(message, Mapping):
            return None
        author, content = message.get("author"), message.get("content")
        role = author.get("role") if isinstance(author, Mapping) else None
        if role not in _SPEAKERS or not isinstance(content, Mapping) or _is_hidden(message):
            return None
        text = _text(content, identity)
        return (role, text) if text.strip() else None


def kept_turns(value: Record) -> Turns:
    """Return the turns of the branch that an export shows last; a question at its end without an answer is left out.

    Raises RecordError if the tree is broken or holds a picture on that branch.
    """
    tree = _Tree.of(value)
    turns = _turns(tree, tree.path(tree.current))
    return turns[:-1] if turns and turns[-1]["role"] == "user" else turns


def regenerated(value: Record) -> Iterator[tuple[Turns, str, str]]:
    """Yield (prompt, kept answer, given up answer) for every answer on the kept branch that has others beside it.

    That one was kept says little: people regenerate for many reasons, and the last answer is not always the best.
    Raises RecordError as `kept_turns` does.
    """
    tree = _Tree.of(value)
    path = tree.path(tree.current)
    for index, identity in enumerate(path[:-1]):
        siblings = [child for child in tree.children(identity) if child != path[index + 1]]
        prompt = _turns(tree, path[: index + 1]) if siblings else []
        if not prompt or prompt[-1]["role"] != "user":
            continue
        kept = _answer(tree, path[index + 1 :])
        for sibling in siblings:
            other = _answer(tree, _newest_below(tree, sibling))
            if kept and other and comparison_key(kept) != comparison_key(other):
                yield prompt, kept, other


def _turns(tree: _Tree, ids: list[str]) -> Turns:
    turns: Turns = []
    for said in (tree.said(identity) for identity in ids):
        if said is None:
            continue
        if turns and turns[-1]["role"] == said[0]:
            turns[-1]["content"] += f"\n\n{said[1]}"
        else:
            turns.append({"role": said[0], "content": said[1]})
    return turns


def _answer(tree: _Tree, ids: list[str]) -> str:
    """Return what the assistant says at the beginning of a path, before the user speaks again; empty if nothing."""
    turns = _turns(tree, ids)
    return turns[0]["content"] if turns and turns[0]["role"] == "assistant" else ""


def _newest_below(tree: _Tree, identity: str) -> list[str]:
    """Return the ids from `identity` down to a leaf, by the last child of each: the newest."""
    ids = {identity: None}
    while (below := tree.children(identity)) and below[-1] not in ids:
        identity = below[-1]
        ids[identity] = None
    return list(ids)


def _is_hidden(message: Mapping[str, Any]) -> bool:
    """Return whether a message goes to a tool, or is not shown."""
    metadata = message.get("metadata")
    unseen = isinstance(metadata, Mapping) and metadata.get("is_visually_hidden_from_conversation")
    return message.get("recipient") not in (None, "all") or bool(unseen)


def _text(content: Mapping[str, Any], identity: str) -> str:
    if content.get("content_type") not in ("text", "multimodal_text"):
        return ""
    parts = content.get("parts")
    if not isinstance(parts, list):
        raise RecordError(Reason.WRONG_TYPE, f"`mapping.{identity}`: `parts` is no list")
    if not all(isinstance(part, str) for part in parts):
        raise RecordError(Reason.WRONG_TYPE, f"`mapping.{identity}` holds a picture or a sound, which is no text")
    return "\n".join(parts)
