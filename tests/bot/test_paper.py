"""Paper trading against a live book: the live venue is a dialect on virtual time, so that its truth is known."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from exchange_clients.errors import MissingCredentials, NotReady, VenuePaused, VenueUnavailable
from exchange_clients.model import NS_PER_HOUR, NS_PER_S, Instrument, Liquidity, OrderStatus, Side
from exchange_simulator.core.types import to_fraction
from exchange_simulator.paper import PaperSettings, PaperVenue
from exchange_simulator.paper_client import PaperClient
from tests.strategies.stack import SimVenue, Stack, run_stack

D = Decimal
SETTINGS = PaperSettings(deposit=D(200_000), maker_fee=D("0.0001"), taker_fee=D("0.0005"), entry_latency_s=0.01, report_latency_s=0.01)


@dataclass
class Paper:
    """A connected paper client, and the venue it follows. The mid is 100,000; levels of 1 BTC each 10 apart."""

    stack: Stack
    truth: SimVenue
    venue: PaperVenue
    client: PaperClient

    @property
    def instrument(self) -> Instrument:
        return self.client.instruments.get("BTC")

    async def sleep(self, seconds: float = 0.5) -> None:
        await self.stack.settle(seconds)

    def levels(self, bids: list[tuple[str, str]], asks: list[tuple[str, str]]) -> None:
        """The live book, anew."""
        spec = self.truth.exchange.markets[self.truth.symbol].spec
        sides = ([(spec.to_ticks(D(p)), spec.to_steps(D(s))) for p, s in side] for side in (bids, asks))
        self.truth.exchange.set_levels(self.truth.now(), self.truth.symbol, *sides)

    def trade(self, side: Side, size: str, limit: str) -> None:
        """Somebody takes from the live book."""
        spec = self.truth.exchange.markets[self.truth.symbol].spec
        self.truth.exchange.external_trade(self.truth.now(), self.truth.symbol, side, spec.to_steps(D(size)), limit=spec.to_ticks(D(limit)))

    async def rest(self, price: str, quantity: str, side: str = "buy", **options: Any) -> str:
        placed = await self.client.place_limit_order("BTC", D(quantity), D(price), side, **options)
        assert placed.success, placed.error_message
        await self.sleep()
        return placed.client_order_id or ""

    async def filled(self, client_order_id: str) -> Decimal:
        await self.sleep()
        found = await self.client.get_order_info(client_order_id, force_refresh=True)
        assert found is not None
        return found.filled_size

    async def asks(self) -> list[tuple[Decimal, Decimal]]:
        book = self.client.ws_manager.get_order_book(self.instrument, 5)
        return [(level.price, level.size) for level in book.asks]


Act = Callable[[Paper], Coroutine[Any, Any, None]]


def play(folder: Path, *acts: Act, name: str = "hyperliquid", settings: PaperSettings = SETTINGS, stepping: bool = False) -> None:
    """Each act meets a new client of the same virtual account, as after a restart."""

    async def main(stack: Stack) -> None:
        truth = stack.venues[name]
        for act in acts:
            live = truth.ready.client(signed=False, runtime=stack.runtime)
            await live.connect()
            try:
                venue = PaperVenue(live, stack.runtime.clock, replace(settings, file=folder / "account.json"))
                client = PaperClient(venue, runtime=stack.runtime)
            except ValueError:
                await live.disconnect()
                raise
            await client.connect()
            try:
                await client.ws_manager.prepare_market_feed(client.instruments.get("BTC"))
                await act(Paper(stack, truth, venue, client))
            finally:
                await client.disconnect()
                await live.disconnect()
        assert truth.commands() == 0

    run_stack(folder, main, names=(name,), start=False, stepping=stepping)


def test_a_taker_walks_the_live_book_and_what_it_took_stays_taken_until_the_level_refreshes(tmp_path: Path) -> None:
    async def act(p: Paper) -> None:
        p.levels([("99990", "1")], [("100010", "1"), ("100020", "1"), ("100030", "1")])
        await p.sleep()
        bought = await p.client.place_market_order("BTC", D("1.5"), "buy", wait_for="terminal")
        assert bought.filled_size == D("1.5")
        assert bought.average_price == (D(100010) + D(100020) / 2) / D("1.5")
        assert await p.asks() == [(D(100020), D("0.5")), (D(100030), D(1))]
        p.levels([("99980", "1")], [("100010", "1"), ("100020", "1"), ("100030", "0.7")])  # something else changes
        await p.sleep()
        assert await p.asks() == [(D(100020), D("0.5")), (D(100030), D("0.7"))]
        p.levels([("99980", "1")], [("100010", "1.2"), ("100020", "0.8"), ("100030", "0.7")])  # grows: new; shrinks: not ours again
        await p.sleep()
        assert await p.asks() == [(D(100010), D("1.2")), (D(100020), D("0.3")), (D(100030), D("0.7"))]
        p.levels([("99980", "1")], [("100030", "0.7")])
        await p.sleep()
        p.levels([("99980", "1")], [("100020", "1"), ("100030", "0.7")])
        await p.sleep()
        assert await p.asks() == [(D(100020), D(1)), (D(100030), D("0.7"))]

    play(tmp_path, act)


@pytest.mark.parametrize("name", ["hyperliquid", "lighter"])
def test_a_maker_waits_behind_what_the_level_showed(tmp_path: Path, name: str) -> None:
    async def act(p: Paper) -> None:
        mine = await p.rest("99990", "0.5")
        p.trade(Side.SELL, "0.6", "99990")
        assert await p.filled(mine) == 0
        p.trade(Side.SELL, "0.4", "99990")
        assert await p.filled(mine) == 0, "exactly what stood before it"
        p.levels([("99990", "1"), ("99980", "1")], [("100010", "1")])
        await p.sleep()
        p.trade(Side.SELL, "0.2", "99990")
        assert await p.filled(mine) == D("0.2")
        (fill,) = await p.client.order_manager.fetch_fills(since_ns=0)
        assert (fill.price, fill.liquidity) == (D(99990), Liquidity.MAKER)

    play(tmp_path, act, name=name)


@pytest.mark.parametrize(("pause_s", "expected"), [(1.0, "0"), (5.0, "0.5")])
def test_a_level_that_shrinks_moves_a_maker_only_when_the_grace_is_over(tmp_path: Path, pause_s: float, expected: str) -> None:
    async def act(p: Paper) -> None:
        mine = await p.rest("99990", "0.5")  # behind 1
        p.levels([("99990", "0.4"), ("99980", "1")], [("100010", "1")])
        await p.sleep(pause_s)
        p.levels([("99990", "1"), ("99980", "1")], [("100010", "1")])  # what is added stands behind
        await p.sleep(1.0)
        p.trade(Side.SELL, "1", "99990")
        assert await p.filled(mine) == D(expected), "within the grace the trade may be what shrank the level"

    play(tmp_path, act, settings=replace(SETTINGS, trade_grace_s=4.0))


def test_a_trade_through_the_price_fills(tmp_path: Path) -> None:
    async def act(p: Paper) -> None:
        mine = await p.rest("99990", "0.5")
        p.trade(Side.SELL, "1.3", "99980")  # 1 at 99990, all of it ahead of us; 0.3 at 99980, which would have met us first
        assert await p.filled(mine) == D("0.3")

    play(tmp_path, act)


def test_a_live_order_that_rests_through_the_price_fills_once(tmp_path: Path) -> None:
    async def act(p: Paper) -> None:
        mine = await p.rest("99990", "1")
        p.levels([("99970", "1")], [("99985", "0.4"), ("100010", "1")])
        assert await p.filled(mine) == D("0.4")
        p.levels([("99970", "2")], [("99985", "0.4"), ("100010", "1")])
        assert await p.filled(mine) == D("0.4"), "the same live order does not fill it again"
        assert (await p.asks())[0][0] == D(100010)

    play(tmp_path, act)


def test_a_gap_suspends_the_book_and_an_unreachable_venue_refuses_orders(tmp_path: Path) -> None:
    async def act(p: Paper) -> None:
        for session in list(p.truth.dialect.sessions.values()):
            session.drop()
        await p.sleep(0.01)
        with pytest.raises(NotReady):
            p.client.ws_manager.get_order_book(p.instrument)
        assert not p.client.is_connected or not p.client.ws_manager.order_book_ready(p.instrument)
        await p.sleep(10)
        assert p.client.ws_manager.order_book_ready(p.instrument)
        await p.truth.server.stop()
        await p.sleep(3)
        refused = await p.client.place_limit_order("BTC", D("0.1"), D(99000), "buy")
        assert not refused.success
        assert isinstance(refused.error, VenuePaused)
        assert await p.client.get_active_orders() == []
        await p.truth.server.start()

    play(tmp_path, act)


def test_funding_is_settled_at_the_venues_time_with_the_live_rate(tmp_path: Path) -> None:
    async def act(p: Paper) -> None:
        clock = p.stack.runtime.clock
        p.truth.exchange.set_funding_rate(p.truth.now(), p.truth.symbol, to_fraction("0.0003"))
        await p.client.place_market_order("BTC", D("0.5"), "buy", wait_for="terminal")
        next_ns = (clock.time_ns() // NS_PER_HOUR + 1) * NS_PER_HOUR
        await p.venue._take_rates()
        p.stack.step_to(next_ns - 30 * NS_PER_S)
        await p.venue._take_rates()
        assert await p.client.get_funding_payments("BTC", since_ns=0) == []
        p.stack.step_to(next_ns + NS_PER_S)
        await p.sleep()
        (paid,) = await p.client.get_funding_payments("BTC", since_ns=0)
        assert paid.ts_venue_ns == next_ns
        assert paid.amount == -D("0.5") * D(100_000) * D("0.0003")

    play(tmp_path, act, stepping=True)


def test_the_account_survives_a_restart_and_books_the_funding_it_missed(tmp_path: Path) -> None:
    kept: dict[str, Any] = {}

    async def before(p: Paper) -> None:
        p.truth.exchange.set_funding_rate(p.truth.now(), p.truth.symbol, to_fraction("0.0003"))
        bought = await p.client.place_market_order("BTC", D("0.5"), "buy", wait_for="terminal")
        kept["bought"], kept["rests"] = bought.client_order_id, await p.rest("99000", "0.2")
        kept["gone"] = await p.rest("98000", "0.2")
        await p.client.cancel_order(kept["gone"])
        kept["balance"] = await p.client.get_account_balance()
        kept["equity"] = await p.client.get_total_asset_value()

    async def after(p: Paper) -> None:
        assert await p.client.get_account_positions("BTC") == D("0.5")
        assert [o.client_order_id for o in await p.client.get_active_orders()] == [kept["rests"]]
        bought, gone = [await p.client.get_order_info(kept[one]) for one in ("bought", "gone")]
        assert bought is not None
        assert (bought.status, bought.filled_size) == (OrderStatus.FILLED, D("0.5"))
        assert gone is not None
        assert gone.status is OrderStatus.CANCELED
        assert len(await p.client.order_manager.fetch_fills(since_ns=0)) == 1
        assert await p.client.get_total_asset_value() == kept["equity"]
        placed = await p.client.place_market_order("BTC", D("0.1"), "buy", wait_for="terminal")
        assert placed.order_id not in (bought.order_id, gone.order_id)
        assert len({f.trade_id for f in await p.client.order_manager.fetch_fills(since_ns=0)}) == 2
        p.levels([("98990", "1")], [("100010", "1")])
        await p.sleep()
        p.trade(Side.SELL, "0.5", "98990")
        assert await p.filled(kept["rests"]) == D("0.2"), "the order that rested goes on resting"

    async def away(p: Paper) -> None:
        p.stack.step_to((p.stack.runtime.clock.time_ns() // NS_PER_HOUR + 1) * NS_PER_HOUR - NS_PER_S)
        await p.client.disconnect()
        p.stack.step_to(p.stack.runtime.clock.time_ns() + 10 * NS_PER_S)
        await p.sleep(5)

    async def back(p: Paper) -> None:
        await p.venue._take_rates()
        (paid,) = await p.client.get_funding_payments("BTC", since_ns=0)
        held = await p.client.get_account_positions("BTC")
        assert paid.amount == -held * D(100_000) * D("0.0003")
        await p.venue._take_rates()
        assert len(await p.client.get_funding_payments("BTC", since_ns=0)) == 1

    play(tmp_path, before, after, away, back, stepping=True)


def test_funding_that_nobody_could_tell_yet_is_still_due_after_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each restart while the venue is silent makes paper richer or poorer than it would be."""

    async def silent(*_: Any, **__: Any) -> Any:
        raise VenueUnavailable("no history now", venue="hyperliquid")

    async def before(p: Paper) -> None:
        p.truth.exchange.set_funding_rate(p.truth.now(), p.truth.symbol, to_fraction("0.0003"))
        await p.client.place_market_order("BTC", D("0.5"), "buy", wait_for="terminal")
        p.stack.step_to((p.stack.runtime.clock.time_ns() // NS_PER_HOUR + 1) * NS_PER_HOUR - NS_PER_S)
        await p.client.disconnect()
        p.stack.step_to(p.stack.runtime.clock.time_ns() + 10 * NS_PER_S)
        monkeypatch.setattr(type(p.venue.live.market_data), "fetch_funding_history", silent)

    async def deaf(p: Paper) -> None:
        await p.sleep(5)
        assert not await p.client.get_funding_payments("BTC", since_ns=0)
        monkeypatch.undo()

    async def back(p: Paper) -> None:
        await p.sleep(5)
        await p.venue._take_rates()
        (paid,) = await p.client.get_funding_payments("BTC", since_ns=0)
        assert paid.amount == -D("0.5") * D(100_000) * D("0.0003")
        await p.venue._take_rates()
        assert len(await p.client.get_funding_payments("BTC", since_ns=0)) == 1

    play(tmp_path, before, deaf, back, stepping=True)


def test_a_broken_account_file_is_told(tmp_path: Path) -> None:
    async def never(p: Paper) -> None:
        raise AssertionError

    (tmp_path / "account.json").write_text("{")
    with pytest.raises(ValueError, match="move the file away"):
        play(tmp_path, never)


def test_e40_the_live_client_under_paper_cannot_send(tmp_path: Path) -> None:
    async def act(p: Paper) -> None:
        assert p.venue.live.context.signer is None
        with pytest.raises(MissingCredentials):
            await p.venue.live.place_limit_order("BTC", D("0.1"), D(99000), "buy")
        signed = p.truth.ready.client(runtime=p.stack.runtime)
        with pytest.raises(ValueError, match="without credentials"):
            PaperVenue(signed, p.stack.runtime.clock, SETTINGS)
        await signed.disconnect()

    play(tmp_path, act)
