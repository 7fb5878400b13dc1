"""Asset checks that stand on their own: they read an artifact and can be run again without rebuilding it."""

import dagster as dg

from llmops_assets.assets.licensing import SETS, licenses_behind, set_licenses
from llmops_assets.assets.lineage import asset_key, latest_artifact, readable_errors
from llmops_assets.data.contamination import overlap
from llmops_assets.data.licenses import LicensePolicy, denied
from llmops_assets.recipe import Recipe
from llmops_assets.resources.artifacts import ArtifactStore


def no_train_eval_overlap_check(recipe: Recipe, asset: str) -> dg.AssetChecksDefinition:
    """Return the blocking check that train and held-out split of `<recipe>/<asset>` share nothing."""

    @dg.asset_check(
        asset=asset_key(recipe.name, asset),
        name="no_train_eval_overlap",
        blocking=True,
        description="No id, group, question, answer or text of the held-out split occurs in the training split.",
    )
    def no_train_eval_overlap(context: dg.AssetCheckExecutionContext, artifacts: ArtifactStore) -> dg.AssetCheckResult:
        with readable_errors():
            artifact = latest_artifact(context.instance, artifacts, recipe.name, asset)
            found = overlap(artifact.folder / "train.jsonl", artifact.folder / "heldout.jsonl")
        return dg.AssetCheckResult(
            passed=not found,
            metadata={
                "overlapping": len(found),
                "first": dg.MetadataValue.json([f"{o.kind}: {o.heldout_id} in {o.train_id}" for o in found[:10]]),
            },
        )

    return no_train_eval_overlap


def votes_of_one_kind_check(recipe: Recipe) -> dg.AssetChecksDefinition:
    """Return the check that warns when real and simulated votes are in one preference set."""

    @dg.asset_check(
        asset=asset_key(recipe.name, "preference_set"),
        name="votes_of_one_kind",
        description="Simulated votes are not mixed with votes of people; the manifest names both in any case.",
    )
    def votes_of_one_kind(context: dg.AssetCheckExecutionContext, artifacts: ArtifactStore) -> dg.AssetCheckResult:
        with readable_errors():
            kinds = latest_artifact(context.instance, artifacts, recipe.name, "preference_set").manifest.summary[
                "rater_kinds"
            ]
        return dg.AssetCheckResult(
            passed="simulated" not in kinds or len(kinds) == 1,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={kind: count for kind, count in kinds.items()},
        )

    return votes_of_one_kind


def licenses_permitted_check(recipe: Recipe, policy: LicensePolicy, asset: str) -> dg.AssetChecksDefinition:
    """Return the check that warns when a set, or an adapter's ancestry, has a source whose licence `policy` denies."""

    @dg.asset_check(
        asset=asset_key(recipe.name, asset),
        name="licenses_permitted",
        description=f"No source has a licence that the recipe denies: {', '.join(policy.deny)}. For an adapter, "
        "sources are those of all sets that it and its parents were trained on.",
    )
    def licenses_permitted(context: dg.AssetCheckExecutionContext, artifacts: ArtifactStore) -> dg.AssetCheckResult:
        with readable_errors():
            artifact = latest_artifact(context.instance, artifacts, recipe.name, asset)
            if asset in SETS:
                licenses = set_licenses(artifact.manifest)
            else:
                licenses = licenses_behind(context.instance, artifacts, [artifact.manifest])
        unwanted = denied(licenses, policy.deny)
        return dg.AssetCheckResult(
            passed=not unwanted,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"denied": dg.MetadataValue.json(unwanted), "licenses": dg.MetadataValue.json(licenses)},
        )

    return licenses_permitted
