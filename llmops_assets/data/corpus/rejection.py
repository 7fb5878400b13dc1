"""The quarantine entry of a document that is well formed and not wanted."""

from llmops_assets.data.jsonl import excerpt
from llmops_assets.data.records import Document, QuarantinedRecord, Reason


def rejected(document: Document, reason: Reason, detail: str) -> QuarantinedRecord:
    """Return the entry of `document`, with the file and line that it came from."""
    file, _, line = document.origin.rpartition(":")
    name, number = (file, int(line)) if line.isdigit() else (document.origin, 0)
    return QuarantinedRecord(document.source, name, number, reason, detail, excerpt(document.text))
