"""Versions of a lane's data sets: which there have been, what differs between two, and what the card of one says."""

from dataclasses import dataclass

import dagster as dg

from llmops_assets.assets.lineage import FINGERPRINT, NotMaterialized, asset_key, latest_artifact
from llmops_assets.data.sets.cards import CARD_FILE
from llmops_assets.data.sets.set_difference import difference_text, set_differences
from llmops_assets.errors import LlmopsError
from llmops_assets.recipe import Recipe
from llmops_assets.resources.artifacts import Artifact, ArtifactStore

_LOOKED_BACK = 200
_SHORTEST_PREFIX = 6


class NoSuchVersion(LlmopsError):
    """The lane has no such data set, or the set no such version."""


@dataclass(frozen=True)
class SetVersion:
    """One version of a set: what was asked for, and the hash of what came out."""

    fingerprint: str
    data_version: str


def set_versions(instance: dg.DagsterInstance, recipe: str, asset: str) -> list[SetVersion]:
    """Return the versions of `<recipe>/<asset>` among its last materializations, newest first, each once.

    Two of one content may follow each other, told apart by their fingerprints: another card is another artifact.
    """
    found: dict[SetVersion, None] = {}
    for record in instance.fetch_materializations(asset_key(recipe, asset), limit=_LOOKED_BACK).records:
        event = record.asset_materialization
        if event is not None and FINGERPRINT in event.metadata:
            data_version = (event.tags or {}).get("dagster/data_version", "")
            found.setdefault(SetVersion(str(event.metadata[FINGERPRINT].value), data_version))
    return list(found)


def diff_text(
    instance: dg.DagsterInstance, store: ArtifactStore, recipe: Recipe, asset: str, old: str | None, new: str | None
) -> str:
    """Return what differs between two versions of a set, told by the beginnings of their hashes.

    Without `new` that is the newest one, and without `old` the one before it.

    Raises NoSuchVersion, NotMaterialized and ArtifactMissing.
    """
    _check_is_set(recipe, asset)
    versions = set_versions(instance, recipe.name, asset)
    if not versions:
        raise NotMaterialized(f"{recipe.name}/{asset} has never been materialized; materialize it first")
    after = versions[0] if new is None else _named(versions, new, f"{recipe.name}/{asset}")
    before = _named(versions, old, f"{recipe.name}/{asset}") if old is not None else _before(versions, after)
    if before is None:
        raise NoSuchVersion(
            f"{recipe.name}/{asset} has no version before {after.data_version[:12]}; change a source or a setting, "
            "and materialize it again"
        )
    old_folder, new_folder = (store.get(recipe.name, asset, v.fingerprint).folder for v in (before, after))
    title = f"{recipe.name}/{asset}: {before.data_version[:12]} -> {after.data_version[:12]}"
    return f"{title}\n{difference_text(set_differences(old_folder, new_folder))}"


def card_of(instance: dg.DagsterInstance, store: ArtifactStore, recipe: Recipe, asset: str) -> str:
    """Return the card of the newest version; raises NoSuchVersion, NotMaterialized and ArtifactMissing."""
    _check_is_set(recipe, asset)
    file = latest_artifact(instance, store, recipe.name, asset).folder / CARD_FILE
    if not file.is_file():
        raise NoSuchVersion(f"{recipe.name}/{asset} was built before sets had cards; materialize it again")
    return file.read_text(encoding="utf-8")


def changes_since_last(instance: dg.DagsterInstance, store: ArtifactStore, artifact: Artifact) -> str:
    """Return what differs between the set that was materialized last and `artifact`, which is about to be."""
    recipe, asset = artifact.manifest.recipe, artifact.manifest.asset
    versions = set_versions(instance, recipe, asset)
    if not versions:
        return "the first version"
    if versions[0].data_version == artifact.manifest.data_version:
        return f"none: the last version, {versions[0].data_version[:12]}, says the same"
    try:
        before = store.get(recipe, asset, versions[0].fingerprint)
    except LlmopsError as error:
        return f"cannot be told, for the last version cannot be read: {error}"
    since = f"since {versions[0].data_version[:12]}"
    return f"{since}\n{difference_text(set_differences(before.folder, artifact.folder))}"


def _check_is_set(recipe: Recipe, asset: str) -> None:
    sections = {
        "corpus": recipe.corpus,
        "sft_set": recipe.sft_set,
        "thumbs_set": recipe.thumbs_set,
        "preference_set": recipe.preferences if recipe.dpo is not None else None,
    }
    known = [name for name, section in sections.items() if section is not None]
    if asset not in known:
        raise NoSuchVersion(f"{recipe.name} has no data set {asset}; choose from {', '.join(known) or 'none'}")


def _before(versions: list[SetVersion], after: SetVersion) -> SetVersion | None:
    """Return the newest version before `after` with another content."""
    older = versions[versions.index(after) + 1 :]
    return next((version for version in older if version.data_version != after.data_version), None)


def _named(versions: list[SetVersion], name: str, asset: str) -> SetVersion:
    found = [v for v in versions if v.data_version.startswith(name) or v.fingerprint.startswith(name)]
    if len(name) >= _SHORTEST_PREFIX and len({version.data_version for version in found}) == 1:
        return found[0]
    known = ", ".join(dict.fromkeys(version.data_version[:12] for version in versions))
    short = f"has fewer than {_SHORTEST_PREFIX} characters"
    problem = short if len(name) < _SHORTEST_PREFIX else "begins several versions" if found else "begins no version"
    raise NoSuchVersion(f"{name!r} {problem} of {asset}; newest first they are {known}")
