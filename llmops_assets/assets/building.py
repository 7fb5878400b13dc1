"""Build an artifact once: the same spec, inputs and code version return the artifact that is already there."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from llmops_assets.resources.artifacts import Artifact, ArtifactStore, BuildSlot
from llmops_assets.resources.manifest import fingerprint_of
from llmops_assets.training.disk_space import room_for


@dataclass(frozen=True)
class Built:
    """What a build function has to say about the files that it wrote into `slot.output`."""

    summary: dict[str, Any]
    run_card: dict[str, Any] | None = None


@dataclass(frozen=True)
class BuildRequest:
    """What makes an artifact what it is. Two equal requests are one artifact.

    `runtime_only` names keys of `spec` that cannot change the result (log cadence, say): they are recorded in the
    manifest, but changing them rebuilds nothing. `equivalent` holds values to identify the artifact by in place of the
    spec's own, for settings that come to the same (two ranks, or one that accumulates twice).
    """

    recipe: str
    asset: str
    spec: BaseModel
    inputs: dict[str, str]
    code_version: str
    runtime_only: frozenset[str] = field(default_factory=frozenset)
    equivalent: dict[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        spec = {key: value for key, value in self.spec.model_dump(mode="json").items() if key not in self.runtime_only}
        spec |= self.equivalent
        return fingerprint_of(asset=self.asset, spec=spec, inputs=self.inputs, code_version=self.code_version)


def build_once(
    store: ArtifactStore, request: BuildRequest, build: Callable[[BuildSlot], Built]
) -> tuple[Artifact, bool]:
    """Return `(artifact, reused)`: the stored artifact of `request`, or the one that `build` makes now.

    `build` runs under the fingerprint's lock, so two runs that start together build once. If it raises, nothing is
    published and its scratch folder stays for the next attempt.

    Raises:
        DiskFull: there is no room for the artifact.
    """
    fingerprint = request.fingerprint
    ready = store.find(request.recipe, request.asset, fingerprint)
    if ready is not None:
        return ready, True
    with store.building(request.recipe, request.asset, fingerprint) as slot:
        ready = store.find(request.recipe, request.asset, fingerprint)
        if ready is not None:
            return ready, True
        with room_for(f"{request.recipe}/{request.asset}", slot.output, "checkpoints, if it has any, are kept"):
            built = build(slot)
            artifact = store.publish(
                slot,
                recipe=request.recipe,
                asset=request.asset,
                fingerprint=fingerprint,
                code_version=request.code_version,
                spec=request.spec.model_dump(mode="json"),
                inputs=request.inputs,
                summary=built.summary,
                run_card=built.run_card,
            )
    return artifact, False
