"""Votes as an observable external asset, and the preference set: a snapshot of the usable pairs among them."""

import hashlib
import json

import dagster as dg

from llmops_assets.assets.adapters import WATERMARK
from llmops_assets.assets.building import BuildRequest, Built, build_once
from llmops_assets.assets.launchpad import launchpad_config, resolved
from llmops_assets.assets.lineage import asset_key, materialized, readable_errors
from llmops_assets.assets.previews import counts_table, example_rows
from llmops_assets.errors import LlmopsError
from llmops_assets.feedback.export import dpo_rows, rater_kinds, sealed_split
from llmops_assets.feedback.records import PairSelection, PreferencePair
from llmops_assets.feedback.specs import PreferenceSetSpec, PreferenceSpec
from llmops_assets.recipe import Recipe
from llmops_assets.resources.artifacts import ArtifactStore, BuildSlot
from llmops_assets.resources.feedback import FeedbackResource

CODE_VERSION = "1"
THROUGH_TAG = "llmops/preferences_through"


class NotEnoughPreferences(LlmopsError):
    """A preference set was asked for, and one of its splits would be empty."""


def preference_votes_asset(recipe: Recipe) -> dg.SourceAsset:
    """Return the observable external asset `<recipe>/preference_votes`."""

    @dg.observable_source_asset(
        key=asset_key(recipe.name, "preference_votes"),
        group_name=recipe.name,
        description="Votes of people (or, in the demo, of a rater labelled `simulated`) between two answers. "
        "They live in the feedback store; observing this asset records how many there are.",
    )
    def preference_votes(feedback: FeedbackResource) -> dg.ObserveResult:
        with readable_errors(), feedback.open() as store:
            counts = store.count_usable(recipe.name, after_seq=0)
        return dg.ObserveResult(
            data_version=dg.DataVersion(str(counts.through_seq)),
            metadata={"votes/usable_pairs": counts.new_usable, "votes/through_seq": counts.through_seq},
        )

    return preference_votes


def preference_set_asset(recipe: Recipe, section: PreferenceSpec) -> dg.AssetsDefinition:
    """Return the `<recipe>/preference_set` asset."""
    settings = PreferenceSetSpec(sealed_share=section.sealed_share)
    config_class = launchpad_config(settings)

    @dg.asset(
        key=asset_key(recipe.name, "preference_set"),
        deps=[asset_key(recipe.name, "preference_votes")],
        group_name=recipe.name,
        kinds={"python", "json"},
        owners=recipe.owners,
        code_version=CODE_VERSION,
    )
    def preference_set(
        context: dg.AssetExecutionContext,
        config: config_class,  # pyright: ignore[reportInvalidTypeForm] - made from the recipe's section
        artifacts: ArtifactStore,
        feedback: FeedbackResource,
    ) -> dg.MaterializeResult:
        """Chosen and rejected answers from the votes that can be trained on: decisive, not contradicted, no
        duplicates. A share of the prompts, drawn by hash, is sealed for the gate and never trained on."""
        with readable_errors():
            spec = resolved(settings, config)
            through = context.run.tags.get(THROUGH_TAG)
            with feedback.open() as store:
                selection = store.usable_pairs(recipe.name, through_seq=int(through) if through else None)
                quality = store.stats(recipe.name, through_seq=selection.through_seq)
            request = BuildRequest(
                recipe=recipe.name,
                asset="preference_set",
                spec=spec,
                inputs={"pairs": _pairs_version(selection)},
                code_version=CODE_VERSION,
            )

            def build(slot: BuildSlot) -> Built:
                kept = _write_splits(slot, selection, spec, recipe.name)
                return Built(summary=kept | {"quality": quality.model_dump(mode="json")})

            artifact, reused = build_once(artifacts, request, build)
        summary = artifact.manifest.summary
        return materialized(
            artifact,
            reused=reused,
            metadata={
                WATERMARK: selection.through_seq,
                "dagster/row_count": summary["train"],
                "rows/heldout": summary["heldout"],
                "raters": counts_table(summary["rater_kinds"]),
                "contains_simulated_votes": summary["contains_simulated_votes"],
                "votes_left_out": counts_table(selection.excluded),
                "quality": dg.MetadataValue.json(quality.model_dump(mode="json")),
                "examples": example_rows(artifact.folder / "heldout.jsonl", lambda row: json.dumps(row, indent=1)),
            },
        )

    return preference_set


def _pairs_version(selection: PairSelection) -> str:
    lines = [f"{pair.pair_id} {pair.vote_id} {pair.rater_kind}" for pair in selection.pairs]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _write_splits(slot: BuildSlot, selection: PairSelection, spec: PreferenceSetSpec, recipe: str) -> dict:
    train, heldout = sealed_split(selection.pairs, spec.sealed_share, recipe)
    if not train or not heldout:
        raise NotEnoughPreferences(
            f"{recipe}: {len(selection.pairs)} usable pairs give {len(train)} to train on and {len(heldout)} to hold "
            f"out (votes left out: {selection.excluded or 'none'}); collect more votes, or import some with "
            f"`llmops votes import`"
        )
    _write_jsonl(slot, "train.jsonl", dpo_rows(train))
    _write_jsonl(slot, "heldout.jsonl", [_scored_row(pair) for pair in heldout])
    _write_jsonl(
        slot,
        "votes.jsonl",
        [
            pair.model_dump(include={"pair_id", "battle_id", "vote_id", "seq", "rater_id", "rater_kind"})
            for pair in selection.pairs
        ],
    )
    kinds = rater_kinds(selection.pairs)
    return {
        "train": len(train),
        "heldout": len(heldout),
        "rater_kinds": kinds,
        "contains_simulated_votes": "simulated" in kinds,
        "through_seq": selection.through_seq,
    }


def _scored_row(pair: PreferencePair) -> dict:
    return {
        "pair_id": pair.pair_id,
        "prompt": [message.model_dump() for message in pair.prompt],
        "chosen": pair.chosen,
        "rejected": pair.rejected,
    }


def _write_jsonl(slot: BuildSlot, name: str, rows: list[dict]) -> None:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (slot.output / name).write_text("".join(lines), encoding="utf-8")
