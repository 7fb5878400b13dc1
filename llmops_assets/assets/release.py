"""The champion asset: the adapter that is served. It moves only on a report that says PASS, read again here."""

import dagster as dg

from llmops_assets.assets.adapter_chain import adapter_sha256, ancestors
from llmops_assets.assets.building import BuildRequest, Built, build_once
from llmops_assets.assets.champion_state import CHAMPION_FILE, current_champion
from llmops_assets.assets.eval_reports import OPPONENT, read_report
from llmops_assets.assets.lineage import asset_key, find_latest_artifact, materialized, readable_errors
from llmops_assets.assets.promotion import Challenger, Champion, Promotion, decide_promotion
from llmops_assets.recipe import Recipe
from llmops_assets.resources.artifacts import Artifact, ArtifactStore, BuildSlot
from llmops_assets.resources.tracking import Tracking
from llmops_assets.training.specs import Stage

CODE_VERSION = "1"


def promoting_stages(recipe: Recipe) -> list[Stage]:
    """Return the stages whose adapter may be served. After CPT it knows its domain, but not yet how to answer."""
    return [stage for stage in recipe.stages if stage != "cpt"]


def champion_asset(recipe: Recipe) -> dg.AssetsDefinition:
    """Return the `<recipe>/champion` asset, of a recipe with a stage that promotes."""
    reports = [f"{stage}_report" for stage in promoting_stages(recipe)]

    @dg.asset(
        key=asset_key(recipe.name, "champion"),
        deps=[asset_key(recipe.name, report) for report in reports],
        group_name=recipe.name,
        kinds={"mlflow", "json"},
        owners=recipe.owners,
        code_version=CODE_VERSION,
    )
    def champion(
        context: dg.AssetExecutionContext, artifacts: ArtifactStore, tracking: Tracking
    ) -> dg.MaterializeResult:
        """The adapter that is served. It changes only when the newest report says PASS against today's champion;
        the report is read again here, so materializing this asset alone cannot promote what a gate refused."""
        with readable_errors():
            current = current_champion(context.instance, artifacts, recipe.name)
            challengers = _challengers(context.instance, artifacts, recipe.name, reports)
            line = frozenset[str]()
            if current is not None:
                holder = artifacts.get(recipe.name, current.asset, current.fingerprint)
                line = frozenset(adapter_sha256(adapter) for adapter in ancestors(artifacts, holder))
            decision = decide_promotion(current, challengers, ancestors=line)
            artifact, reused = build_once(artifacts, _request(recipe.name, decision), _writer(decision))
            _move_aliases(tracking, artifacts, recipe.name, decision, challengers)
        context.log.info(decision.reason)
        return materialized(
            artifact,
            reused=reused,
            metadata={
                "champion": decision.champion.label,
                "moved": decision.moved,
                "reason": decision.reason,
                "adapter_sha256": decision.champion.adapter_sha256,
                "adapter": dg.MetadataValue.asset(asset_key(recipe.name, decision.champion.asset)),
            },
        )

    return champion


def _challengers(
    instance: dg.DagsterInstance, store: ArtifactStore, recipe: str, reports: list[str]
) -> list[Challenger]:
    """Return what the reports say, read from the store and verified, newest materialization first."""
    ages = {
        name: event.timestamp
        for name in reports
        if (event := instance.get_latest_materialization_event(asset_key(recipe, name))) is not None
    }
    challengers = []
    for name in sorted(ages, key=lambda name: ages[name], reverse=True):
        artifact = find_latest_artifact(instance, store, recipe, name)
        assert artifact is not None, f"{recipe}/{name} has an event, so it has an artifact"
        report, manifest = read_report(artifact), artifact.manifest
        challengers.append(
            Challenger(
                candidate=Champion(
                    asset=manifest.summary["adapter_asset"],
                    fingerprint=manifest.summary["adapter_fingerprint"],
                    adapter_sha256=manifest.inputs["candidate"],
                    label=manifest.summary["label"],
                    report_asset=name,
                    report_fingerprint=manifest.fingerprint,
                ),
                verdict=report.verdict.value,
                reason=report.summary,
                compared_with=manifest.inputs[OPPONENT],
            )
        )
    return challengers


def _request(recipe: str, decision: Promotion) -> BuildRequest:
    return BuildRequest(
        recipe=recipe,
        asset="champion",
        spec=decision.champion,
        inputs={"adapter": decision.champion.adapter_sha256, "report": decision.champion.report_fingerprint},
        code_version=CODE_VERSION,
    )


def _writer(decision: Promotion):
    def build(slot: BuildSlot) -> Built:
        (slot.output / CHAMPION_FILE).write_text(decision.champion.model_dump_json(indent=2))
        return Built(summary={"label": decision.champion.label, "reason": decision.reason})

    return build


def _move_aliases(
    tracking: Tracking, store: ArtifactStore, recipe: str, decision: Promotion, challengers: list[Challenger]
) -> None:
    """Let MLflow's `champion` follow the decision, and `challenger` name the newest candidate that did not pass."""
    tracking.set_alias(model=recipe, alias="champion", version=_registered(tracking, store, recipe, decision.champion))
    newest = challengers[0].candidate if challengers else decision.champion
    if newest.adapter_sha256 != decision.champion.adapter_sha256:
        tracking.set_alias(model=recipe, alias="challenger", version=_registered(tracking, store, recipe, newest))


def _registered(tracking: Tracking, store: ArtifactStore, recipe: str, adapter: Champion) -> str:
    artifact: Artifact = store.get(recipe, adapter.asset, adapter.fingerprint)
    return tracking.register_version(
        model=recipe,
        source=artifact.uri,
        run_id=(artifact.manifest.run_card or {}).get("mlflow_run_id"),
        tags={"version": adapter.label, "adapter_sha256": adapter.adapter_sha256},
    )
