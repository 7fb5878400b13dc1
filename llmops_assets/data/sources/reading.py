"""The door of the data stages: reads any source of a recipe as typed records, and hashes its content.

A new kind of source is a spec in `specs.py`, a reader beside this file, and a line in each function here.
"""

import hashlib
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from llmops_assets.data.formats.preferences import Comparison
from llmops_assets.data.records import Conversation, Document, QuarantinedRecord
from llmops_assets.data.sources.file_sources import (
    file_facts,
    pinned_files,
    read_file_comparisons,
    read_file_conversations,
    read_file_documents,
)
from llmops_assets.data.sources.hub_source import (
    hub_facts,
    pinned_hub,
    read_hub_comparisons,
    read_hub_conversations,
    read_hub_documents,
)
from llmops_assets.data.sources.named_sets import resolved
from llmops_assets.data.sources.python_stdlib import LICENSE as PYTHON_LICENSE
from llmops_assets.data.sources.python_stdlib import read_python_stdlib
from llmops_assets.data.sources.python_topics import read_python_topics
from llmops_assets.data.sources.registry_source import (
    pinned_registry,
    read_registry_comparisons,
    read_registry_conversations,
    read_registry_documents,
    registry_facts,
)
from llmops_assets.data.sources.source_facts import SourceFacts
from llmops_assets.data.sources.specs import (
    ConversationFilesSource,
    CorpusSource,
    FilesSource,
    HubConversationsSource,
    HubPreferencesSource,
    HubSource,
    HubTextSource,
    PreferenceFilesSource,
    PreferenceSource,
    PythonStdlibSource,
    PythonTopicsSource,
    RegistryConversationsSource,
    RegistryPreferencesSource,
    RegistrySource,
    RegistryTextSource,
    TextFilesSource,
)

# Every source that has content of its own; `extracted` has that of the lane's corpus.
ReadableSource = PythonTopicsSource | PythonStdlibSource | FilesSource | HubSource | RegistrySource
AnyReadable = TypeVar("AnyReadable", bound=ReadableSource)


def read_corpus_source(source: CorpusSource, base_dir: Path) -> Iterator[Document | QuarantinedRecord]:
    """Yield the documents of `source` in a reproducible order, and what had to be rejected.

    `base_dir` is the recipe's folder, where relative patterns start. Raises MissingSourceError if there is nothing to
    read.
    """
    match source:
        case PythonTopicsSource():
            return read_python_topics(source)
        case PythonStdlibSource():
            return read_python_stdlib(source)
        case TextFilesSource():
            return read_file_documents(source, base_dir)
        case HubTextSource():
            return read_hub_documents(source, base_dir)
        case RegistryTextSource():
            return read_registry_documents(source, base_dir)


def read_sft_source(
    source: ConversationFilesSource | HubConversationsSource | RegistryConversationsSource, base_dir: Path
) -> Iterator[Conversation | QuarantinedRecord]:
    """Yield the conversations of `source` in a reproducible order, and what had to be rejected.

    Raises MissingSourceError if there is nothing to read. `extracted` sources have no records of their own: see
    `qa_extraction.py`.
    """
    match source:
        case ConversationFilesSource():
            return read_file_conversations(source, base_dir)
        case HubConversationsSource():
            return read_hub_conversations(source, base_dir)
        case RegistryConversationsSource():
            return read_registry_conversations(source, base_dir)


def read_preference_source(
    source: PreferenceSource, base_dir: Path
) -> Iterator[tuple[str, Comparison] | QuarantinedRecord]:
    """Yield (origin, preference) of `source` in a reproducible order, and what had to be rejected.

    Raises MissingSourceError if there is nothing to read.
    """
    match source:
        case PreferenceFilesSource():
            return read_file_comparisons(source, base_dir)
        case HubPreferencesSource():
            return read_hub_comparisons(source, base_dir)
        case RegistryPreferencesSource():
            return read_registry_comparisons(source, base_dir)


def pinned(source: AnyReadable, base_dir: Path) -> AnyReadable:
    """Return `source` with its moving names (a branch, a revision) replaced by the commits that they stand for now.

    What is read from it afterwards is of one commit. Sources that have none come back as they are. Raises
    MissingSourceError if hub or server do not tell.
    """
    match source:
        case FilesSource():
            return pinned_files(source)
        case HubSource():
            return pinned_hub(source, base_dir)
        case RegistrySource():
            return pinned_registry(source, base_dir)
    return source


def facts_of(source: ReadableSource, base_dir: Path) -> SourceFacts:
    """Return what is known about `source`: licence, revision, size, and the hash of its content.

    Python sources are hashed by the texts harvested, files by their names and bytes, hub data sets by commit and
    selection, those of a registry by their entry too. Raises MissingSourceError if there is nothing to hash.
    """
    match source:
        case FilesSource():
            return file_facts(source, base_dir)
        case HubSource():
            return hub_facts(source, base_dir)
        case RegistrySource():
            return registry_facts(source, base_dir)
        case PythonTopicsSource():
            content = _hash_documents(read_python_topics(source))
        case PythonStdlibSource():
            content = _hash_documents(read_python_stdlib(source))
    version = f"Python {platform.python_version()}"
    return SourceFacts(
        source=source.name, kind=source.kind, license=PYTHON_LICENSE, revision=version, content_hash=content
    )


def source_hash(source: ReadableSource, base_dir: Path) -> str:
    """Return the sha256 (hex) of the content of `source`: equal as long as building from it gives the same records.

    Raises MissingSourceError if there is nothing to hash.
    """
    return facts_of(source, base_dir).content_hash


def license_of(source: ReadableSource) -> str:
    """Return the SPDX expression of `source`."""
    if isinstance(source, HubSource):
        return resolved(source).license
    return source.license if isinstance(source, FilesSource | RegistrySource) else PYTHON_LICENSE


def _hash_documents(documents: Iterator[Document]) -> str:
    digest = hashlib.sha256()
    for document in documents:
        digest.update(f"{document.id}\0{document.origin}\0{document.text}\0".encode())
    return digest.hexdigest()
