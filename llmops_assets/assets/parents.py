"""Which adapter a DPO run continues, and therefore which policy it is held against."""

import dagster as dg

from llmops_assets.assets.adapter_chain import adapter_sha256, ancestors
from llmops_assets.assets.champion_state import current_champion
from llmops_assets.assets.lineage import latest_artifact
from llmops_assets.recipe import Recipe
from llmops_assets.resources.artifacts import Artifact, ArtifactStore


def dpo_parent(instance: dg.DagsterInstance, store: ArtifactStore, recipe: Recipe, preference_version: str) -> Artifact:
    """Return the adapter that a DPO run on the preference set `preference_version` continues.

    That is the champion, if it descends from today's SFT (or KD) adapter; a challenger that its gate refused is not
    built upon. An adapter that was itself trained on this very preference set gives way to its parent, so that running
    again with nothing new asks for the same adapter again, and trains nothing. Else it is that SFT or KD adapter.
    """
    root_name = recipe.parent_of("dpo")
    assert root_name is not None, "a recipe with a dpo stage has an sft stage"
    root = latest_artifact(instance, store, recipe.name, root_name)
    champion = current_champion(instance, store, recipe.name)
    if champion is None:
        return root
    holder = store.get(recipe.name, champion.asset, champion.fingerprint)
    line = [holder, *ancestors(store, holder)]
    if adapter_sha256(root) not in [adapter_sha256(adapter) for adapter in line]:
        return root
    return next(a for a in line if a.manifest.inputs.get("preference_set") != preference_version)
