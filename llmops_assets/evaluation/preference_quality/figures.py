"""The figures of the preference report: plain values, without a text and without a name."""

from pydantic import BaseModel, ConfigDict, Field

from llmops_assets.evaluation.statistics import Interval, wilson


class Figures(BaseModel):
    """Base of the values here: immutable, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Share(Figures):
    """`count` of `of`, with its Wilson score interval; estimate and bounds are None where there is nothing to count."""

    count: int
    of: int
    estimate: float | None
    low: float | None
    high: float | None

    @classmethod
    def counted(cls, count: int, of: int, confidence: float) -> "Share":
        if of == 0:
            return cls(count=0, of=0, estimate=None, low=None, high=None)
        low, high = wilson(count, of, confidence)
        return cls(count=count, of=of, estimate=count / of, low=low, high=high)

    def interval(self) -> Interval | None:
        """The share as an interval to be judged; every trial counts as independent."""
        if self.estimate is None or self.low is None or self.high is None:
            return None
        spread = (self.estimate * (1 - self.estimate)) ** 0.5
        return Interval(self.estimate, self.low, self.high, self.of, self.of, spread)


class Agreement(Figures):
    """Agreement of raters on battles that two or more have judged.

    `agreeing` counts pairs of raters. `alpha` is 1 for perfect agreement and 0 for what chance gives; None without
    overlap or variation, its bounds also where too few resamples have any.
    """

    battles: int
    agreeing: Share
    alpha: float | None
    low: float | None
    high: float | None


class Adjusted(Figures):
    """Position and length taken apart: what either does while the other is held still.

    `left` is the chance that the left answer wins against one as long as itself, `longer` that an answer wins against
    one half as long, wherever it stands; 0.5 means no influence. Bounds are those of Wald's interval.
    """

    votes: int
    left: float
    left_low: float
    left_high: float
    longer: float
    longer_low: float
    longer_high: float


class RaterFigures(Figures):
    """One rater, by the keyed hash that stands for them in the store: their votes, and the set's pairs they decided."""

    rater: str
    kind: str
    votes: int
    left: Share
    longer: Share
    pairs: int
    share_of_pairs: float | None


class VersionPairFigures(Figures):
    """Votes between two versions; `first` and `second` are the wins of the two in the order of the label."""

    pair: str
    first: int
    second: int
    tie: int
    both_bad: int
    skip: int
    raters: int
    largest_rater_share: float

    @property
    def votes(self) -> int:
        return self.first + self.second + self.tie + self.both_bad + self.skip


class DomainFigures(Figures):
    """The voters' prompts held against what the lane is trained to answer: the questions of sft_set's train split.

    `same` prompts are such a question, `near` ones share most of its telling words, `outside` the rest. Groups and
    sources count as seen by a prompt that is the same or near.
    """

    same: int
    near: int
    outside: int
    groups: int
    groups_seen: int
    sources: dict[str, int] = Field(description="Prompts by source; 0 for a source that no voter has seen.")


class PromptFigures(Figures):
    """How widely votes are spread. `effective` is 1 / sum of squared shares of votes (inverse Simpson index)."""

    prompts: int
    effective: float
    mean_votes: float
    most_votes: int
    domain: DomainFigures | None


class DataSetFigures(Figures):
    """Pairs of one data set in the preference set. `margins` are score differences where its records have scores."""

    source: str
    layouts: dict[str, int]
    read: int
    pairs: int
    sealed: int
    quarantined: dict[str, int]
    longer: Share
    margins: dict[str, float]


class PreferenceFigures(Figures):
    """All figures of a lane's preferences up to vote `through_seq`."""

    deployment: str
    through_seq: int
    votes: int = Field(description="Rows of the store, edits and retractions included.")
    heard: int = Field(description="Current votes of raters who are known and not erased.")
    simulated: bool = Field(description="Whether biases and raters are those of simulated votes, for want of others.")
    by_verdict: dict[str, int]
    by_rater_kind: dict[str, int]
    by_month: dict[str, int]
    left_out: dict[str, int] = Field(description="Votes that are no pair of the set, by reason.")
    pairs: int = Field(description="Pairs of the set that stem from votes.")
    contradictions: Share
    both_bad: Share
    leaks: Share
    leaked_names: dict[str, int]
    agreement: Agreement
    left: Share
    longer: Share
    adjusted: Adjusted | None
    raters: list[RaterFigures]
    version_pairs: list[VersionPairFigures]
    pair_prompts: int = Field(description="Different prompts among all pairs of the set, sealed ones included.")
    prompts: PromptFigures
    data_sets: list[DataSetFigures]
