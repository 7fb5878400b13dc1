"""The door of the data stages: reads any source of a recipe as typed records, and hashes its content.

A new kind of source is a spec in `specs.py`, a reader beside this file, and a line in each function here.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from llmops_assets.data.file_sources import (
    hash_files,
    read_file_comparisons,
    read_file_conversations,
    read_file_documents,
)
from llmops_assets.data.formats.preferences import Comparison
from llmops_assets.data.hub_source import (
    hash_hub,
    read_hub_comparisons,
    read_hub_conversations,
    read_hub_documents,
)
from llmops_assets.data.named_sets import resolved
from llmops_assets.data.python_stdlib import LICENSE as PYTHON_LICENSE
from llmops_assets.data.python_stdlib import read_python_stdlib
from llmops_assets.data.python_topics import read_python_topics
from llmops_assets.data.records import Conversation, Document, QuarantinedRecord
from llmops_assets.data.specs import (
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
    TextFilesSource,
)


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


def read_sft_source(
    source: ConversationFilesSource | HubConversationsSource, base_dir: Path
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


def source_hash(source: CorpusSource | FilesSource | HubSource, base_dir: Path) -> str:
    """Return the sha256 (hex) of the content of `source`: equal as long as building from it gives the same records.

    Python sources are hashed by the texts harvested, files by their bytes, hub data sets by commit and selection.
    Raises MissingSourceError if there is nothing to hash.
    """
    match source:
        case FilesSource():
            return hash_files(source, base_dir)
        case HubSource():
            return hash_hub(source, base_dir)
        case PythonTopicsSource():
            return _hash_documents(read_python_topics(source))
        case PythonStdlibSource():
            return _hash_documents(read_python_stdlib(source))


def license_of(source: CorpusSource | FilesSource | HubSource) -> str:
    """Return the SPDX expression of `source`."""
    if isinstance(source, HubSource):
        return resolved(source).license
    return source.license if isinstance(source, FilesSource) else PYTHON_LICENSE


def _hash_documents(documents: Iterator[Document]) -> str:
    digest = hashlib.sha256()
    for document in documents:
        digest.update(f"{document.id}\0{document.origin}\0{document.text}\0".encode())
    return digest.hexdigest()
