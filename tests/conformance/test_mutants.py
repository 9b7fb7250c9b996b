"""The conformance suite can fail: with a fault put into the code, the test that guards against it goes red."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from exchange_clients import venues
from exchange_clients.base_managers import BaseOrderManager, BasePositionManager
from exchange_clients.base_websocket import BaseWebSocketManager
from exchange_clients.book import BookFeed
from exchange_clients.errors import OrderOutcomeUnknown, OrderRefused, VenueError
from exchange_clients.model import Fill, FundingRateSample, Instrument, Lane, OrderInfo, OrderIntent, OrderStatus, Position
from exchange_clients.orders import OrderTracker
from exchange_clients.ratelimit import Limiter
from exchange_clients.signing import HttpRequest
from exchange_clients.subscriptions import SubscriptionRegistry, Topic
from exchange_clients.transport.backoff import Backoff
from exchange_clients.transport.rest import RestTransport
from exchange_simulator.conformance import test_account, test_client, test_funding, test_orders, test_outcomes, test_requests, test_streams

Patch = pytest.MonkeyPatch
Mutate = Callable[[Patch, venues.Venue], None]
Guard = Callable[[str], None]
MUTANTS: list[tuple[Mutate, Guard]] = []


def guarded_by(test: Guard) -> Callable[[Mutate], Mutate]:
    """Register a mutant with the test that must notice it."""

    def register(mutate: Mutate) -> Mutate:
        MUTANTS.append((mutate, test))
        return mutate

    return register


# ---- orders


@guarded_by(test_outcomes.test_a_lost_answer_is_unknown_and_found_by_client_id)
def a_timeout_is_taken_for_a_refusal(patch: Patch, venue: venues.Venue) -> None:
    real = BaseOrderManager.place

    async def place(self: BaseOrderManager, intent: OrderIntent, **more: Any) -> OrderInfo:
        try:
            return await real(self, intent, **more)
        except OrderOutcomeUnknown as e:
            raise OrderRefused("timed out, so it failed", venue=e.venue) from e

    patch.setattr(BaseOrderManager, "place", place)


@guarded_by(test_outcomes.test_a_lost_answer_is_unknown_and_found_by_client_id)
def requests_are_repeated(patch: Patch, venue: venues.Venue) -> None:
    real = RestTransport.send

    async def send(self: RestTransport, request: HttpRequest, **more: Any) -> Any:
        try:
            return await real(self, request, **more)
        except VenueError:
            return await real(self, request, **more)

    patch.setattr(RestTransport, "send", send)


@guarded_by(test_outcomes.test_a_fill_told_twice_counts_once)
def fills_are_counted_each_time_they_are_told(patch: Patch, venue: venues.Venue) -> None:
    real = OrderTracker.on_fill

    def on_fill(self: OrderTracker, fill: Fill) -> bool:
        self._trades.clear()
        return real(self, fill)

    patch.setattr(OrderTracker, "on_fill", on_fill)


@guarded_by(test_outcomes.test_cancel_of_an_order_that_filled_meanwhile_tells_the_fill)
def a_cancel_is_believed_at_once(patch: Patch, venue: venues.Venue) -> None:
    real = BaseOrderManager.cancel

    async def cancel(self: BaseOrderManager, any_id: str, **more: Any) -> OrderInfo:
        before = self.context.tracker.find(any_id)
        assert before is not None
        info = before.info()
        await real(self, any_id, **more)
        return msgspec.structs.replace(info, status=OrderStatus.CANCELED)

    patch.setattr(BaseOrderManager, "cancel", cancel)


@guarded_by(test_requests.test_entries_before_connect_are_refused_unsent)
def nothing_is_checked_before_it_is_sent(patch: Patch, venue: venues.Venue) -> None:
    patch.setattr(BaseOrderManager, "check", lambda self, intent, instrument: None)


@guarded_by(test_orders.test_trade_history_is_paginated_without_hole_or_double)
def only_the_first_page_is_read(patch: Patch, venue: venues.Venue) -> None:
    manager = venue.client.order_manager_class
    real = manager.fetch_fills

    async def fetch_fills(self: BaseOrderManager, **more: Any) -> list[Fill]:
        return (await real(self, **more))[:100]

    patch.setattr(manager, "fetch_fills", fetch_fills)


@guarded_by(test_outcomes.test_commands_carry_their_lane)
def every_command_has_the_right_of_way(patch: Patch, venue: venues.Venue) -> None:
    real = Limiter.admit

    @asynccontextmanager
    async def admit(self: Limiter, cost: Mapping[str, int], lane: Lane, *, timeout_s: float) -> AsyncIterator[None]:
        async with real(self, cost, Lane.UNWIND, timeout_s=timeout_s):
            yield

    patch.setattr(Limiter, "admit", admit)


# ---- account


@guarded_by(test_account.test_flat_is_none_and_a_failed_query_is_not_flat)
def a_failed_query_means_flat(patch: Patch, venue: venues.Venue) -> None:
    real = BasePositionManager.open_positions

    async def open_positions(self: BasePositionManager) -> list[Position]:
        try:
            return await real(self)
        except VenueError:
            return []

    patch.setattr(BasePositionManager, "open_positions", open_positions)


# ---- units


@guarded_by(test_requests.test_instruments_load_all_with_exact_figures)
def ticks_are_ten_times_too_large(patch: Patch, venue: venues.Venue) -> None:
    manager = venue.client.market_data_class
    real = manager.fetch_instruments

    async def fetch_instruments(self: Any) -> Sequence[Instrument]:
        return [msgspec.structs.replace(one, tick_size=one.tick_size * 10) for one in await real(self)]

    patch.setattr(manager, "fetch_instruments", fetch_instruments)


def _change_rates(patch: Patch, venue: venues.Venue, change: Callable[[FundingRateSample], FundingRateSample]) -> None:
    fetchers = venue.funding.fetchers_class
    real = fetchers.funding_rates

    async def funding_rates(self: Any) -> Mapping[Instrument, FundingRateSample]:
        return {instrument: change(sample) for instrument, sample in (await real(self)).items()}

    patch.setattr(fetchers, "funding_rates", funding_rates)


@guarded_by(test_funding.test_rates_have_sign_unit_and_interval)
def shorts_pay_when_the_rate_is_positive(patch: Patch, venue: venues.Venue) -> None:
    _change_rates(patch, venue, lambda sample: msgspec.structs.replace(sample, raw_rate=-sample.raw_rate))


@guarded_by(test_funding.test_rates_have_sign_unit_and_interval)
def rates_are_percent(patch: Patch, venue: venues.Venue) -> None:
    _change_rates(patch, venue, lambda sample: msgspec.structs.replace(sample, raw_rate=sample.raw_rate * 100))


@guarded_by(test_funding.test_rates_have_sign_unit_and_interval)
def every_interval_is_eight_hours(patch: Patch, venue: venues.Venue) -> None:
    _change_rates(patch, venue, lambda sample: msgspec.structs.replace(sample, interval_hours=Decimal(8)))


# ---- streams


@guarded_by(test_streams.test_after_a_drop_wanted_topics_come_back_and_others_stay_off)
def topics_are_not_replayed(patch: Patch, venue: venues.Venue) -> None:
    def lost_connection(self: SubscriptionRegistry, role: str, now: float) -> list[Topic]:
        return list(self.wanted(role))

    patch.setattr(SubscriptionRegistry, "lost_connection", lost_connection)


@guarded_by(test_streams.test_after_a_drop_wanted_topics_come_back_and_others_stay_off)
def a_book_outlives_its_connection(patch: Patch, venue: venues.Venue) -> None:
    patch.setattr(BookFeed, "lost", lambda self, reason: None)


@guarded_by(test_streams.test_accepted_then_closed_backs_off)
def reconnecting_does_not_wait(patch: Patch, venue: venues.Venue) -> None:
    patch.setattr(Backoff, "next", lambda self: 0.001)


@guarded_by(test_client.test_disconnect_leaves_no_socket_and_may_come_twice)
def sockets_stay_open(patch: Patch, venue: venues.Venue) -> None:
    async def disconnect(self: BaseWebSocketManager) -> None:
        return None

    patch.setattr(BaseWebSocketManager, "disconnect", disconnect)


# ---- the test of the tests

VENUES = ("hyperliquid", "lighter")
"""One that answers orders at once and one that queues them: what is broken here is shared by all."""


@pytest.mark.slow
@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize(("mutate", "guard"), MUTANTS, ids=[mutate.__name__ for mutate, _ in MUTANTS])
def test_a_fault_is_noticed(mutate: Mutate, guard: Guard, venue: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        mutate(patch, venues.get(venue))
        with pytest.raises(BaseException) as caught:  # noqa: PT011 - whichever way it fails, it noticed
            guard(venue)
    assert not isinstance(caught.value, pytest.skip.Exception | KeyboardInterrupt)
