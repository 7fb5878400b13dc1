"""Question-answer pairs from documentation, without a model: fixed questions, answers that are spans of the document.

Nothing is written here that the documents do not say: an answer is `text[start:end]` of a document, at most with the
line wrap taken out, and its row carries the span, the document's hash and the label `extractive`.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from llmops_assets.data.normalize import collapse_whitespace
from llmops_assets.data.records import Conversation, Message, Span
from llmops_assets.data.sources.prose import SpanBounds, is_prose, paragraphs, sentences
from llmops_assets.data.splits import Split, draw
from llmops_assets.data.words import words_of

GENERATOR = "extractive"
CALLABLE_QUESTIONS = ("What does `{call}` do?", "Describe `{call}` in one sentence.")
OBJECT_QUESTION = "What is `{call}`?"
TOPIC_QUESTION = "Explain this topic: {title}."
RAISES_QUESTION = "Which error does `{call}` raise, and when?"
FOLLOW_UP = "What else should I know about it?"

LONGEST_ANSWER_TOKENS = 60
FOLLOW_UP_SHARE = 0.4
_SHORTEST_ANSWER_WORDS = 4
_LEAST_NEW_WORDS = 3
_LONGEST_CALL = 120
_RAISES = re.compile(r"(?<!not )\brais(?:e[sd]?|ing)\b")
_CALL_LINE = re.compile(r"[\w.]+\(")
_ERROR_NAME = re.compile(r"\b[A-Z]\w*(?:Error|Exception|Warning|Interrupt|StopIteration)\b")
_POINTS_ELSEWHERE = re.compile(
    r"\A(?:See|Same as|Like|Alias|Ditto|Inherited|Overrid|Implements?:|Deprecated|(?:New|Changed|Added) in)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class SourceText:
    """A kept document of a corpus as documents.jsonl holds it."""

    id: str
    text: str
    source: str
    origin: str
    group: str
    split: Split
    body_start: int
    metadata: Mapping[str, str]

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "SourceText":
        return cls(**{name: row[name] for name in cls.__slots__})


def extract(document: SourceText, count_tokens: Callable[[str], int], seed: int) -> list[Conversation]:
    """Return the conversations that can be extracted from `document`; none if it holds no sentence fit for an answer.

    Documents that have a name are asked about: those of kind `api` and `topic`. The first question is what the thing is
    or does, which the first paragraph must say; for a share of the training documents a second turn is about the next
    paragraph. Another question is for the sentence about errors, where there is one. Held-out documents give single
    questions: the second turn of an evaluation would be asked after an answer that the model has not given.
    """
    if document.metadata.get("kind") not in ("api", "topic"):
        return []
    blocks = list(paragraphs(document.text, document.body_start))
    if blocks and _CALL_LINE.match(document.text[slice(*blocks[0])]):
        # Docstrings of C functions may open with the call itself.
        blocks = blocks[1:]
    prose = [span for span in blocks if is_prose(document.text[slice(*span)])]
    if not prose or prose[0] != blocks[0]:
        return []
    answers = [answer for span in prose if (answer := _answer(document, span, count_tokens)) is not None]
    if not answers or answers[0][0] != prose[0][0]:
        return []
    turns = [(_opening_question(document, seed), answers[0])]
    single = draw(seed, f"follow-up:{document.id}") >= FOLLOW_UP_SHARE
    if len(answers) > 1 and not single and document.split == "train":
        turns.append((FOLLOW_UP, answers[1]))
    conversations = [_conversation(document, turns, "qa")]
    error = _error_sentence(document, prose, count_tokens)
    if error is not None and error not in answers[: len(turns)]:
        question = RAISES_QUESTION.format(call=_call(document))
        conversations.append(_conversation(document, [(question, error)], "raises"))
    return conversations


def _opening_question(document: SourceText, seed: int) -> str:
    if document.metadata["kind"] == "topic":
        return TOPIC_QUESTION.format(title=document.metadata["title"])
    name = document.metadata["qualified_name"].rpartition(".")[2]
    if not document.metadata["signature"] or name[0].isupper():
        return OBJECT_QUESTION.format(call=_call(document))
    index = int(draw(seed, f"question:{document.id}") * len(CALLABLE_QUESTIONS))
    return CALLABLE_QUESTIONS[index].format(call=_call(document))


def _call(document: SourceText) -> str:
    """Return the qualified name with its signature, which is cut to `(...)` when it would fill the question."""
    name, signature = document.metadata["qualified_name"], document.metadata["signature"]
    return f"{name}{signature}" if len(name) + len(signature) <= _LONGEST_CALL else f"{name}(...)"


def _answer(document: SourceText, paragraph: SpanBounds, count_tokens: Callable[[str], int]) -> SpanBounds | None:
    """Return the first sentence of the paragraph if it can stand as an answer."""
    span = next(sentences(document.text, paragraph))
    return span if _is_answer(document, span, count_tokens) else None


def _is_answer(document: SourceText, span: SpanBounds, count_tokens: Callable[[str], int]) -> bool:
    answer = _normalised(document.text, span)
    words = words_of(answer)
    named = set(words_of(document.text[: document.body_start].replace("_", " ")))
    return (
        len(words) >= _SHORTEST_ANSWER_WORDS
        and len(set(words) - named) >= _LEAST_NEW_WORDS
        and answer[-1] not in ":,;("
        and not _POINTS_ELSEWHERE.match(answer)
        and count_tokens(answer) <= LONGEST_ANSWER_TOKENS
    )


def _error_sentence(
    document: SourceText, prose: list[SpanBounds], count_tokens: Callable[[str], int]
) -> SpanBounds | None:
    if document.metadata["kind"] != "api" or not document.metadata["signature"]:
        return None
    for paragraph in prose:
        for span in sentences(document.text, paragraph):
            sentence = document.text[slice(*span)]
            if _RAISES.search(sentence) and _ERROR_NAME.search(sentence) and _is_answer(document, span, count_tokens):
                return span
    return None


def _conversation(document: SourceText, turns: list[tuple[str, SpanBounds]], kind: str) -> Conversation:
    digest = hashlib.sha256(document.text.encode("utf-8")).hexdigest()
    messages: list[Message] = []
    spans: list[Span] = []
    for question, (start, end) in turns:
        answer = _normalised(document.text, (start, end))
        messages += [Message("user", question), Message("assistant", answer)]
        spans.append(Span(document.id, start, end, digest, answer != document.text[start:end]))
    identity = f"{document.id}?{kind}"
    return Conversation(
        identity, tuple(messages), document.source, document.origin, document.group, GENERATOR, tuple(spans)
    )


def _normalised(text: str, span: SpanBounds) -> str:
    return collapse_whitespace(text[slice(*span)])
