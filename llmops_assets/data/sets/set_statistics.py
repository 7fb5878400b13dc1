"""How long the conversations of a set are, how many turns they have, and who speaks in them."""

from collections import Counter
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from llmops_assets.data.records import Conversation, Message
from llmops_assets.data.tokens import TokenCounter, tokens_per_row

_TOOL_MARKS = ("<tools>", "<tool_call>", "<tool_response>")


class ConversationStatistics(BaseModel):
    """Figures of the conversations of train. Lengths are in tokens of the base model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    conversation_tokens: dict[str, int] = Field(description="min, mean, p50, p95 and max of whole conversations.")
    answer_tokens: dict[str, int] = Field(description="min, mean, p50, p95 and max of the assistant's turns.")
    answers: dict[str, int] = Field(description="Conversations by their number of assistant turns.")
    roles: dict[str, int] = Field(description="Turns by role.")
    system_share: float = Field(description="Share of conversations with a system turn.")
    tools_share: float = Field(description="Share of conversations with tools, calls or results.")


def conversation_statistics(
    conversations: Sequence[Conversation], tokens: Sequence[int], counter: TokenCounter
) -> ConversationStatistics:
    """Return the figures of `conversations`, at least one, whose lengths are `tokens`."""
    answers = [m.content for c in conversations for m in c.messages if m.role == "assistant"]
    turns = Counter(len(conversation.spans) for conversation in conversations)
    roles = Counter(message.role for conversation in conversations for message in conversation.messages)
    return ConversationStatistics(
        conversation_tokens=tokens_per_row(tokens),
        answer_tokens=tokens_per_row(counter.count_all(answers)),
        answers={str(number): turns[number] for number in sorted(turns)},
        roles={str(role): count for role, count in sorted(roles.items())},
        system_share=_share([c.messages[0].role == "system" for c in conversations]),
        tools_share=_share([any(map(_has_tools, c.messages)) for c in conversations]),
    )


def _has_tools(message: Message) -> bool:
    return any(mark in message.content for mark in _TOOL_MARKS)


def _share(found: Sequence[bool]) -> float:
    return round(sum(found) / len(found), 4)
