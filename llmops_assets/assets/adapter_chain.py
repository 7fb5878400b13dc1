"""Walking an adapter's chain of parents and the stack under it, as its run cards record them."""

from collections.abc import Iterator

from llmops_assets.resources.artifacts import Artifact, ArtifactStore
from llmops_assets.training.job import AdapterRef

_WEIGHTS = {"lora": "adapter_model.safetensors", "full": "model.safetensors"}


def ancestors(store: ArtifactStore, adapter: Artifact) -> Iterator[Artifact]:
    """Yield the parent of `adapter`, its parent, and so on to the adapter that was started on the bare base.

    Raises:
        ArtifactMissing, CorruptArtifact: a recorded parent cannot be read.
    """
    while (parent := (adapter.manifest.run_card or {}).get("parent")) is not None:
        adapter = store.get(adapter.manifest.recipe, parent["asset"], parent["fingerprint"])
        yield adapter


def adapter_kind(adapter: Artifact) -> str:
    """Return what was trained: `lora`, or `full` for a whole model."""
    return "lora" if _WEIGHTS["lora"] in adapter.manifest.files else "full"


def adapter_sha256(adapter: Artifact) -> str:
    """Return the sha256 of the adapter's weights, which is its identity in votes, reports and releases."""
    return adapter.manifest.files[_WEIGHTS[adapter_kind(adapter)]].sha256


def adapter_ref(store: ArtifactStore, adapter: Artifact) -> AdapterRef:
    """Return how workers address `adapter`, with everything that lies merged under it.

    Raises:
        ArtifactMissing, CorruptArtifact: something of the stack under it cannot be read.
    """
    stack = (adapter.manifest.run_card or {}).get("stack", [])
    below = [store.get(adapter.manifest.recipe, entry["asset"], entry["fingerprint"]) for entry in stack]
    return AdapterRef.model_validate(
        {
            "path": adapter.folder,
            "kind": adapter_kind(adapter),
            "sha256": adapter_sha256(adapter),
            "base_digest": adapter.manifest.inputs["base_model"],
            "merged": [adapter_ref(store, entry).model_dump() for entry in below],
        }
    )


def stack_card(parent: Artifact | None, mode: str, finetuning: str) -> list[dict[str, str]]:
    """Return what lies merged under an adapter that is trained from `parent`, oldest first, for its run card.

    It is what training/policy.py puts under the LoRA. A whole model holds everything, so nothing lies under it.
    """
    if parent is None or finetuning == "full":
        return []
    below = list((parent.manifest.run_card or {}).get("stack", []))
    if adapter_kind(parent) == "full" or mode == "merge_then_new":
        below.append({"asset": parent.manifest.asset, "fingerprint": parent.manifest.fingerprint})
    return below
