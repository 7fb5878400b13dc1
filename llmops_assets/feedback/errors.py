"""What can go wrong at the feedback store's door, each with a message for the person who reads it."""

from llmops_assets.errors import LlmopsError


class UnsafeText(LlmopsError):
    """A text holds something that must not reach a chat template or cannot be stored in every database."""


class UnknownVersion(LlmopsError):
    """An adapter hash was used that nobody registered for this deployment."""


class VersionRefused(LlmopsError):
    """A version that is malformed, or whose hash or label is already registered as something else."""


class UnknownBattle(LlmopsError):
    """A vote names a battle that this store does not hold."""


class BattleRefused(LlmopsError):
    """A battle id that is malformed, or taken by a battle with other content."""


class UnknownVote(LlmopsError):
    """A vote id that this store does not hold."""


class VoteRefused(LlmopsError):
    """A vote that breaks a rule of the ballot: a second vote, someone else's vote, a stale edit, a reused key."""


class StoreUnavailable(LlmopsError):
    """The database could not be reached, opened or locked in time."""


class RaterPepperMissing(LlmopsError):
    """The secret that turns subjects into rater ids is not configured, or was lost."""


class WatermarkAhead(LlmopsError):
    """The caller's watermark is newer than the newest vote: it was made from another store."""
