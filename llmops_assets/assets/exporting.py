"""From a version's label to the job that exports it: its artifact, its chain, and questions to check a merge with."""

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import dagster as dg

from llmops_assets.assets.adapter_chain import adapter_ref, adapter_sha256, ancestors
from llmops_assets.assets.champion_state import current_champion
from llmops_assets.assets.lineage import FINGERPRINT, find_latest_artifact
from llmops_assets.errors import LlmopsError
from llmops_assets.feedback.store import FeedbackStore
from llmops_assets.recipe import Recipe
from llmops_assets.resources.artifacts import MANIFEST, Artifact, ArtifactStore
from llmops_assets.resources.export import run_export
from llmops_assets.settings import state_dir
from llmops_assets.training.export.job import ExportJob, ExportResult, Precision, StageFacts

_PROBES = 12
_PAGE = 100


class UnknownExport(LlmopsError):
    """There is no adapter of the version that is to be exported."""


def export_version(
    instance: dg.DagsterInstance,
    recipe: Recipe,
    version: str | None,
    *,
    artifacts: ArtifactStore,
    store: FeedbackStore,
    out: Path,
    merge: bool,
    precision: Precision,
    served_base: str | None,
    on_line: Callable[[str], None],
) -> ExportResult:
    """Export a version of a lane, by its label such as v1.1, or the champion; see `ExportJob` for the settings.

    Raises:
        UnknownExport: there is no such version, or no champion yet.
        ExportFailed: the export process says what is wrong.
        ArtifactMissing, CorruptArtifact: something of the adapter's chain cannot be read.
    """
    adapter = _adapter(instance, artifacts, recipe.name, version, store)
    label = store.version_label(adapter_sha256(adapter)) or version or adapter.manifest.asset
    chain = [adapter, *ancestors(artifacts, adapter)]
    scratch = state_dir() / "exports" / recipe.name / label
    scratch.mkdir(parents=True, exist_ok=True)
    # Not the artifact's own file: a remote store's local copy has none.
    manifest = scratch / MANIFEST
    manifest.write_text(adapter.manifest.model_dump_json(indent=2), encoding="utf-8")
    job = ExportJob(
        name=f"{recipe.name} {label}",
        base_model=recipe.base_model.resolve(),
        adapter=adapter_ref(artifacts, adapter),
        chain=tuple(_facts(stage, store) for stage in reversed(chain)),
        merge=merge,
        precision=precision,
        served_base=served_base,
        probes=_probes(find_latest_artifact(instance, artifacts, recipe.name, "sft_set") if recipe.sft_set else None),
        manifest=manifest,
        output_dir=out.absolute(),
    )
    return run_export(job, scratch, on_line)


def _adapter(
    instance: dg.DagsterInstance, artifacts: ArtifactStore, recipe: str, version: str | None, store: FeedbackStore
) -> Artifact:
    if version is None:
        champion = current_champion(instance, artifacts, recipe)
        if champion is None:
            raise UnknownExport(f"{recipe} has no champion yet; name a version, such as v1.0")
        return artifacts.get(recipe, champion.asset, champion.fingerprint)
    known = {entry.label: entry for entry in store.versions(recipe)}
    if version not in known:
        raise UnknownExport(f"{recipe} has no version {version} (known: {', '.join(known) or 'none yet'})")
    key = dg.AssetKey.from_user_string(known[version].asset_key)
    fingerprint = _fingerprint_of(instance, key, known[version].adapter_sha256)
    if fingerprint is None:
        raise UnknownExport(
            f"{recipe} {version} is known from its votes, but no materialization of {key.to_user_string()} in this "
            "Dagster instance made it; export it where it was trained"
        )
    return artifacts.get(recipe, key.path[-1], fingerprint)


def _fingerprint_of(instance: dg.DagsterInstance, key: dg.AssetKey, sha256: str) -> str | None:
    """Return the artifact of the newest materialization whose weights have this digest."""
    cursor = None
    while True:
        page = instance.fetch_materializations(key, limit=_PAGE, cursor=cursor)
        for record in page.records:
            assert record.asset_materialization is not None
            metadata = {name: entry.value for name, entry in record.asset_materialization.metadata.items()}
            if metadata.get("adapter_sha256") == sha256:
                return str(metadata[FINGERPRINT])
        if not page.has_more:
            return None
        cursor = page.cursor


def _facts(stage: Artifact, store: FeedbackStore) -> StageFacts:
    manifest = stage.manifest
    sha256 = adapter_sha256(stage)
    return StageFacts(
        asset=f"{manifest.recipe}/{manifest.asset}",
        stage=str(manifest.spec.get("stage", manifest.asset.removesuffix("_adapter"))),
        version=store.version_label(sha256),
        sha256=sha256,
        mode=str((manifest.run_card or {}).get("mode", "new")),
        inputs=manifest.inputs,
        metrics={key: float(value) for key, value in manifest.summary.items() if isinstance(value, int | float)},
    )


def _probes(sft_set: Artifact | None) -> tuple[str, ...]:
    """Return the first questions of the held-out conversations; none if the lane has no such set."""
    if sft_set is None:
        return ()
    with (sft_set.folder / "heldout.jsonl").open(encoding="utf-8") as stream:
        rows = [json.loads(line)["messages"] for line in islice(stream, _PROBES)]
    questions = (next((message["content"] for message in row if message["role"] == "user"), None) for row in rows)
    return tuple(question for question in questions if question)
