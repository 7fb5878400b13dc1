"""What generation leaves: rows, a quarantine, and a summary with the accounts."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from llmops_assets.data.generation.asking import Asker
from llmops_assets.data.generation.requests import Completion
from llmops_assets.data.generation.specs import GenerationSpec
from llmops_assets.data.jsonl import write_jsonl
from llmops_assets.data.quarantine import Quarantine
from llmops_assets.data.records import Reason
from llmops_assets.errors import LlmopsError

ROWS_FILE, QUARANTINE_FILE = "rows.jsonl", "quarantine.jsonl"
_FIRST_WORDS_SHOWN = 20


class TooFewAccepted(LlmopsError):
    """Generation stopped with fewer rows than the recipe wants."""


class GeneratedSetSummary(BaseModel):
    """Counts of one generated set: equal for a build that asked, one that resumed, and one from the cache."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stopped: str = Field(description="Why generation ended, as a sentence.")
    counts: dict[str, int] = Field(description="By what happened: tries, accepted, rows, ...")
    rejected: dict[str, int] = Field(description="Quarantined by reason.")
    generators: dict[str, int] = Field(description="Rows by generator.")
    licenses: list[str] = Field(description="Licences and terms of the rows: the generator's, and of what it read.")
    spent: dict[str, int] = Field(description="Requests and tokens, whether the cache answered or the generator.")
    rouge_bands: dict[str, int] = Field(
        default={}, description="Self-Instruct: accepted instructions by ROUGE-L to their nearest seed."
    )
    first_words: dict[str, int] = Field(description="The most frequent pairs of words that questions begin with.")
    distinct_first_words: float = Field(description="Different such pairs for each question: 1 is all different.")


def unusable(completion: Completion) -> tuple[Reason, str] | None:
    """Return why a completion as a whole is of no use, or None."""
    if completion.finish == "no_room":
        return Reason.NO_ROOM, "the prompt and max_tokens do not fit into the model's context"
    if completion.finish == "refused":
        return Reason.REFUSED, "the endpoint's filter withheld the response"
    return None


def first_words(openings: Iterable[Sequence[str]]) -> tuple[dict[str, int], float]:
    """Return the most frequent first pairs of words, and how many different ones there are for each text."""
    pairs = Counter(" ".join(words[:2]) for words in openings)
    ranked = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[:_FIRST_WORDS_SHOWN]
    return dict(ranked), round(len(pairs) / max(1, pairs.total()), 4)


def rouge_bands(scores: Iterable[float]) -> dict[str, int]:
    """Return counts in bands of a tenth."""
    bands = Counter(min(9, int(score * 10)) for score in scores)
    return {f"{band / 10:.1f}-{(band + 1) / 10:.1f}": bands[band] for band in range(10)} if bands else {}


def write_generated_set(
    folder: Path,
    rows: Sequence[dict[str, Any]],
    quarantine: Quarantine,
    summary: GeneratedSetSummary,
    spec: GenerationSpec,
) -> GeneratedSetSummary:
    """Write the files of a set and return its summary; same rows, same bytes.

    Raises TooFewAccepted below `min_accepted`, when the quarantine has been written.
    """
    quarantine.write(folder / QUARANTINE_FILE)
    if len(rows) < spec.min_accepted:
        reasons = ", ".join(f"{name} {count}" for name, count in summary.rejected.items()) or "none"
        raise TooFewAccepted(
            f"{len(rows)} rows were accepted, and min_accepted is {spec.min_accepted}. Stopped because "
            f"{summary.stopped}. Rejected: {reasons} (see {folder / QUARANTINE_FILE}). Use a stronger generator, raise "
            "the budget, or lower min_accepted"
        )
    write_jsonl(folder / ROWS_FILE, rows)
    return summary


def spent_by(asker: Asker) -> dict[str, int]:
    """Return the accounts of `asker` as the summary has them."""
    return asdict(asker.spent)
