"""What the generator is asked about a chunk of text."""

from llmops_assets.data.records import Message

UNANSWERABLE = "UNANSWERABLE"


def question(chunk: str) -> tuple[Message, ...]:
    """Ask for a question that the chunk answers."""
    rule = (
        "You are given a text. Write one question that the text answers and that can be understood without it: name "
        "what it is about, and do not mention the text. Write the question alone."
    )
    return (Message("system", rule), Message("user", chunk))


def answer(chunk: str, asked: str) -> tuple[Message, ...]:
    """Ask for the answer that the chunk gives."""
    rule = (
        "You are given a text and a question. Answer the question with what the text says, in its words where you can, "
        f"and add nothing. If the text does not answer it, write {UNANSWERABLE}."
    )
    return (Message("system", rule), Message("user", f"Text:\n{chunk}\n\nQuestion: {asked}"))


def check(chunk: str, asked: str, said: str) -> tuple[Message, ...]:
    """Ask whether the chunk says what the answer says."""
    rule = (
        "You are given a text, a question and an answer. Write yes if the text answers the question, and says all that "
        "the answer says. Otherwise write no. Write one word."
    )
    return (
        Message("system", rule),
        Message("user", f"Text:\n{chunk}\n\nQuestion: {asked}\n\nAnswer: {said}"),
    )
