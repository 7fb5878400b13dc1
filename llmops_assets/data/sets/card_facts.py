"""What the cards of the four kinds of sets say, from the recipe's settings and the summary of the build."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel

from llmops_assets.data.sets.cards import CardFacts
from llmops_assets.data.sets.data_set import DataSetSummary
from llmops_assets.data.sets.mixing import source_mix
from llmops_assets.data.sets.size_guidance import size_remark
from llmops_assets.data.sources.named_sets import resolved
from llmops_assets.data.sources.remote_files import is_url, without_secrets
from llmops_assets.data.sources.sources_at_hand import SourcesAtHand
from llmops_assets.data.sources.specs import FilesSource, HubSource, RegistrySource, SourceSpec


def _columns(type: str, *names: str) -> list[dict[str, object]]:
    return [{"name": name, "dtype": type} for name in names]


# `datasets` tells types by the first file alone, which may have no class, no weight and no span where the other has.
_SFT_FEATURES = [
    *_columns("string", "id", "source", "origin", "group", "generator", "class"),
    *_columns("int64", "tokens"),
    {"name": "messages", "list": [*_columns("string", "role", "content"), *_columns("int64", "weight")]},
    {
        "name": "spans",
        "list": [
            *_columns("string", "document_id", "source_sha256"),
            *_columns("int64", "start", "end"),
            *_columns("bool", "whitespace_normalised"),
        ],
    },
]
_PARAPHRASES = "Comparison is of words: a paraphrase or a translation is not found."


def summarized_facts(
    recipe: str, asset: str, settings: BaseModel, at_hand: SourcesAtHand, summary: DataSetSummary
) -> CardFacts:
    """Return the facts of a corpus or an SFT set."""
    about = {
        "corpus": "Text for continued pre-training: train.jsonl has chunks (`text`), heldout.jsonl whole documents.",
        "sft_set": "Conversations for supervised fine-tuning, as `messages`.",
    }[asset]
    amount = summary.tokens["train"] if asset == "corpus" else summary.counts["train"]
    drawn_out = summary.counts.get("not_drawn", 0)
    counted = {share.source: share for share in source_mix(summary)}
    tables = {
        "Sources": [
            {
                **_origin(source, at_hand, summary.licenses),
                "read": counted[source.name].read,
                "kept": counted[source.name].kept,
                "not drawn": counted[source.name].not_drawn,
                "tokens": counted[source.name].tokens,
                "share": _percent(counted[source.name].token_share),
                **({"asked": _percent(summary.shares[source.name])} if summary.shares else {}),
            }
            for source in at_hand.named
        ],
        "What was left out": [
            *_counts("reason", summary.quarantined),
            *([{"reason": "not drawn, by limits and weights", "rows": drawn_out}] if drawn_out else []),
        ],
        "What made the rows": _counts("generator", summary.generators),
        "Languages of documents": _counts("language", summary.languages, "documents"),
        "Personal data that was masked": _counts("kind", summary.masked, "places"),
        **_statistics(summary),
        "Classes": [{"class": name, **counts} for name, counts in summary.classes.items()],
        "Processing": _settings(settings),
    }
    gaps = [size_remark(asset, amount).sentence, *_short_classes(summary), *_gaps_of(at_hand, summary.licenses)]
    if asset == "sft_set" and getattr(settings, "near_duplicate_threshold", None) is None:
        gaps.append("Near-duplicates were not looked for: near_duplicate_threshold is not set.")
    if getattr(settings, "pii", "keep") == "keep":
        gaps.append("Personal data were not looked for.")
    return CardFacts(
        name=f"{recipe}/{asset}",
        about=about,
        splits={
            "train": ("train.jsonl", summary.counts["train"], summary.tokens["train"]),
            "test": ("heldout.jsonl", summary.counts["heldout"], summary.tokens["heldout"]),
        },
        licenses=summary.licenses,
        tables=tables,
        gaps=[*gaps, _PARAPHRASES],
        features=_SFT_FEATURES if asset == "sft_set" else (),
    )


def preference_facts(recipe: str, settings: BaseModel, at_hand: SourcesAtHand, summary: Mapping[str, Any]) -> CardFacts:
    """Return the facts of a preference set, whose `summary` has counts of votes and of data sets."""
    sets: Mapping[str, Any] = summary.get("data_sets") or {}
    licenses: Mapping[str, str] = sets.get("licenses", {})
    pairs: Mapping[str, int] = sets.get("pairs", {})
    raters: Mapping[str, int] = summary["rater_kinds"]
    gaps = [size_remark("preference_set", summary["train"]).sentence, *_gaps_of(at_hand, licenses)]
    if summary["contains_simulated_votes"]:
        gaps.append("It holds simulated votes: they are a program's, and say nothing of what people prefer.")
    if raters:
        gaps.append("Votes are on answers of this lane's own models; no licence is stated for them.")
    return CardFacts(
        name=f"{recipe}/preference_set",
        about="Preference pairs: a prompt, the chosen and the rejected answer. The test split is sealed by a hash of "
        "the prompt and never trained on.",
        splits={
            "train": ("train.jsonl", summary["train"], None),
            "test": ("heldout.jsonl", summary["heldout"], None),
        },
        licenses=licenses,
        tables={
            "Votes": _counts("rater", raters),
            "Votes that were left out": _counts("reason", summary.get("votes_left_out", {}), "votes"),
            "Sources": [
                {
                    **_origin(source, at_hand, licenses),
                    "pairs": pairs.get(source.name, 0),
                    "chosen is longer": _percent(sets.get("chosen_is_longer", {}).get(source.name)),
                }
                for source in at_hand.named
            ],
            "What was left out": _counts("reason", summary["quarantined"]),
            "Processing": _settings(settings),
        },
        gaps=gaps,
    )


def thumbs_facts(recipe: str, settings: BaseModel, at_hand: SourcesAtHand, summary: Mapping[str, Any]) -> CardFacts:
    """Return the facts of a thumbs set."""
    return CardFacts(
        name=f"{recipe}/thumbs_set",
        about="Single answers (`prompt`, `completion`) with a thumb: `label` is true for up.",
        splits={"train": ("train.jsonl", summary["train"], None)},
        licenses=summary["licenses"],
        tables={
            "Thumbs": _counts("label", {"up": summary["up"], "down": summary["down"]}),
            "Sources": [
                {**_origin(source, at_hand, summary["licenses"]), **_spaced(summary["sources"][source.name])}
                for source in at_hand.named
            ],
            "What was left out": _counts("reason", summary["quarantined"]),
            "Processing": _settings(settings),
        },
        gaps=_gaps_of(at_hand, summary["licenses"]),
    )


def _origin(source: SourceSpec, at_hand: SourcesAtHand, licenses: Mapping[str, str]) -> dict[str, object]:
    """Return how a source is called, where it is, and what of it was read, without a path of the machine that read."""
    known = at_hand.by_name.get(source.name)
    return {
        "source": source.name,
        "kind": source.model_dump()["kind"],
        "where": _where(source),
        "revision": known and known.revision,
        "licence": licenses.get(source.name, "unknown"),
        "content": known and known.content_hash[:12],
    }


def _where(source: SourceSpec) -> str | None:
    match source:
        case HubSource():
            found = resolved(source)
            return f"{_shown(found.dataset)}, split {found.split}"
        case FilesSource():
            return _shown(source.pattern)
        case RegistrySource():
            return f"{source.dataset} of {_shown(source.file)}"
    return None


def _shown(place: str) -> str:
    absolute = not is_url(place) and PurePath(place).is_absolute()
    return PurePath(place).name if absolute else without_secrets(place)


def _gaps_of(at_hand: SourcesAtHand, licenses: Mapping[str, str]) -> list[str]:
    unknown = sorted(name for name, license in licenses.items() if license == "unknown")
    gaps = []
    if unknown:
        gaps.append(f"The licence is not stated for {', '.join(unknown)}.")
    if at_hand.moving:
        gaps.append(f"No revision is pinned for {', '.join(at_hand.moving)}; it may read another version tomorrow.")
    return gaps


def _short_classes(summary: DataSetSummary) -> list[str]:
    short = short_classes(summary)
    if not short:
        return []
    named = ", ".join(f"{name} ({count})" for name, count in short.items())
    return [f"Classes with fewer than {summary.val_per_class} conversations in test: {named}."]


def short_classes(summary: DataSetSummary) -> dict[str, int]:
    """Return the classes of which fewer are held out than val_per_class asks for, with how many are."""
    asked = summary.val_per_class or 0
    return {name: counts["heldout"] for name, counts in summary.classes.items() if counts["heldout"] < asked}


def _statistics(summary: DataSetSummary) -> dict[str, list[dict[str, object]]]:
    found = summary.statistics
    if found is None:
        return {"Tokens of a row in train": [{**summary.tokens_per_row}]}
    return {
        "Tokens in train": [
            {"of": "a conversation", **found.conversation_tokens},
            {"of": "an answer", **found.answer_tokens},
        ],
        "Turns in train": [
            {"": "conversations with a system turn", "figure": _percent(found.system_share)},
            {"": "conversations with tools", "figure": _percent(found.tools_share)},
            *({"": f"turns by {role}", "figure": count} for role, count in found.roles.items()),
            *(
                {"": f"conversations with {n} answer{'' if n == '1' else 's'}", "figure": count}
                for n, count in found.answers.items()
            ),
        ],
    }


def _settings(settings: BaseModel) -> list[dict[str, object]]:
    values = settings.model_dump(mode="json", exclude={"sources", "data_sets"})
    return [{"setting": name, "value": value} for name, value in values.items()]


def _counts(what: str, counts: Mapping[str, int], of: str = "rows") -> list[dict[str, object]]:
    return [{what: name, of: count} for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def _spaced(counts: Mapping[str, int]) -> dict[str, object]:
    return {name.replace("_", " "): count for name, count in counts.items()}


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.1%}"
