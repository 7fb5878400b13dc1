"""Walking an adapter's chain of parents, as its run cards record it."""

from collections.abc import Iterator

from llmops_assets.resources.artifacts import Artifact, ArtifactStore


def ancestors(store: ArtifactStore, adapter: Artifact) -> Iterator[Artifact]:
    """Yield the parent of `adapter`, its parent, and so on to the adapter that was started on the bare base.

    Raises:
        ArtifactMissing, CorruptArtifact: a recorded parent cannot be read.
    """
    while (parent := (adapter.manifest.run_card or {}).get("parent")) is not None:
        adapter = store.get(adapter.manifest.recipe, parent["asset"], parent["fingerprint"])
        yield adapter


def adapter_sha256(adapter: Artifact) -> str:
    """Return the sha256 of the adapter's weights, which is its identity in votes, reports and releases."""
    return adapter.manifest.files["adapter_model.safetensors"].sha256
