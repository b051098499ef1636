"""What comes again is remembered, and what comes once does not push it out."""

from app.api.recurring import Recurring


def test_what_comes_a_second_time_is_kept() -> None:
    known: Recurring[str, int] = Recurring()
    known.keep("a", 1, 1)
    assert not known
    known.keep("b", 1, 2)
    known.keep("a", 1, 3)
    assert known == {"a": 3}


def test_what_never_comes_again_pushes_nothing_out() -> None:
    known: Recurring[str, str] = Recurring()
    for head in ("good", "good"):
        known.keep(head, 1, head)
    for number in range(3 * Recurring.MOST):
        known.keep(f"traceparent {number}", 1, "")
    assert known == {"good": "good"}


def test_what_comes_again_is_kept_among_what_does_not() -> None:
    known: Recurring[str, int] = Recurring()
    for number in range(Recurring.MOST + 10):
        known.keep(f"traceparent {number}", 1, 0)
        if number % 100 == 0 and "good" not in known:
            known.keep("good", 1, 1)
    assert list(known) == ["good"]


def test_what_is_kept_is_bounded_in_number_and_in_size() -> None:
    known: Recurring[str, int] = Recurring()
    for number in range(Recurring.MOST + 1):
        for _ in range(2):
            known.keep(str(number), Recurring.LONGEST, number)
    assert known == {str(Recurring.MOST): Recurring.MOST}
    for _ in range(3):
        known.keep("long", Recurring.LONGEST + 1, 0)
    assert "long" not in known


def test_after_a_change_of_keys_what_was_kept_is_read_again() -> None:
    known: Recurring[str, int] = Recurring()
    for _ in range(2):
        known.keep("a", 1, 1)
    known.clear()
    known.keep("a", 1, 2)
    assert not known
