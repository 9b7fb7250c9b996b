"""Whoever watches never holds up who trades."""

import logging

import pytest

from strategies.risk import tee


def test_an_observer_that_fails_is_logged_and_the_next_one_is_told(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[tuple[str, dict[str, object]]] = []

    def broken(event: str, pair_id: str, **facts: object) -> None:
        raise TypeError("a bug in a view")

    def hears(event: str, pair_id: str, **facts: object) -> None:
        heard.append((event, facts))

    with caplog.at_level(logging.ERROR):
        tee(broken, hears)("order.send", "p1", id="7")
    assert heard == [("order.send", {"id": "7"})]
    assert "observer.failed event=order.send" in caplog.text
