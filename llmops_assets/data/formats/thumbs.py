"""Thumbs: a conversation in any layout, and a `label` that approves of its last answer or does not."""

from collections.abc import Mapping
from typing import Any

from llmops_assets.data.formats.conversations import ConversationFormat, parse_conversation
from llmops_assets.data.records import Message, Reason, RecordError


def parse_thumb(value: Mapping[str, Any], layout: ConversationFormat = "auto") -> tuple[str, tuple[Message, ...], bool]:
    """Return the record's layout, its messages and whether the thumb is up.

    Raises RecordError if there is no boolean `label`, and as `parse_conversation` does.
    """
    if "label" not in value:
        raise RecordError(Reason.MISSING_FIELD, f"no `label`; keys are {sorted(value)}")
    label = value["label"]
    if not isinstance(label, bool):
        raise RecordError(Reason.WRONG_TYPE, f"`label` is {label!r}, not true (thumb up) or false")
    name, messages = parse_conversation(value, layout)
    if not messages[-1].trained:
        raise RecordError(Reason.WRONG_TYPE, "the answer that is judged has `weight` 0, which keeps loss off it")
    return name, messages, label
