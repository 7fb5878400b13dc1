"""Which instances of an instruction are not wanted: the filters of Self-Instruct."""

from collections import defaultdict
from collections.abc import Sequence

from llmops_assets.data.normalize import comparison_key, normalize_text
from llmops_assets.data.records import Reason
from llmops_assets.data.self_instruct.parsing import Instance

Rejected = tuple[Instance, Reason, str]


def sift(
    instances: Sequence[Instance], *, classification: bool, truncated: bool
) -> tuple[list[Instance], list[Rejected]]:
    """Return the instances of one instruction that are kept, and the others with why.

    `truncated` says that max_tokens cut the response, so that the last one is not whole. Instances that give one input
    different outputs are all rejected, as it is not known which is right; the paper's code then drops the whole
    instruction, while here those with other inputs stay. As there, a task without input may have several solutions,
    unless it is a classification.
    """
    kept: list[Instance] = []
    rejected: list[Rejected] = []
    outputs: dict[str, set[str]] = defaultdict(set)
    for instance in instances[: len(instances) - truncated]:
        if (verdict := _verdict(instance, classification)) is not None:
            rejected.append((instance, *verdict))
        elif comparison_key(instance.output) in outputs[comparison_key(instance.input)]:
            rejected.append((instance, Reason.EXACT_DUPLICATE, "the same instance comes before"))
        else:
            outputs[comparison_key(instance.input)].add(comparison_key(instance.output))
            kept.append(instance)
    torn = {key for key, different in outputs.items() if len(different) > 1 and (key or classification)}
    for instance in kept:
        if comparison_key(instance.input) in torn:
            rejected.append((instance, Reason.CONTRADICTION, "another instance gives this input another output"))
    if truncated and instances:
        rejected.append((instances[-1], Reason.TRUNCATED, "max_tokens cut the response in it"))
    return [instance for instance in kept if comparison_key(instance.input) not in torn], rejected


def _verdict(instance: Instance, classification: bool) -> tuple[Reason, str] | None:
    if not instance.output:
        return Reason.EMPTY, "has no output"
    if classification and not instance.input:
        return Reason.EMPTY, "has a label and no input"
    if normalize_text(instance.input).strip() == normalize_text(instance.output).strip():
        return Reason.INPUT_IS_OUTPUT, "the output is the input again"
    for name, text in (("input", instance.input), ("output", instance.output)):
        if text.endswith((":", "\uff1a")):
            return Reason.UNFINISHED, f"the {name} ends with a colon"
    return None
