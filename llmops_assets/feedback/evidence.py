"""What is known about a deployment's votes, gathered once for the quality report and for its fingerprint."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

from llmops_assets.feedback.ballots import CastVote, newest_votes


@dataclass(frozen=True)
class VoteEvidence:
    """Votes up to `through_seq` and what their battles say.

    Attributes:
        votes: Every row, oldest first; edits and retractions are rows of their own.
        labels: Version labels by adapter hash, of the versions that were voted on.
        prompts: The last turn of every prompt voted on, by prompt hash.
        leaks: Names of models, vendors and versions in a battle's texts, sorted, by battle id.
        months: How many rows each month (UTC) brought.
    """

    deployment: str
    through_seq: int
    votes: list[CastVote]
    labels: dict[str, str]
    prompts: dict[str, str]
    leaks: dict[str, list[str]]
    months: dict[str, int]

    @cached_property
    def heard(self) -> list[CastVote]:
        """Votes that may count: each rater's last word, of raters who are known and not erased."""
        current = (vote for vote in newest_votes(self.votes) if not vote.retracted)
        return [vote for vote in current if not vote.rater_erased and vote.rater_trust != "anonymous"]

    @cached_property
    def basis(self) -> list[CastVote]:
        """The votes that biases and raters are judged by: real ones where there are any, else the simulated ones."""
        real = [vote for vote in self.heard if vote.rater_kind != "simulated"]
        return real or self.heard

    def version_pair(self, vote: CastVote) -> str:
        """Return the two versions of a vote, such as `v1.0 vs v1.1`, whichever stood left."""
        return " vs ".join(sorted(self.labels.get(sha, sha[:12]) for sha in (vote.version_left, vote.version_right)))

    def digest(self) -> str:
        """Return a sha256 (hex) over all of it: equal evidence gives equal reports."""
        rest = [self.labels, sorted(self.prompts.items()), sorted(self.leaks.items()), self.months]
        lines = [json.dumps(part, sort_keys=True) for part in (*map(vars, self.votes), *rest)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()
