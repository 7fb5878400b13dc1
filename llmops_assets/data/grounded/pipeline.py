"""Questions and answers about the lane's own corpus, kept where the text says what the answer says."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from llmops_assets.data.chunking import chunk
from llmops_assets.data.generation.asking import Asker
from llmops_assets.data.generation.generated_set import (
    GeneratedSetSummary,
    first_words,
    spent_by,
    unusable,
    write_generated_set,
)
from llmops_assets.data.generation.requests import ChatRequest, Completion
from llmops_assets.data.generation.specs import GroundedSpec, SamplingSpec
from llmops_assets.data.generation.stopping import AcceptRate
from llmops_assets.data.grounded import prompts
from llmops_assets.data.grounded.span_overlap import span_overlap
from llmops_assets.data.jsonl import excerpt
from llmops_assets.data.normalize import collapse_whitespace, comparison_key, normalize_text
from llmops_assets.data.quarantine import Quarantine
from llmops_assets.data.records import Message, QuarantinedRecord, Reason
from llmops_assets.data.self_instruct.instruction_pool import folded_words
from llmops_assets.data.self_instruct.parsing import yes_or_no
from llmops_assets.data.sets.data_set import DataSetFiles
from llmops_assets.data.splits import draw, pick
from llmops_assets.data.tokens import TokenCounter

METHOD = "grounded"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Code points `start:end` of a kept document of the corpus, whose row is `document`."""

    document: dict[str, Any]
    start: int
    end: int

    @property
    def text(self) -> str:
        return self.document["text"][self.start : self.end]

    @property
    def id(self) -> str:
        return f"{self.document['id']}#{self.start}-{self.end}"


@dataclass(frozen=True, slots=True)
class Draft:
    """A chunk with what has been written about it so far."""

    chunk: Chunk
    request: ChatRequest
    question: str = ""
    answer: str = ""
    overlap: float = 0.0


def build_grounded_pairs(
    spec: GroundedSpec, asker: Asker, corpus_dir: Path, tokenizer_file: Path, out_dir: Path
) -> GeneratedSetSummary:
    """Write rows.jsonl and quarantine.jsonl into `out_dir`.

    A row is on the side of the split that its document has in the corpus, as extracted pairs are.

    Raises TooFewAccepted, and what the generator raises when it gives up.
    """
    chunks = islice(drawn_chunks(corpus_dir, spec, TokenCounter(tokenizer_file)), spec.max_chunks)
    pipeline = _Grounded(spec, asker)
    while (stopped := pipeline.stopped) is None:
        some = list(islice(chunks, spec.prompts_per_round))
        if not some:
            asked = pipeline.counts["tries"]
            which = "max_chunks =" if asked == spec.max_chunks else "all"
            stopped = f"{which} {asked} chunks have been asked about"
            break
        pipeline.play_round(some)
    return write_generated_set(out_dir, pipeline.rows, pipeline.quarantine, pipeline.summary(stopped), spec)


def drawn_chunks(corpus_dir: Path, spec: GroundedSpec, counter: TokenCounter) -> Iterator[Chunk]:
    """Yield chunks of the corpus' documents: documents in the order of their draw, and so the chunks of each.

    One document is held in memory at a time, and those that are not reached are not cut into chunks.
    """
    with DataSetFiles(folder=corpus_dir).documents.open("rb") as stream:
        # The bare id may be what the split was drawn by, and the first documents would all be held out.
        places = [(draw(spec.seed, f"asked:{json.loads(line)['id']}"), start) for start, line in _lines(stream)]
        for _, start in sorted(places):
            stream.seek(start)
            document = json.loads(stream.readline())
            pieces = [
                piece
                for piece in _chunks(document, spec.chunk_tokens, counter)
                if len(folded_words(piece.text)) >= spec.min_chunk_words
            ]
            yield from pick(pieces, spec.max_chunks_per_document, spec.seed, key=lambda piece: f"asked:{piece.id}")


def _lines(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield each line with its place in the file."""
    start = 0
    for line in stream:
        yield start, line
        start += len(line)


def _chunks(document: dict[str, Any], limit: int, counter: TokenCounter) -> Iterator[Chunk]:
    start = 0
    for piece in chunk(document["text"], limit, counter):
        yield Chunk(document, start, start + len(piece))
        start += len(piece)


class _Grounded:
    def __init__(self, spec: GroundedSpec, asker: Asker) -> None:
        self.rows: list[dict[str, Any]] = []
        self.quarantine = Quarantine()
        self.counts: Counter[str] = Counter()
        self._spec = spec
        self._asker = asker
        self._rate = AcceptRate("chunks", spec)
        self._questions: dict[str, str] = {}
        self._licenses: set[str] = {spec.generator_license}

    @property
    def stopped(self) -> str | None:
        """Why to stop, as a sentence; None while there is more to do."""
        if len(self.rows) >= self._spec.target:
            return f"there are {len(self.rows)} rows, and the target is {self._spec.target}"
        return self._asker.exhausted or self._rate.too_low

    def play_round(self, chunks: Sequence[Chunk]) -> None:
        """Take some chunks from the question to the check."""
        drafts = [
            Draft(piece, ChatRequest(prompts.question(piece.text), self._spec.question_sampling, self._spec.seed))
            for piece in chunks
        ]
        self.counts["tries"] += len(drafts)
        drafts = self._asked(drafts, [draft.request for draft in drafts], self._with_question)
        drafts = self._asked(
            drafts,
            [self._request(prompts.answer(d.chunk.text, d.question), self._spec.answer_sampling) for d in drafts],
            self._with_answer,
        )
        one_word = SamplingSpec(max_tokens=self._spec.check_tokens)
        drafts = self._asked(
            drafts,
            [self._request(prompts.check(d.chunk.text, d.question, d.answer), one_word) for d in drafts],
            self._checked,
        )
        for draft in self._first_to_ask(drafts):
            self._rate.note(True)
            self._licenses.add(draft.chunk.document["license"])
            self.rows.append(self._row(draft))

    def _first_to_ask(self, drafts: Sequence[Draft]) -> Iterator[Draft]:
        """Yield the drafts that are good and whose question no row has, not even one of this round."""
        for draft in drafts:
            first = self._questions.setdefault(comparison_key(draft.question), draft.chunk.id)
            if first == draft.chunk.id:
                yield draft
            else:
                self._reject(draft, (Reason.EXACT_DUPLICATE, f"the same question was asked about {first}"))

    def _asked(
        self,
        drafts: Sequence[Draft],
        requests: Sequence[ChatRequest],
        take: Callable[[Draft, Completion], Draft | tuple[Reason, str]],
    ) -> list[Draft]:
        """Return what `take` makes of each draft and the response to its request; what it refuses is quarantined."""
        completions = self._asker.ask(requests)
        kept: list[Draft] = []
        for index, draft in enumerate(drafts):
            if index < len(completions):
                taken = unusable(completions[index]) or take(draft, completions[index])
            else:
                taken = Reason.NO_BUDGET, "no request left for it"
            if isinstance(taken, Draft):
                kept.append(taken)
            else:
                self._reject(draft, taken)
        return kept

    def _with_question(self, draft: Draft, completion: Completion) -> Draft | tuple[Reason, str]:
        question = collapse_whitespace(normalize_text(completion.answer))
        draft = replace(draft, question=question)
        words = len(folded_words(question))
        if completion.finish == "length":
            return Reason.TRUNCATED, "max_tokens cut the question"
        if not words:
            return Reason.EMPTY, "there is no question"
        if words > self._spec.max_question_words:
            return Reason.TOO_LONG, f"{words} words, more than max_question_words = {self._spec.max_question_words}"
        if (first := self._questions.get(comparison_key(question))) is not None:
            return Reason.EXACT_DUPLICATE, f"the same question was asked about {first}"
        return draft

    def _with_answer(self, draft: Draft, completion: Completion) -> Draft | tuple[Reason, str]:
        answer = normalize_text(completion.answer).strip()
        if completion.finish == "length":
            return Reason.TRUNCATED, "max_tokens cut the answer"
        if not folded_words(answer):
            return Reason.EMPTY, "there is no answer"
        if prompts.UNANSWERABLE in answer:
            return Reason.UNANSWERABLE, "the generator found no answer in the text"
        overlap = span_overlap(folded_words(answer), folded_words(draft.chunk.text), self._spec.span_words)
        if overlap < self._spec.min_span_overlap:
            detail = f"{overlap:.0%} of the answer are spans of the text, under min_span_overlap"
            return Reason.NOT_IN_TEXT, f"{detail}: {excerpt(answer)}"
        return replace(draft, answer=answer, overlap=overlap)

    def _checked(self, draft: Draft, completion: Completion) -> Draft | tuple[Reason, str]:
        match yes_or_no(completion.answer):
            case True:
                return draft
            case False:
                return Reason.UNANSWERABLE, "asked whether the text answers it, the generator said no"
            case None:
                return Reason.NOT_UNDERSTOOD, f"asked for yes or no, the generator said {excerpt(completion.answer)!r}"

    def _row(self, draft: Draft) -> dict[str, Any]:
        document = draft.chunk.document
        messages = (Message("user", draft.question), Message("assistant", draft.answer))
        return {
            "id": f"gr-{hashlib.sha256(draft.chunk.id.encode()).hexdigest()[:16]}",
            "group": document["group"],
            "split": document["split"],
            "messages": [message.to_row() for message in messages],
            "method": METHOD,
            "generator": self._spec.generator.label,
            "generator_license": self._spec.generator_license,
            "license": document["license"],
            "prompt_sha256": draft.request.prompt_hash,
            "seed": self._spec.seed,
            "document_id": document["id"],
            "chunk": {"start": draft.chunk.start, "end": draft.chunk.end},
            "source_sha256": hashlib.sha256(document["text"].encode()).hexdigest(),
            "span_overlap": round(draft.overlap, 4),
        }

    def _request(self, messages: tuple[Message, ...], sampling: SamplingSpec) -> ChatRequest:
        return ChatRequest(messages, sampling, self._spec.seed)

    def _reject(self, draft: Draft, verdict: tuple[Reason, str]) -> None:
        self._rate.note(False)
        shown = excerpt(draft.question or draft.chunk.text)
        self.quarantine.add(QuarantinedRecord(self._spec.generator.label, draft.chunk.id, 0, *verdict, shown))

    def summary(self, stopped: str) -> GeneratedSetSummary:
        """Return the counts so far."""
        questions = [folded_words(row["messages"][0]["content"]) for row in self.rows]
        common, distinct = first_words(questions)
        sides = Counter(row["split"] for row in self.rows)
        return GeneratedSetSummary(
            stopped=stopped,
            counts={**self.counts, "rows": len(self.rows), **dict(sorted(sides.items()))},
            rejected=self.quarantine.by_reason(),
            generators={self._spec.generator.label: len(self.rows)},
            licenses=sorted(self._licenses),
            spent=spent_by(self._asker),
            first_words=common,
            distinct_first_words=distinct,
        )
