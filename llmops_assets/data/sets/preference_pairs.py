"""Preference pairs from data sets, which join a lane's votes: guarded, without duplicates and contradictions."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from llmops_assets.data.formats.preferences import Comparison
from llmops_assets.data.normalize import SpecialTokenGuard, comparison_key
from llmops_assets.data.quarantine import Quarantine, unwanted
from llmops_assets.data.records import Message, QuarantinedRecord, Reason, row_hash
from llmops_assets.data.sources.reading import license_of, read_preference_source
from llmops_assets.data.sources.specs import PreferenceSource, Sources


class PairSourcesSpec(BaseModel):
    """Data sets whose pairs are trained on beside the votes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: Sources[PreferenceSource]
    max_sealed: int = Field(default=500, gt=0, description="Sealed pairs that the gate measures on, chosen by hash.")
    max_quarantined_share: float = Field(default=0.2, gt=0, le=1, description="The asset fails above this share.")


@dataclass(frozen=True, slots=True)
class SourcedPair:
    """A preference pair and where it comes from; `origin` is `file:line`, or data set, split and row."""

    comparison: Comparison
    source: str
    origin: str

    @property
    def prompt(self) -> tuple[Message, ...]:
        return self.comparison.prompt

    def to_row(self) -> dict[str, Any]:
        """Return the pair as a row of train.jsonl."""
        return {
            "prompt": [message.to_row() for message in self.prompt],
            "chosen": self.comparison.chosen,
            "rejected": self.comparison.rejected,
            "source": self.source,
            "origin": self.origin,
        }


@dataclass
class PairIntake:
    """Pairs that passed the door (`kept`), and the `quarantine` of records that did not."""

    kept: list[SourcedPair] = field(default_factory=list)
    quarantine: Quarantine = field(default_factory=Quarantine)
    formats: dict[str, Counter[str]] = field(default_factory=dict)
    licenses: dict[str, str] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """Return counts by source, layout and reason, licences, score margins, and the share whose chosen is longer.

        The share is that of pairs of unequal lengths; one far from one half says that length gives the preference away.
        """
        pairs = Counter(pair.source for pair in self.kept)
        unequal = Counter(p.source for p in self.kept if len(p.comparison.chosen) != len(p.comparison.rejected))
        longer = Counter(p.source for p in self.kept if len(p.comparison.chosen) > len(p.comparison.rejected))
        return {
            "pairs": dict(pairs),
            "chosen_is_longer": {name: round(longer[name] / count, 3) for name, count in unequal.items()},
            "margins": {name: found for name in pairs if (found := self._margins(name))},
            "read": dict(self.quarantine.read),
            "formats": {name: dict(sorted(counts.items())) for name, counts in self.formats.items()},
            "licenses": self.licenses,
            "quarantined": self.quarantine.by_reason(),
            "quarantined_by_source": {name: self.quarantine.by_reason(name) for name in self.licenses},
        }

    def _margins(self, source: str) -> dict[str, float]:
        pairs = (pair.comparison.margin for pair in self.kept if pair.source == source)
        margins = sorted(margin for margin in pairs if margin is not None)
        if not margins:
            return {}
        return {"n": len(margins), "min": margins[0], "median": round(median(margins), 3), "max": margins[-1]}


def read_pairs(
    sources: Sequence[PreferenceSource],
    base_dir: Path,
    special_tokens: Sequence[str],
    is_voted: Callable[[SourcedPair], bool] = lambda _: False,
) -> PairIntake:
    """Read all pairs of `sources`, in their order.

    A pair that was read before is left out, and so are all pairs about the same two answers to one prompt that
    disagree, and those that `is_voted` says people have voted on. Chat markers in texts are taken apart. Raises
    MissingSourceError and UnreadableFileError.
    """
    intake, guard = PairIntake(), SpecialTokenGuard(special_tokens)
    read: dict[str, SourcedPair] = {}
    for source in sources:
        intake.licenses[source.name] = license_of(source)
        formats = intake.formats[source.name] = Counter()
        for found in read_preference_source(source, base_dir):
            if isinstance(found, QuarantinedRecord):
                intake.quarantine.read[source.name] += 1
                intake.quarantine.add(found)
                continue
            origin, comparison = found
            # A record is read once, however many pairs it holds: it is malformed as a whole.
            intake.quarantine.read[source.name] += comparison.number == 0
            formats[comparison.layout] += 1
            pair = SourcedPair(_guarded(comparison, guard), source.name, origin)
            first = read.setdefault(_key(pair, "chosen", "rejected"), pair)
            if first is not pair:
                detail = f"the same pair is {first.origin}"
                intake.quarantine.add(_rejected(pair, Reason.EXACT_DUPLICATE, detail))
    for pair in read.values():
        opposite = read.get(_key(pair, "rejected", "chosen"))
        if opposite is not None:
            detail = f"{opposite.origin} prefers the other answer"
            intake.quarantine.add(_rejected(pair, Reason.CONTRADICTION, detail))
        elif is_voted(pair):
            intake.quarantine.add(_rejected(pair, Reason.VOTED_ON, "people have voted on these two answers"))
        else:
            intake.kept.append(pair)
    return intake


def without_leaking_pairs(pairs: Sequence[SourcedPair], eval_items: Path, quarantine: Quarantine) -> list[SourcedPair]:
    """Return the pairs that hold no item of the eval sets in `eval_items`; others go to `quarantine`."""
    # numpy is for those who build, not for the code location, which imports this module.
    from llmops_assets.data.evals.decontamination import EvalIndex, leaking_rows

    leaks = leaking_rows([pair.to_row() for pair in pairs], EvalIndex.load(eval_items))
    kept: list[SourcedPair] = []
    for pair, leak in zip(pairs, leaks, strict=True):
        if leak is None:
            kept.append(pair)
        else:
            quarantine.add(_rejected(pair, Reason.CONTAMINATED, str(leak)))
    return kept


def _guarded(comparison: Comparison, guard: SpecialTokenGuard) -> Comparison:
    return replace(
        comparison,
        prompt=tuple(replace(turn, content=guard.neutralize(turn.content)[0]) for turn in comparison.prompt),
        chosen=guard.neutralize(comparison.chosen)[0],
        rejected=guard.neutralize(comparison.rejected)[0],
    )


def _key(pair: SourcedPair, better: str, worse: str) -> str:
    texts = [turn.content for turn in pair.prompt]
    texts += [getattr(pair.comparison, side) for side in (better, worse)]
    return row_hash([comparison_key(text) for text in texts])


def _rejected(pair: SourcedPair, reason: Reason, detail: str) -> QuarantinedRecord:
    return unwanted(pair.source, pair.origin, reason, detail, pair.prompt[-1].content)
