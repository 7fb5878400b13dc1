"""Which side of an SFT set a conversation is on, so that eval asks nothing that train has answered."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmops_assets.data.evals.contamination import telling
from llmops_assets.data.quarantine import Quarantine
from llmops_assets.data.records import Conversation, Reason, row_hash
from llmops_assets.data.sets.conversation_duplicates import first_question, joined_groups, spoken, twins
from llmops_assets.data.sets.conversations import answer_keys, question_key, rejected
from llmops_assets.data.specs import SftSetSpec
from llmops_assets.data.splits import Classed, Split, pick, split_groups, split_per_class
from llmops_assets.errors import LlmopsError

NO_CLASS = "(no class)"


class NoClassesError(LlmopsError):
    """A set is split per class, and no conversation says of which class it is."""


@dataclass(frozen=True)
class Sides:
    """The two sides, and the conversations that the rules of the set drew for neither."""

    train: list[Conversation]
    heldout: list[Conversation]
    not_drawn: list[Conversation]


def split_conversations(
    conversations: Sequence[Conversation], fixed: Mapping[str, Split], spec: SftSetSpec, quarantine: Quarantine
) -> Sides:
    """Split by group, at random or per class as `spec` says; `fixed` is the side of groups that have one already.

    With a near-duplicate threshold, groups that ask nearly the same are on one side. Held-out conversations that train
    gives away all the same go to `quarantine`, and of the others `max_eval_examples` are drawn; those drawn per class
    all stay. Raises NoClassesError.
    """
    joined = joined_groups(conversations, spec.near_duplicate_threshold)
    known = _fixed_clusters(fixed, joined)
    sides = dict(fixed) | {g: known[cluster] for g, cluster in joined.items() if g not in fixed and cluster in known}
    free = [conversation for conversation in conversations if conversation.group not in sides]
    clusters = [joined[conversation.group] for conversation in free]
    drawn: set[str] = set()
    if spec.val_per_class is None:
        split = split_groups(clusters, spec.eval_share, spec.seed)
    else:
        if free and not any(c.class_name for c in free):
            raise NoClassesError(
                f"sft_set.val_per_class is {spec.val_per_class}, and none of {len(free)} conversations has a class; "
                "name its key in the records with class_key on the source, or hold out a share with eval_share instead"
            )
        records = [
            Classed(c.class_name or NO_CLASS, cluster, row_hash([message.to_row() for message in c.messages]))
            for c, cluster in zip(free, clusters, strict=True)
        ]
        split, numbers = split_per_class(records, spec.val_per_class, spec.seed)
        drawn = {free[number].id for number in numbers}
    sides |= {c.group: split[cluster] for c, cluster in zip(free, clusters, strict=True)}
    train = [c for c in conversations if sides[c.group] == "train"]
    heldout = [c for c in conversations if sides[c.group] == "heldout"]
    unseen = _unseen(heldout, train, spec.near_duplicate_threshold, quarantine)
    others = unseen if spec.val_per_class is None else [c for c in unseen if c.group in fixed]
    drawn |= {c.id for c in pick(others, spec.max_eval_examples, spec.seed, key=lambda c: c.id)}
    return Sides(train, [c for c in unseen if c.id in drawn], [c for c in unseen if c.id not in drawn])


def classes_of(train: Sequence[Conversation], heldout: Sequence[Conversation]) -> dict[str, dict[str, int]]:
    """Return for each class its conversations in train and in heldout; empty if no conversation has a class."""
    counts = [Counter(c.class_name or NO_CLASS for c in side) for side in (train, heldout)]
    names = sorted({name for each in counts for name in each})
    if names in ([], [NO_CLASS]):
        return {}
    return {name: {"train": counts[0][name], "heldout": counts[1][name]} for name in names}


def _fixed_clusters(fixed: Mapping[str, Split], joined: Mapping[str, str]) -> dict[str, Split]:
    """Return the side of clusters in which a group has a side: train, if the groups do not agree."""
    sides: dict[str, Split] = {}
    for group, cluster in joined.items():
        if group in fixed and sides.get(cluster) != "train":
            sides[cluster] = fixed[group]
    return sides


def _unseen(
    heldout: list[Conversation], train: list[Conversation], threshold: float | None, quarantine: Quarantine
) -> list[Conversation]:
    """Return the held-out conversations whose first question and last answer train has in no turn."""
    questions = {question_key(conversation): conversation.id for conversation in train}
    answers = {key: conversation.id for conversation in train for key in answer_keys(conversation)}
    alike = _alike(heldout, train, threshold)
    kept: list[Conversation] = []
    for number, conversation in enumerate(heldout):
        detail = alike.get(number)
        if twin := questions.get(question_key(conversation)):
            detail = f"the question is that of {twin}"
        elif telling(answer := answer_keys(conversation)[-1], conversation.class_name) and answer in answers:
            detail = f"the answer is that of {answers[answer]}"
        if detail is None:
            kept.append(conversation)
        else:
            quarantine.add(rejected(conversation, Reason.CONTAINED_IN_TRAIN, detail))
    return kept


def _alike(heldout: list[Conversation], train: list[Conversation], threshold: float | None) -> dict[int, str]:
    """Return by number what held-out conversations are nearly the same as."""
    if threshold is None:
        return {}
    found: dict[int, str] = {}
    for said, part in ((spoken, "what is said"), (first_question, "the question")):
        for number, twin in twins([said(c) for c in heldout], (said(c) for c in train), threshold).items():
            found[number] = f"{part} is nearly that of {train[twin].id}"
    return found
