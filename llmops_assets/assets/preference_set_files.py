"""What a preference set holds: the votes that are admitted, the pairs of data sets, and their two sides as files."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmops_assets.data.sets.preference_pairs import (
    PairIntake,
    PairSourcesSpec,
    SourcedPair,
    read_pairs,
    without_leaking_pairs,
)
from llmops_assets.data.splits import pick
from llmops_assets.data.tokens import TokenCounter
from llmops_assets.errors import LlmopsError
from llmops_assets.feedback.admission import leaving_out, quarantine_row, within_rater_share
from llmops_assets.feedback.ballots import Exclusion
from llmops_assets.feedback.export import dpo_rows, rater_kinds, sealed_split
from llmops_assets.feedback.records import PairSelection, PreferencePair
from llmops_assets.feedback.specs import PreferenceSetSpec
from llmops_assets.feedback.text_identity import Turn, comparison_key, pair_id, prompt_hash, text_hash
from llmops_assets.recipe import Recipe
from llmops_assets.resources.artifacts import BuildSlot

QUARANTINE = "quarantine.jsonl"


class NotEnoughPreferences(LlmopsError):
    """A preference set was asked for, and one of its splits would be empty."""


def admitted_votes(
    selection: PairSelection, spec: PreferenceSetSpec, recipe: str, eval_items: Path | None
) -> PairSelection:
    """Leave out the pairs that would be trained on and hold an item of the eval sets, then a rater's above the share.

    Sealed pairs are measured on, and may hold items.
    """
    if eval_items is not None:
        train, _ = sealed_split(selection.pairs, spec.sealed_share, recipe)
        selection = _without_eval_items(selection, train, eval_items)
    return within_rater_share(selection, spec.max_share_per_rater)


def read_data_sets(
    slot: BuildSlot, sets: PairSourcesSpec, selection: PairSelection, base_dir: Path, recipe: Recipe
) -> PairIntake:
    """Read the pairs of data sets; one about two answers that people voted on gives way to their vote.

    What is no pair is written to the quarantine. Raises MissingSourceError, UnreadableFileError, QuarantineLimitError.
    """
    markers = TokenCounter(recipe.base_model.tokenizer_file()).special_tokens
    voted = {_answers_key(pair.prompt, pair.chosen, pair.rejected) for pair in selection.pairs}

    def is_voted(pair: SourcedPair) -> bool:
        return _answers_key(pair.prompt, pair.comparison.chosen, pair.comparison.rejected) in voted

    intake = read_pairs(sets.sources, base_dir, markers, is_voted)
    intake.quarantine.write(slot.output / QUARANTINE)
    intake.quarantine.check(sets.max_quarantined_share, where="preferences.data_sets")
    return intake


def write_preference_set(
    slot: BuildSlot,
    selection: PairSelection,
    data_sets: PairIntake | None,
    share: float,
    limit: int,
    recipe: str,
    eval_items: Path | None,
) -> dict:
    """Write what is trained on and what is sealed; of data sets `limit` sealed pairs are kept for the gate.

    Of data sets, what is trained on holds none of `eval_items`. Raises NotEnoughPreferences.
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
        # No rater: who votes may ask to be erased from the store, and this file stays.
        [pair.model_dump(include={"pair_id", "battle_id", "vote_id", "seq", "rater_kind"}) for pair in selection.pairs],
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


def read_rows(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of one of the set's files."""
    with file.open(encoding="utf-8") as stream:
        yield from map(json.loads, stream)


def _without_eval_items(selection: PairSelection, train: list[PreferencePair], eval_items: Path) -> PairSelection:
    # numpy is for those who build, not for the code location, which imports this module.
    from llmops_assets.data.evals.decontamination import EvalIndex, leaking_rows

    leaks = leaking_rows(dpo_rows(train), EvalIndex.load(eval_items))
    # The words that show a leak are the vote's text, which has no place beside its ids.
    found = ((pair, leak) for pair, leak in zip(train, leaks, strict=True) if leak is not None)
    details = {pair.vote_id: f"holds eval item {leak.item}" for pair, leak in found}
    return leaving_out(selection, details, Exclusion.CONTAMINATED)


def _left_out_rows(data_sets: PairIntake | None, selection: PairSelection) -> Iterator[dict[str, Any]]:
    """Yield the records of data sets that are no pair, then the votes that are none."""
    if data_sets is not None:
        yield from (record.to_row() for record in data_sets.quarantine.records)
    yield from map(quarantine_row, selection.left_out)


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


def _write_jsonl(slot: BuildSlot, name: str, rows: Iterable[dict]) -> None:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (slot.output / name).write_text("".join(lines), encoding="utf-8")
