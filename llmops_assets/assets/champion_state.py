"""Reading today's champion: the record that the newest `champion` materialization points at."""

import dagster as dg

from llmops_assets.assets.lineage import find_latest_artifact
from llmops_assets.assets.promotion import Champion
from llmops_assets.resources.artifacts import ArtifactStore

CHAMPION_FILE = "champion.json"


def current_champion(instance: dg.DagsterInstance, store: ArtifactStore, recipe: str) -> Champion | None:
    """Return the champion that the newest materialization recorded, or None if there has never been one."""
    artifact = find_latest_artifact(instance, store, recipe, "champion")
    return Champion.model_validate_json((artifact.folder / CHAMPION_FILE).read_text()) if artifact else None
