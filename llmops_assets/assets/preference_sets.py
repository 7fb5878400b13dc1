"""Votes as an observable external asset, and the preference set: a snapshot of the usable pairs among them."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg

from llmops_assets.assets.adapters import WATERMARK
from llmops_assets.assets.building import BuildRequest, Built, build_once
from llmops_assets.assets.eval_sets import current_eval_sets, eval_sets_deps, eval_sets_input, items_file
from llmops_assets.assets.launchpad import launchpad_config, part_of, resolved
from llmops_assets.assets.lineage import asset_key, materialized, readable_errors
from llmops_assets.assets.previews import counts_table, example_rows
from llmops_assets.assets.set_pages import card_input, set_page
from llmops_assets.assets.sources import facts_metadata, facts_summary, source_keys
from llmops_assets.data.card_facts import preference_facts
from llmops_assets.data.cards import write_card
from llmops_assets.data.preference_pairs import (
    PairIntake,
    PairSourcesSpec,
    SourcedPair,
    read_pairs,
    without_leaking_pairs,
)
from llmops_assets.data.records import row_hash
from llmops_assets.data.sources_at_hand import SourcesAtHand
from llmops_assets.data.splits import pick
from llmops_assets.data.tokens import TokenCounter
from llmops_assets.errors import LlmopsError
from llmops_assets.feedback.admission import admitted_pairs, leaving_out, quarantine_row, within_rater_share
from llmops_assets.feedback.ballots import Exclusion
from llmops_assets.feedback.export import dpo_rows, rater_kinds, sealed_split
from llmops_assets.feedback.records import PairSelection, PreferencePair
from llmops_assets.feedback.specs import PreferenceSetSpec
from llmops_assets.feedback.text_identity import Turn, comparison_key, pair_id, prompt_hash, text_hash
from llmops_assets.recipe import PreferencesSection, Recipe
from llmops_assets.resources.artifacts import ArtifactStore, BuildSlot
from llmops_assets.resources.feedback import FeedbackResource
from llmops_assets.settings import configs_dir
from llmops_assets.training.digests import file_sha256

CODE_VERSION = "5"
THROUGH_TAG = "llmops/preferences_through"
QUARANTINE = "quarantine.jsonl"


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


def preference_set_asset(recipe: Recipe, section: PreferencesSection) -> dg.AssetsDefinition:
    """Return the `<recipe>/preference_set` asset: usable votes, and the pairs of data sets that the recipe names."""
    settings = part_of(section, PreferenceSetSpec)
    config_class = launchpad_config(settings)

    @dg.asset(
        key=asset_key(recipe.name, "preference_set"),
        deps=[
            asset_key(recipe.name, "preference_votes"),
            *source_keys(recipe, "preference_set"),
            *eval_sets_deps(recipe),
        ],
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
        duplicates, no names that give a side away, within a rater's share; and the pairs of data sets that the recipe
        names. A share of the prompts, drawn by hash, is sealed for the gate and never trained on. Every other vote is
        in quarantine.jsonl with its reason."""
        with readable_errors():
            spec = resolved(settings, config)
            sets, base_dir = section.data_sets, configs_dir() / "recipes"
            at_hand = SourcesAtHand.look_up(sets.sources if sets else [], base_dir)
            eval_sets = current_eval_sets(context.instance, artifacts, recipe)
            through = context.run.tags.get(THROUGH_TAG)
            with feedback.open() as store:
                base_model, through_seq = recipe.base_model.name, int(through) if through else None
                selection = admitted_pairs(store, recipe.name, spec, base_model, through_seq=through_seq)
            request = BuildRequest(
                recipe=recipe.name,
                asset="preference_set",
                spec=spec,
                inputs={
                    "pairs": _pairs_version(selection),
                    "left_out": row_hash([vote.model_dump() for vote in selection.left_out]),
                    **_data_set_inputs(sets, at_hand, recipe),
                    **card_input(recipe),
                    **eval_sets_input(eval_sets),
                },
                code_version=CODE_VERSION,
            )

            def build(slot: BuildSlot) -> Built:
                held = None if sets is None else sets.model_copy(update={"sources": at_hand.sources})
                items = items_file(eval_sets)
                votes = _admitted(selection, spec, recipe.name, items)
                data_sets = None if held is None else _read_data_sets(slot, held, votes, base_dir, recipe)
                limit = 0 if sets is None else sets.max_sealed
                kept = _write(slot, votes, data_sets, spec.sealed_share, limit, recipe.name, items)
                facts = preference_facts(recipe.name, spec, at_hand, kept)
                write_card(slot.output, facts, recipe.card)
                return Built(summary=kept | facts_summary(at_hand))

            artifact, reused = build_once(artifacts, request, build)
            page = set_page(context.instance, artifacts, artifact)
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
                "votes_left_out": counts_table(summary["votes_left_out"]),
                "quarantined": counts_table(summary.get("quarantined", {})),
                **({"data_sets": dg.MetadataValue.json(found)} if (found := summary.get("data_sets")) else {}),
                **facts_metadata(at_hand, found["pairs"] if found else {}),
                "examples": example_rows(artifact.folder / "heldout.jsonl", lambda row: json.dumps(row, indent=1)),
                **page,
            },
        )

    return preference_set


def _pairs_version(selection: PairSelection) -> str:
    lines = [f"{pair.pair_id} {pair.vote_id} {pair.rater_kind}" for pair in selection.pairs]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _data_set_inputs(sets: PairSourcesSpec | None, at_hand: SourcesAtHand, recipe: Recipe) -> dict[str, str]:
    if sets is None:
        return {}
    return {
        "data_sets": row_hash(sets.model_dump(mode="json")),
        "tokenizer": file_sha256(recipe.base_model.tokenizer_file()),
        **at_hand.inputs,
    }


def _read_data_sets(
    slot: BuildSlot, sets: PairSourcesSpec, selection: PairSelection, base_dir: Path, recipe: Recipe
) -> PairIntake:
    """Read the pairs of data sets; one about two answers that people voted on gives way to their vote."""
    markers = TokenCounter(recipe.base_model.tokenizer_file()).special_tokens
    voted = {_answers_key(pair.prompt, pair.chosen, pair.rejected) for pair in selection.pairs}

    def is_voted(pair: SourcedPair) -> bool:
        return _answers_key(pair.prompt, pair.comparison.chosen, pair.comparison.rejected) in voted

    intake = read_pairs(sets.sources, base_dir, markers, is_voted)
    intake.quarantine.write(slot.output / QUARANTINE)
    intake.quarantine.check(sets.max_quarantined_share, where="preferences.data_sets")
    return intake


def _left_out_rows(data_sets: PairIntake | None, selection: PairSelection) -> Iterator[dict[str, Any]]:
    """Yield the records of data sets that are no pair, then the votes that are none."""
    if data_sets is not None:
        yield from (record.to_row() for record in data_sets.quarantine.records)
    yield from map(quarantine_row, selection.left_out)


def _admitted(selection: PairSelection, spec: PreferenceSetSpec, recipe: str, eval_items: Path | None) -> PairSelection:
    """Leave out the pairs that would be trained on and hold an item of the eval sets, then a rater's above the share.

    Sealed pairs are measured on, and may hold items.
    """
    if eval_items is not None:
        train, _ = sealed_split(selection.pairs, spec.sealed_share, recipe)
        selection = _without_eval_items(selection, train, eval_items)
    return within_rater_share(selection, spec.max_share_per_rater)


def _without_eval_items(selection: PairSelection, train: list[PreferencePair], eval_items: Path) -> PairSelection:
    # numpy is for those who build, not for the code location, which imports this module.
    from llmops_assets.data.decontamination import EvalIndex, leaking_rows

    leaks = leaking_rows(dpo_rows(train), EvalIndex.load(eval_items))
    # The words that show a leak are the vote's text, which has no place beside its ids.
    found = ((pair, leak) for pair, leak in zip(train, leaks, strict=True) if leak is not None)
    details = {pair.vote_id: f"holds eval item {leak.item}" for pair, leak in found}
    return leaving_out(selection, details, Exclusion.CONTAMINATED)


def _write(
    slot: BuildSlot,
    selection: PairSelection,
    data_sets: PairIntake | None,
    share: float,
    limit: int,
    recipe: str,
    eval_items: Path | None,
) -> dict:
    """Write what is trained on and what is sealed; of data sets `limit` sealed pairs are kept for the gate.

    Of data sets, what is trained on holds none of `eval_items`.
    """
    train, heldout = sealed_split(selection.pairs, share, recipe)
    more_train, more_sealed = sealed_split(data_sets.kept if data_sets else [], share, recipe)
    more_heldout = pick(more_sealed, limit, seed=0, key=lambda pair: f"{pair.source} {pair.origin}")
    if eval_items is not None and data_sets is not None:
        more_train = without_leaking_pairs(more_train, eval_items, data_sets.quarantine)
        # What is counted, and measured of lengths and margins, is what stays.
        data_sets = replace(data_sets, kept=[*more_train, *more_sealed])
    rows = [*dpo_rows(train), *(pair.to_row() for pair in more_train)]
    scored = [*(_scored_row(pair) for pair in heldout), *(_scored_sourced_row(pair) for pair in more_heldout)]
    if not rows or not scored:
        raise NotEnoughPreferences(
            f"{recipe}: {len(rows) + len(scored)} usable pairs give {len(rows)} to train on and {len(scored)} to "
            f"hold out (votes left out: {selection.excluded or 'none'}); collect more votes, import some with "
            f"`llmops votes import`, or name data sets in preferences.data_sets"
        )
    _write_jsonl(slot, QUARANTINE, _left_out_rows(data_sets, selection))
    _write_jsonl(slot, "train.jsonl", rows)
    _write_jsonl(slot, "heldout.jsonl", scored)
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
        "train": len(rows),
        "heldout": len(scored),
        "rater_kinds": kinds,
        "contains_simulated_votes": "simulated" in kinds,
        "votes_left_out": selection.excluded,
        "through_seq": selection.through_seq,
        "data_sets": data_sets.summary() | _split_counts(rows, more_sealed, more_heldout) if data_sets else {},
        "quarantined": data_sets.quarantine.by_reason() if data_sets else {},
    }


def _split_counts(rows: list[dict], sealed: list[SourcedPair], heldout: list[SourcedPair]) -> dict[str, Any]:
    return {
        "train": sum("source" in row for row in rows),
        "heldout": len(heldout),
        "sealed_beyond_max_sealed": len(sealed) - len(heldout),
        "train_by_source": dict(Counter(row["source"] for row in rows if "source" in row)),
        "sealed_by_source": dict(Counter(pair.source for pair in sealed)),
    }


def _answers_key(prompt: Sequence[Turn], *answers: str) -> str:
    return comparison_key(prompt_hash(prompt), *map(text_hash, answers))


def _scored_sourced_row(pair: SourcedPair) -> dict:
    row = pair.to_row()
    texts = (prompt_hash(pair.prompt), text_hash(row["chosen"]), text_hash(row["rejected"]))
    return {"pair_id": pair_id(*texts), **row}


def _scored_row(pair: PreferencePair) -> dict:
    return {
        "pair_id": pair.pair_id,
        "prompt": [message.model_dump() for message in pair.prompt],
        "chosen": pair.chosen,
        "rejected": pair.rejected,
    }


def read_rows(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of one of the set's files."""
    with file.open(encoding="utf-8") as stream:
        yield from map(json.loads, stream)


def _write_jsonl(slot: BuildSlot, name: str, rows: Iterable[dict]) -> None:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (slot.output / name).write_text("".join(lines), encoding="utf-8")
