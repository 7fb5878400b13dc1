"""The manifest: what an artifact is, what it was made from, and (for an adapter) its run card."""

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class FileEntry(BaseModel):
    """One file of an artifact."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str
    bytes: int


class Manifest(BaseModel):
    """Written last into an artifact's folder: a folder without it is not an artifact.

    The fingerprint identifies what was asked for (spec, inputs, code version); the data version identifies what
    came out (content of the files), so that a rebuild with equal bytes does not make its children stale.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    recipe: str
    asset: str
    fingerprint: str
    code_version: str
    spec: dict[str, Any] = Field(description="Resolved settings, defaults included.")
    inputs: dict[str, str] = Field(description="Data version of every input, by name.")
    files: dict[str, FileEntry]
    data_version: str
    created_at: str = Field(description="UTC, ISO 8601.")
    summary: dict[str, Any] = Field(description="Facts that the asset page shows.")
    run_card: dict[str, Any] | None = Field(
        default=None, description="Adapters: packages, hardware, seeds, metrics, Dagster and MLflow run ids."
    )


def fingerprint_of(*, asset: str, spec: dict[str, Any], inputs: dict[str, str], code_version: str) -> str:
    """Return the sha256 (hex) that addresses the artifact of these settings, inputs and code version."""
    request = {"asset": asset, "spec": spec, "inputs": inputs, "code_version": code_version}
    return hashlib.sha256(json.dumps(request, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def data_version_of(files: dict[str, FileEntry], volatile: frozenset[str] = frozenset()) -> str:
    """Return the sha256 (hex) over names and contents of `files`, leaving out the `volatile` ones (logs, cards)."""
    digest = hashlib.sha256()
    for name in sorted(set(files) - volatile):
        digest.update(f"{name}\0{files[name].sha256}\n".encode())
    return digest.hexdigest()
