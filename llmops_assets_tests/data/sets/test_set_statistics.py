from llmops_assets.data.records import Conversation, Message
from llmops_assets.data.sets.set_statistics import conversation_statistics
from llmops_assets.data.tokens import TokenCounter, tokens_per_row


def test_lengths_turns_roles_and_shares_are_those_of_the_conversations(counter: TokenCounter) -> None:
    single = (Message("user", "Why?"), Message("assistant", "So."))
    tools = (
        Message("system", "You have <tools>\n{}\n</tools>"),
        *single,
        Message("user", "And?"),
        Message("assistant", "Because the file is there."),
    )
    rows = [
        Conversation(str(number), turns, "s", "f:1", "g", "dataset", (None,) * (len(turns) // 2))
        for number, turns in enumerate([single, single, single, tools])
    ]
    tokens = [counter.count_conversation(row.messages) for row in rows]
    found = conversation_statistics(rows, tokens, counter)
    assert found.answers == {"1": 3, "2": 1}
    assert found.roles == {"assistant": 5, "system": 1, "user": 5}
    assert (found.system_share, found.tools_share) == (0.25, 0.25)
    assert found.conversation_tokens == tokens_per_row(tokens)
    assert found.answer_tokens["max"] == counter.count("Because the file is there.")
    assert found.answer_tokens["min"] == found.answer_tokens["p50"] == counter.count("So.")


def test_quantiles_are_what_so_many_rows_do_not_exceed() -> None:
    assert tokens_per_row(list(range(100, 0, -1))) == {"min": 1, "mean": 50, "p50": 50, "p95": 95, "max": 100}
    assert tokens_per_row([4]) == {"min": 4, "mean": 4, "p50": 4, "p95": 4, "max": 4}
    assert tokens_per_row([1, 9]) == {"min": 1, "mean": 5, "p50": 1, "p95": 9, "max": 9}
