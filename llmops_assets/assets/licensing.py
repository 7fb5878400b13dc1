"""Under which licences something was made: those of the sources behind a set, or behind an adapter and its parents."""

from collections.abc import Iterable

import dagster as dg
from dagster._core.definitions.data_version import DATA_VERSION_TAG

from llmops_assets.assets.distillation import TEACHER_ANSWERS
from llmops_assets.assets.lineage import FINGERPRINT, asset_key
from llmops_assets.data.licenses import UNKNOWN, union
from llmops_assets.recipe import Recipe
from llmops_assets.resources.artifacts import Artifact, ArtifactMissing, ArtifactStore

SETS = ("corpus", "sft_set", "thumbs_set", "preference_set")
# How many materializations of a set are looked through for the one that an adapter has seen.
_LOOKED_THROUGH = 200


def licensed_assets(recipe: Recipe) -> list[str]:
    """Return the sets and adapters of a lane, which a policy on licences is about."""
    sections = (recipe.corpus, recipe.sft_set, recipe.thumbs_set, recipe.preferences if recipe.dpo else None)
    sets = [name for name, section in zip(SETS, sections, strict=True) if section is not None]
    return [*sets, *(f"{stage}_adapter" for stage in recipe.stages)]


def set_licenses(artifact: Artifact) -> dict[str, str]:
    """Return the SPDX expressions of the sources of a set, by `<set>/<source>`; votes have none."""
    summary = artifact.manifest.summary
    by_source = summary.get("licenses") or (summary.get("data_sets") or {}).get("licenses") or {}
    return {f"{artifact.manifest.asset}/{source}": expression for source, expression in by_source.items()}


def licenses_behind(
    instance: dg.DagsterInstance, store: ArtifactStore, artifacts: Iterable[Artifact]
) -> dict[str, str]:
    """Return the licences of all sets that `artifacts` were made from, by `<set>/<source>`.

    They are those of the very versions that the manifests name; of a version that is gone, `unknown`.
    """
    found: dict[str, str] = {}
    for artifact in artifacts:
        for name, version in artifact.manifest.inputs.items():
            if name not in (*SETS, TEACHER_ANSWERS):
                continue
            made = _of_version(instance, store, artifact.manifest.recipe, name, version)
            if made is None:
                found[f"{name}@{version[:12]}"] = UNKNOWN
            else:
                found |= licenses_behind(instance, store, [made]) if name == TEACHER_ANSWERS else set_licenses(made)
    return found


def license_metadata(licenses: dict[str, str]) -> dict[str, dg.MetadataValue]:
    """Return the union of `licenses` as one expression, and each of them."""
    if not licenses:
        return {}
    return {
        "license": dg.MetadataValue.text(union(licenses.values())),
        "licenses": dg.MetadataValue.json(dict(sorted(licenses.items()))),
    }


def _of_version(
    instance: dg.DagsterInstance, store: ArtifactStore, recipe: str, asset: str, version: str
) -> Artifact | None:
    """Return the artifact of a set whose data version is `version`, None if no materialization has it or it is gone."""
    for record in instance.fetch_materializations(asset_key(recipe, asset), limit=_LOOKED_THROUGH).records:
        made = record.asset_materialization
        if made is not None and (made.tags or {}).get(DATA_VERSION_TAG) == version:
            try:
                return store.get(recipe, asset, str(made.metadata[FINGERPRINT].value))
            except ArtifactMissing:
                return None
    return None
