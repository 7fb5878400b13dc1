"""Under which licences something was made: those of the sources behind a set, or behind an adapter and its parents."""

from collections.abc import Iterable, Iterator

import dagster as dg
from dagster._core.definitions.data_version import DATA_VERSION_TAG

from llmops_assets.assets.distillation import TEACHER_ANSWERS
from llmops_assets.assets.lineage import FINGERPRINT, asset_key
from llmops_assets.assets.training_sets import TRAINING_SETS, training_sets
from llmops_assets.data.licenses import UNKNOWN, union
from llmops_assets.recipe import Recipe
from llmops_assets.resources.artifacts import ArtifactStore
from llmops_assets.resources.manifest import Manifest

# How many materializations of a set are looked through before the store is.
_LOOKED_THROUGH = 200


def licensed_assets(recipe: Recipe) -> list[str]:
    """Return the sets and adapters of a lane, which a policy on licences is about."""
    return [*training_sets(recipe), *(f"{stage}_adapter" for stage in recipe.stages)]


def set_licenses(manifest: Manifest) -> dict[str, str]:
    """Return the SPDX expressions of the sources of a set, by `<set>/<source>`; votes have none."""
    summary = manifest.summary
    by_source = summary.get("licenses") or (summary.get("data_sets") or {}).get("licenses") or {}
    return {f"{manifest.asset}/{source}": expression for source, expression in by_source.items()}


def licenses_behind(
    instance: dg.DagsterInstance, store: ArtifactStore, manifests: Iterable[Manifest]
) -> dict[str, str]:
    """Return the licences of all sets that rows and adapters were made from, and their parents, by `<set>/<source>`.

    They are those of the very versions that the manifests name; of one that is gone, `unknown`. Raises CorruptArtifact.
    """
    found: dict[str, str] = {}
    for manifest in manifests:
        for source, expression in _licenses_of_chain(instance, store, manifest):
            found[source] = union([expression, *([found[source]] if source in found else [])])
    return found


def license_metadata(licenses: dict[str, str]) -> dict[str, dg.MetadataValue]:
    """Return the union of `licenses` as one expression, and each of them."""
    if not licenses:
        return {}
    return {
        "license": dg.MetadataValue.text(union(licenses.values())),
        "licenses": dg.MetadataValue.json(dict(sorted(licenses.items()))),
    }


def _licenses_of_chain(
    instance: dg.DagsterInstance, store: ArtifactStore, manifest: Manifest
) -> Iterator[tuple[str, str]]:
    for name, version in manifest.inputs.items():
        if name not in (*TRAINING_SETS, TEACHER_ANSWERS):
            continue
        made = _of_version(instance, store, manifest.recipe, name, version)
        if made is None:
            yield f"{name}@{version[:12]}", UNKNOWN
        elif name == TEACHER_ANSWERS:
            yield from _licenses_of_chain(instance, store, made)
        else:
            yield from set_licenses(made).items()
    if (parent := (manifest.run_card or {}).get("parent")) is not None:
        above = store.manifest(manifest.recipe, parent["asset"], parent["fingerprint"])
        if above is None:
            yield f"{parent['asset']}@{parent['fingerprint'][:12]}", UNKNOWN
        else:
            yield from _licenses_of_chain(instance, store, above)


def _of_version(
    instance: dg.DagsterInstance, store: ArtifactStore, recipe: str, asset: str, version: str
) -> Manifest | None:
    """Return the manifest of a set whose data version is `version`, None if it is gone.

    The newest materializations name its folder; without them all manifests in the store are read.
    """
    for record in instance.fetch_materializations(asset_key(recipe, asset), limit=_LOOKED_THROUGH).records:
        made = record.asset_materialization
        if made is not None and (made.tags or {}).get(DATA_VERSION_TAG) == version:
            return store.manifest(recipe, asset, str(made.metadata[FINGERPRINT].value))
    return store.manifest_of_version(recipe, asset, version)
