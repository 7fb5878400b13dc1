"""Dialogues written as one text, as Anthropic's hh-rlhf has them."""

import re

from llmops_assets.data.records import Reason, RecordError

_SPEAKER = re.compile(r"(?:\A|\n\n)(Human|Assistant):")


def turns_of_transcript(text: str, key: str) -> list[dict[str, str]]:
    """Return the turns of a text in which every turn begins with `Human:` or `Assistant:` after an empty line.

    Raises RecordError if the text begins with anything else; `key` is what messages call it.
    """
    opening, *pieces = _SPEAKER.split(text)
    if opening.strip() or not pieces:
        raise RecordError(Reason.UNKNOWN_FORMAT, f"`{key}` is a text that does not begin with `Human:`")
    return [{"role": speaker.lower(), "content": said} for speaker, said in zip(pieces[::2], pieces[1::2], strict=True)]
