"""From a Dagster materialization to the artifact it points at, and back: the pointer lives in the metadata."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg

from llmops_assets.errors import LlmopsError
from llmops_assets.resources.artifacts import Artifact, ArtifactStore

FINGERPRINT = "artifact/fingerprint"


class NotMaterialized(LlmopsError):
    """An asset is needed that has never been materialized."""


def asset_key(recipe: str, asset: str) -> dg.AssetKey:
    """Return the key `<recipe>/<asset>` of one asset of a lane."""
    return dg.AssetKey([recipe, asset])


def latest_metadata(instance: dg.DagsterInstance, recipe: str, asset: str) -> Mapping[str, Any] | None:
    """Return the metadata values of the newest materialization, or None when there is none."""
    event = instance.get_latest_materialization_event(asset_key(recipe, asset))
    if event is None or event.asset_materialization is None:
        return None
    return {key: entry.value for key, entry in event.asset_materialization.metadata.items()}


def latest_artifact(instance: dg.DagsterInstance, store: ArtifactStore, recipe: str, asset: str) -> Artifact:
    """Return the verified artifact of the newest materialization of `<recipe>/<asset>`.

    Raises:
        NotMaterialized: the asset has never been materialized; the message says how to.
        ArtifactMissing, CorruptArtifact: the store does not hold what the materialization claims.
    """
    metadata = latest_metadata(instance, recipe, asset)
    if metadata is None:
        raise NotMaterialized(f"{recipe}/{asset} has never been materialized; materialize it first")
    return store.get(recipe, asset, metadata[FINGERPRINT])


def find_latest_artifact(
    instance: dg.DagsterInstance, store: ArtifactStore, recipe: str, asset: str
) -> Artifact | None:
    """Like `latest_artifact`, with None for an asset that has never been materialized."""
    if latest_metadata(instance, recipe, asset) is None:
        return None
    return latest_artifact(instance, store, recipe, asset)


def materialized(
    artifact: Artifact,
    *,
    reused: bool,
    metadata: Mapping[str, Any],
    check_results: Sequence[dg.AssetCheckResult] = (),
) -> dg.MaterializeResult:
    """Describe `artifact` to Dagster: pointer, content hash as data version, and what a person wants to see."""
    manifest = artifact.manifest
    return dg.MaterializeResult(
        data_version=dg.DataVersion(manifest.data_version),
        metadata={
            "reused": reused,
            **metadata,
            "inputs": dg.MetadataValue.json(dict(manifest.inputs)),
            FINGERPRINT: manifest.fingerprint,
            "dagster/uri": artifact.uri,
        },
        check_results=check_results,
    )


@contextmanager
def readable_errors() -> Iterator[None]:
    """Turn the project's own errors into a step failure that shows the sentence and is not retried."""
    try:
        yield
    except LlmopsError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
