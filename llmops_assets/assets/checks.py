"""Asset checks that stand on their own: they read an artifact and can be run again without rebuilding it."""

import dagster as dg

from llmops_assets.assets.eval_sets import ITEMS_FILE
from llmops_assets.assets.eval_sets import NAME as EVAL_SETS
from llmops_assets.assets.licensing import licenses_behind, set_licenses
from llmops_assets.assets.lineage import asset_key, latest_artifact, readable_errors
from llmops_assets.assets.preference_set_files import read_rows
from llmops_assets.assets.training_sets import TRAINING_SETS
from llmops_assets.data.evals.contamination import overlap
from llmops_assets.data.licenses import LicensePolicy, denied
from llmops_assets.data.sets.size_guidance import GUIDANCE, size_remark
from llmops_assets.feedback.export import sealed_prompts_in
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


def sealed_prompts_check(recipe: Recipe) -> dg.AssetChecksDefinition:
    """Return the blocking check that no sealed prompt of a preference set is trained on, in whatever spelling."""

    @dg.asset_check(
        asset=asset_key(recipe.name, "preference_set"),
        name="sealed_prompts_stay_sealed",
        blocking=True,
        description="No prompt of heldout.jsonl is in train.jsonl; letter case and white space make no difference.",
    )
    def sealed_prompts_stay_sealed(
        context: dg.AssetCheckExecutionContext, artifacts: ArtifactStore
    ) -> dg.AssetCheckResult:
        with readable_errors():
            folder = latest_artifact(context.instance, artifacts, recipe.name, "preference_set").folder
            found = sealed_prompts_in(read_rows(folder / "train.jsonl"), read_rows(folder / "heldout.jsonl"))
        return dg.AssetCheckResult(passed=not found, metadata={"sealed_prompts_in_train": len(found)})

    return sealed_prompts_stay_sealed


def usual_size_check(recipe: Recipe, asset: str) -> dg.AssetChecksDefinition:
    """Return the check that warns when a set is smaller than guides advise; it blocks nothing."""

    @dg.asset_check(
        asset=asset_key(recipe.name, asset),
        name="usual_size",
        description=f"As much to train on as guides name: {GUIDANCE[asset].range_text}. A warning, never a block.",
    )
    def usual_size(context: dg.AssetCheckExecutionContext, artifacts: ArtifactStore) -> dg.AssetCheckResult:
        with readable_errors():
            summary = latest_artifact(context.instance, artifacts, recipe.name, asset).manifest.summary
        # A corpus is measured in tokens; the summary of a preference set is its counts.
        count = summary.get("tokens" if asset == "corpus" else "counts", summary)["train"]
        remark = size_remark(asset, count)
        return dg.AssetCheckResult(
            passed=remark.enough,
            severity=dg.AssetCheckSeverity.WARN,
            description=remark.sentence,
            metadata={GUIDANCE[asset].unit: count},
        )

    return usual_size


def no_eval_leak_check(recipe: Recipe, asset: str) -> dg.AssetChecksDefinition:
    """Return the blocking check that no row of the training set `<recipe>/<asset>` holds an item of the eval sets."""

    @dg.asset_check(
        asset=asset_key(recipe.name, asset),
        additional_deps=[asset_key(recipe.name, EVAL_SETS)],
        name="no_eval_leak",
        blocking=True,
        description="No row of the training split holds an item of the lane's eval sets, word for word.",
    )
    def no_eval_leak(context: dg.AssetCheckExecutionContext, artifacts: ArtifactStore) -> dg.AssetCheckResult:
        # numpy is for those who build, not for the code location, which imports this module.
        from llmops_assets.data.evals.decontamination import EvalIndex, leaks_of_set

        with readable_errors():
            training = latest_artifact(context.instance, artifacts, recipe.name, asset)
            eval_sets = latest_artifact(context.instance, artifacts, recipe.name, EVAL_SETS)
            index = EvalIndex.load(eval_sets.folder / ITEMS_FILE)
            rows, leaks = leaks_of_set(training.folder, index)
        first = [f"line {line}: {leak}" for line, leak in leaks[:10]]
        return dg.AssetCheckResult(
            passed=not leaks,
            metadata={
                "rows": rows,
                "leaking": len(leaks),
                "first": dg.MetadataValue.json(first),
                "items_without_words": dg.MetadataValue.json(index.without_words[:10]),
            },
        )

    return no_eval_leak


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
            if asset in TRAINING_SETS:
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
