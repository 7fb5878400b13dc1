"""What the generator is asked, with examples written for this project.

Chat models are asked in turns, where the paper's completion model continued one text; each example is a turn.
"""

from collections.abc import Sequence

from llmops_assets.data.records import Message

_TASK_TYPES = (
    ("Decide whether this product review is positive, negative or neutral.", "yes"),
    ("Explain to a child why the sky is blue.", "no"),
    ("Which of these animals does not lay eggs?", "yes"),
    ("Shorten the paragraph to two sentences.", "no"),
    ("Say whether the two statements contradict each other.", "yes"),
    ("Suggest three names for a bakery that opens at night.", "no"),
)
_INPUT_FIRST = (
    (
        "Rewrite the sentence in the passive voice.",
        "Input: The gardener watered the roses.\nOutput: The roses were watered by the gardener.",
    ),
    (
        "Name two reasons to keep a diary.",
        "Output: It helps to put thoughts in order, and it lets you see later how you have changed.",
    ),
    (
        "Add up the prices and say how much change is left of 20 euros.",
        "Input: bread 3.50, cheese 6.00, apples 2.25\nOutput: The prices add up to 11.75 euros, so 8.25 euros are left."
        "\n\nInput: coffee 7.90, milk 1.10\nOutput: The prices add up to 9.00 euros, so 11.00 euros are left.",
    ),
)
_OUTPUT_FIRST = (
    (
        "Decide whether this product review is positive, negative or neutral.",
        "Output: negative\nInput: The strap broke on the second day, and nobody answers my letters."
        "\n\nOutput: positive\nInput: Light, quiet, and the battery lasts the whole weekend.",
    ),
    (
        "Say whether the two statements contradict each other.",
        "Output: yes\nInput: 1. The shop is closed on Sundays. 2. I bought it there last Sunday."
        "\n\nOutput: no\nInput: 1. The train was late. 2. We still arrived before noon.",
    ),
)


def new_instructions(examples: Sequence[str], count: int) -> tuple[Message, ...]:
    """Ask for `count` instructions that continue a numbered list."""
    numbered = "\n".join(f"{number}. {' '.join(text.split())}" for number, text in enumerate(examples, 1))
    first, last = len(examples) + 1, len(examples) + count
    return (
        Message(
            "user",
            "Here is the beginning of a list of varied tasks that one can give to a language model.\n\n"
            f"{numbered}\n\n"
            f"Continue the list with the tasks {first} to {last}. Each is one line that begins with its number, and "
            "differs from the others in topic, in what is asked for, and in wording. Write the list alone.",
        ),
    )


def task_type(instruction: str) -> tuple[Message, ...]:
    """Ask whether an instruction has a small fixed set of answers."""
    rule = (
        "You are given a task. Answer yes if its answer is one of a small, fixed set of labels or options, so that it "
        "is a classification task. Otherwise answer no. Write one word."
    )
    return (Message("system", rule), *_shown(_TASK_TYPES), Message("user", instruction))


def instances(instruction: str, count: int, *, classification: bool) -> tuple[Message, ...]:
    """Ask for up to `count` instances of an instruction.

    For a classification the label comes first: a model that writes the input first favours one label (section 2.2 of
    the paper).
    """
    if classification:
        rule = (
            f"You are given a classification task. Write up to {count} examples of it with different labels. Each is a "
            "line `Output: ` with the label, and below it `Input: ` with a text that has this label."
        )
        examples = _OUTPUT_FIRST
    else:
        rule = (
            f"You are given a task. Write up to {count} examples of it. Each is `Input: ` with what the task is about, "
            "and below it `Output: ` with the solution. If the task needs no input, write one `Output: ` alone."
        )
        examples = _INPUT_FIRST
    return (Message("system", rule), *_shown(examples), Message("user", instruction))


def _shown(examples: Sequence[tuple[str, str]]) -> list[Message]:
    return [turn for asked, said in examples for turn in (Message("user", asked), Message("assistant", said))]
