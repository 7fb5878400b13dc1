"""Takes conversations in for an SFT set: guards them, checks their length, drops duplicates, and keeps the counts."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmops_assets.data.formats.tool_calls import says_tools_alone
from llmops_assets.data.generation.generated_set import ROWS_FILE
from llmops_assets.data.licenses import union
from llmops_assets.data.normalize import SpecialTokenGuard, comparison_key
from llmops_assets.data.quarantine import Quarantine, unwanted
from llmops_assets.data.records import Conversation, Message, QuarantinedRecord, Reason, row_hash
from llmops_assets.data.sets.data_set import DataSetFiles
from llmops_assets.data.sets.qa_extraction import SourceText, extract
from llmops_assets.data.sources.file_sources import MissingSourceError
from llmops_assets.data.sources.reading import license_of, read_sft_source
from llmops_assets.data.sources.specs import (
    ConversationFilesSource,
    ExtractedSource,
    GeneratedSource,
    HubConversationsSource,
    RegistryConversationsSource,
)
from llmops_assets.data.specs import SftSetSpec
from llmops_assets.data.splits import Sample, Split
from llmops_assets.data.tokens import TokenCounter

if TYPE_CHECKING:
    from llmops_assets.data.evals.decontamination import EvalIndex


class ConversationIntake:
    """Conversations that passed the door (`kept`, with `tokens` by id), and the `quarantine` of those that did not.

    `not_drawn` counts by source the usable ones that the set's limits leave out.
    """

    def __init__(self, spec: SftSetSpec, counter: TokenCounter) -> None:
        self.kept: list[Conversation] = []
        self.tokens: dict[str, int] = {}
        self.quarantine = Quarantine()
        self.neutralized = 0
        self.not_drawn: Counter[str] = Counter()
        self.documents_without_answer: Counter[str] = Counter()
        self.licenses: dict[str, str] = {}
        self.formats: dict[str, Counter[str]] = {}
        self._spec = spec
        self.counter = counter
        self._guard = SpecialTokenGuard(counter.special_tokens)
        self._first: dict[str, str] = {}

    def read(
        self, source: ConversationFilesSource | HubConversationsSource | RegistryConversationsSource, base_dir: Path
    ) -> None:
        """Take in the conversations of files, of a hub data set or of a registry's; raises MissingSourceError."""
        self.licenses[source.name] = license_of(source)
        formats = self.formats[source.name] = Counter()
        # Of a hub data set `max_records` are drawn before they are read.
        limit = source.max_records if isinstance(source, ConversationFilesSource) else None
        sample: Sample[Conversation] | None = None if limit is None else Sample(limit, seed=0)
        for record in read_sft_source(source, base_dir):
            self.quarantine.read[source.name] += 1
            if isinstance(record, QuarantinedRecord):
                self.quarantine.add(record)
            else:
                formats[record.layout] += 1
                if sample is None:
                    self._take(record)
                elif first := sample.offer(record, row_hash([message.to_row() for message in record.messages])):
                    detail = f"the same conversation is {first.id}"
                    self.quarantine.add(rejected(record, Reason.EXACT_DUPLICATE, detail))
        if sample is not None:
            self.not_drawn[source.name] += sample.left_out
            for record in sample.items():
                self._take(record)

    def extract(self, source: ExtractedSource, corpus_dir: Path | None) -> dict[str, Split]:
        """Take in what the corpus gives; return the split of all its groups. Raises MissingSourceError."""
        splits: dict[str, Split] = {}
        licenses: set[str] = set()
        for row in corpus_documents(source, corpus_dir):
            document = SourceText.from_row(row)
            splits[document.group] = document.split
            licenses.add(row["license"])
            found = extract(document, self.counter.count, self._spec.seed)
            self.documents_without_answer[source.name] += not found
            for conversation in found:
                self.quarantine.read[source.name] += 1
                self._take(replace(conversation, source=source.name))
        self.licenses[source.name] = union(licenses)
        return splits

    def read_generated(self, source: GeneratedSource, folder: Path) -> dict[str, Split]:
        """Take in what a model wrote; return the split of the groups whose documents have one."""
        splits: dict[str, Split] = {}
        licenses: set[str] = set()
        for line, row in enumerate(generated_rows(folder), 1):
            licenses |= {row["generator_license"], row.get("license", row["generator_license"])}
            if "split" in row:
                splits[row["group"]] = row["split"]
            self.quarantine.read[source.name] += 1
            self._take(
                Conversation(
                    id=f"{source.name}/{row['id']}",
                    messages=tuple(Message(turn["role"], turn["content"]) for turn in row["messages"]),
                    source=source.name,
                    origin=f"{row['method']}/{ROWS_FILE}:{line}",
                    group=row["group"],
                    generator=row["generator"],
                    spans=(None,),
                )
            )
        self.licenses[source.name] = union(licenses)
        return splits

    def _take(self, conversation: Conversation) -> None:
        conversation = self._with_system_prompt(self._guarded(conversation))
        digest = row_hash([message.to_row() for message in conversation.messages])
        tokens = self.counter.count_conversation(conversation.messages)
        if digest in self._first:
            detail = f"the same conversation is {self._first[digest]}"
            self.quarantine.add(rejected(conversation, Reason.EXACT_DUPLICATE, detail))
        elif conversation.id in self.tokens:
            detail = f"the id {conversation.id!r} is taken by another record"
            self.quarantine.add(rejected(conversation, Reason.DUPLICATE_ID, detail))
        elif tokens > self._spec.max_tokens:
            detail = f"{tokens} tokens, more than max_tokens = {self._spec.max_tokens}"
            self.quarantine.add(rejected(conversation, Reason.TOO_LONG, detail))
        else:
            self._first[digest] = conversation.id
            self.tokens[conversation.id] = tokens
            self.kept.append(conversation)

    def _guarded(self, conversation: Conversation) -> Conversation:
        messages: list[Message] = []
        for message in conversation.messages:
            content, count = self._guard.neutralize(message.content)
            self.neutralized += count
            messages.append(replace(message, content=content))
        return replace(conversation, messages=tuple(messages))

    def _with_system_prompt(self, conversation: Conversation) -> Conversation:
        prompt, first = self._spec.system_prompt, conversation.messages[0]
        if prompt is not None and first.role != "system":
            return replace(conversation, messages=(Message("system", prompt), *conversation.messages))
        if prompt is not None and says_tools_alone(first.content):
            system = replace(first, content=f"{prompt}\n\n{first.content}")
            return replace(conversation, messages=(system, *conversation.messages[1:]))
        return conversation


def corpus_documents(source: ExtractedSource, corpus_dir: Path | None) -> Iterator[dict[str, Any]]:
    """Yield the rows of the corpus' documents.jsonl.

    Raises MissingSourceError if the lane has no corpus or it is not built.
    """
    if corpus_dir is None:
        raise MissingSourceError(
            f"source '{source.name}' is extracted from the lane's corpus, and this recipe has none; "
            "add a `corpus` section"
        )
    path = DataSetFiles(folder=corpus_dir).documents
    if not path.is_file():
        raise MissingSourceError(f"source '{source.name}': {path} does not exist; materialize the corpus first")
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            yield json.loads(line)


def generated_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows that a model wrote into a generated set."""
    with (folder / ROWS_FILE).open(encoding="utf-8") as stream:
        for line in stream:
            yield json.loads(line)


def question_key(conversation: Conversation) -> str:
    """Return the first question in the form in which two questions are the same."""
    return comparison_key(next(message.content for message in conversation.messages if message.role == "user"))


def answer_keys(conversation: Conversation) -> list[str]:
    """Return the answers in the form in which two answers are the same; the last one is what an evaluation scores."""
    return [comparison_key(message.content) for message in conversation.messages if message.role == "assistant"]


def without_leaks(
    conversations: Sequence[Conversation], index: "EvalIndex", quarantine: Quarantine
) -> list[Conversation]:
    """Return the conversations that hold no eval item; the others go to `quarantine`."""
    leaks = index.leaks(["\n".join(turn.content for turn in each.messages) for each in conversations])
    kept: list[Conversation] = []
    for conversation, leak in zip(conversations, leaks, strict=True):
        if leak is None:
            kept.append(conversation)
        else:
            quarantine.add(rejected(conversation, Reason.CONTAMINATED, str(leak)))
    return kept


def rejected(conversation: Conversation, reason: Reason, detail: str) -> QuarantinedRecord:
    """Return the quarantine entry of a well-formed conversation that is not wanted."""
    return unwanted(conversation.source, conversation.origin, reason, detail, question_key(conversation))
