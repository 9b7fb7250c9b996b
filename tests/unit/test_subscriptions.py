"""Wanted against confirmed topics."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange_clients.model import InstrumentId
from exchange_clients.spec import Stream
from exchange_clients.subscriptions import SubscriptionRegistry, Topic

BTC = InstrumentId("BTC", "USDC", "toy")
BOOK = Topic(Stream.BOOK, "public", "book/1", BTC)
BBO = Topic(Stream.BBO, "public", "bbo/1", BTC)
CANDLES = Topic(Stream.CANDLES, "public", "candle/1/1m", BTC, "1m")
FILLS = Topic(Stream.FILLS, "private", "fills/7")


@pytest.fixture
def registry() -> SubscriptionRegistry:
    return SubscriptionRegistry()


def go_live(registry: SubscriptionRegistry, *topics: Topic, now: float = 0.0) -> None:
    for topic in topics:
        registry.want(topic, now)
    registry.sent(topics, now)
    for topic in topics:
        assert registry.confirmed(topic, now)


def test_topics_are_frozen_values_that_keep_their_arguments() -> None:
    same = Topic(Stream.CANDLES, "public", "candle/1/1m", BTC, "1m")
    assert {CANDLES: 1}[same] == 1
    assert (CANDLES.instrument, CANDLES.parameter) == (BTC, "1m")
    with pytest.raises(AttributeError):
        CANDLES.parameter = "5m"  # type: ignore[misc]


def test_readers_are_counted(registry: SubscriptionRegistry) -> None:
    assert registry.want(BOOK, 0) is True
    assert registry.want(BOOK, 0) is False
    registry.sent([BOOK], 0)
    assert registry.release(BOOK) is False
    assert registry.wanted() == (BOOK,)
    assert registry.release(BOOK) is True
    assert registry.wanted() == ()
    assert registry.release(BOOK) is False


def test_pending_is_per_socket_and_ends_when_sent(registry: SubscriptionRegistry) -> None:
    for topic in (BOOK, FILLS):
        registry.want(topic, 0)
    assert registry.pending("public") == [BOOK]
    assert registry.pending("private") == [FILLS]
    registry.sent([BOOK], 1)
    assert registry.pending("public") == []
    assert registry.confirmed_count == 0


def test_find_by_the_venues_name(registry: SubscriptionRegistry) -> None:
    registry.want(BOOK, 0)
    assert registry.find("public", "book/1") == BOOK
    assert registry.find("private", "book/1") is None
    registry.release(BOOK)
    assert registry.find("public", "book/1") is None


def test_late_ack_after_unsubscribe_is_ignored(registry: SubscriptionRegistry) -> None:
    registry.want(BOOK, 0)
    registry.sent([BOOK], 0)
    assert registry.release(BOOK) is True
    assert registry.confirmed(BOOK, 1) is False
    assert registry.confirmed_count == 0
    registry.refused(BOOK, "no such market")
    assert registry.refusal(BOOK) is None


def test_late_ack_does_not_confirm_a_topic_wanted_again(registry: SubscriptionRegistry) -> None:
    registry.want(BOOK, 0)
    registry.sent([BOOK], 0)
    registry.release(BOOK)
    registry.want(BOOK, 1)
    assert registry.confirmed(BOOK, 1) is False
    registry.refused(BOOK, "late refusal")
    assert registry.pending("public") == [BOOK], "it still has to be sent"
    registry.sent([BOOK], 2)
    assert registry.confirmed(BOOK, 3) is True


def test_what_was_never_sent_needs_no_unsubscribe(registry: SubscriptionRegistry) -> None:
    registry.want(BOOK, 0)
    assert registry.release(BOOK) is False
    go_live(registry, BBO)
    registry.lost_connection("public", 1)
    assert registry.release(BBO) is False


def test_refused_stays_wanted_until_the_next_connect(registry: SubscriptionRegistry) -> None:
    registry.want(BOOK, 0)
    registry.sent([BOOK], 0)
    registry.refused(BOOK, "too many subscriptions")
    assert registry.refusal(BOOK) == "too many subscriptions"
    assert registry.pending("public") == [], "not tried again and again on one connection"
    assert registry.wanted("public") == (BOOK,)
    registry.lost_connection("public", 5)
    assert registry.refusal(BOOK) is None
    assert registry.pending("public") == [BOOK]


def test_lost_connection_touches_one_socket(registry: SubscriptionRegistry) -> None:
    go_live(registry, BOOK, BBO, FILLS)
    assert registry.lost_connection("public", 1) == [BOOK, BBO]
    assert registry.confirmed_count == 1
    assert registry.is_confirmed(FILLS)
    assert registry.pending("public") == [BOOK, BBO]


def test_again_after_a_gap(registry: SubscriptionRegistry) -> None:
    go_live(registry, BOOK, BBO)
    registry.again(BOOK, 1)
    assert registry.pending("public") == [BOOK]
    assert not registry.is_confirmed(BOOK)
    registry.again(FILLS, 1)
    assert registry.wanted() == (BOOK, BBO)


def test_e32_unconfirmed_topics_become_overdue(registry: SubscriptionRegistry) -> None:
    go_live(registry, BBO)
    registry.want(BOOK, 0)
    assert registry.overdue(9.9, 10) == []
    assert registry.overdue(10.1, 10) == [BOOK]
    registry.sent([BOOK], 10)
    assert registry.overdue(20.5, 10) == [BOOK]
    registry.confirmed(BOOK, 21)
    assert registry.overdue(1000, 10) == []
    registry.lost_connection("public", 1000)
    assert registry.overdue(1011, 10) == [BBO, BOOK]


ACTIONS = st.sampled_from(["want", "release", "flush", "ack", "refuse", "lose", "again"])


@given(st.lists(st.tuples(ACTIONS, st.sampled_from([BOOK, BBO]))))
def test_what_is_live_is_wanted_and_sent(steps: list[tuple[str, Topic]]) -> None:
    """Against a venue that knows what was sent to it: nothing unsent or unwanted is ever called confirmed, nothing wanted is forgotten."""
    registry = SubscriptionRegistry()
    refs = {BOOK: 0, BBO: 0}
    sent: set[Topic] = set()
    refused: set[Topic] = set()
    for action, topic in steps:
        if action == "want":
            registry.want(topic, 0)
            refs[topic] += 1
        elif action == "release":
            refs[topic] = max(0, refs[topic] - 1)
            if registry.release(topic):
                assert topic in sent
            if not refs[topic]:
                sent.discard(topic)
                refused.discard(topic)
        elif action == "flush":
            topics = registry.pending("public")
            registry.sent(topics, 0)
            sent.update(topics)
        elif action == "ack":
            assert registry.confirmed(topic, 0) == (topic in sent)
        elif action == "refuse":
            registry.refused(topic, "no")
            if topic in sent:
                sent.discard(topic)
                refused.add(topic)
        elif action == "again":
            registry.again(topic, 0)
            sent.discard(topic)
            refused.discard(topic)
        else:
            registry.lost_connection("public", 0)
            sent.clear()
            refused.clear()
        wanted = {t for t, n in refs.items() if n}
        assert set(registry.wanted()) == wanted
        assert all(not registry.is_confirmed(t) or t in sent for t in refs)
        assert set(registry.pending("public")) == wanted - sent - refused
