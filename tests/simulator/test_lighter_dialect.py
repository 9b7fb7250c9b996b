"""The Lighter dialect over the in-memory network on virtual time, driven by a bare wire client."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.types import REF, MarketStatus, Side, to_fraction
from exchange_simulator.dialects.base import DialectServer, Lose, NoFaults, Received, RequestFault
from exchange_simulator.dialects.lighter import LighterDialect
from exchange_simulator.ready import ready_venue
from exchange_simulator.simloop import Chunk, Link, Simulation, run
from tests.simulator.lighter_bot import Bot

ETH, BTC = 0, 1
MID = 200_000  # ETH in ticks of 0.01


@dataclass
class Stage:
    sim: Simulation
    exchange: Exchange
    dialect: LighterDialect
    server: DialectServer
    bot: Bot

    def now(self) -> int:
        return self.dialect.now_ns()

    async def settle(self) -> None:
        """More than any execution delay."""
        await asyncio.sleep(1)


def play(scene: Callable[[Stage], Awaitable[None]], **options: Any) -> None:
    """A venue with ETH and BTC, ten levels each side, one funded account; then the scene."""

    async def main(sim: Simulation) -> None:
        exchange = Exchange(LighterDialect.rules())
        dialect = LighterDialect(exchange, sim.runtime, **options)
        for base, tick, step, mid in (("ETH", "0.01", "0.0001", MID), ("BTC", "0.1", "0.00001", 600_000)):
            market = LighterDialect.listing(base, tick_size=Decimal(tick), step_size=Decimal(step))
            exchange.add_market(dialect.now_ns(), market, mark=mid * REF)
            book = [[(mid - s * (1 + n), 10_000) for n in range(10)] for s in (1, -1)]
            exchange.set_levels(dialect.now_ns(), base, book[0], book[1])
        account = dialect.open_account(Decimal(10_000))
        async with DialectServer(dialect, network=sim.network) as server, Bot(server, account, sim.runtime) as bot:
            await scene(Stage(sim, exchange, dialect, server, bot))

    run(main)


# the life of an order


def test_limit_order_is_queued_opens_and_is_cancelled_by_client_index() -> None:
    async def scene(s: Stage) -> None:
        stream = await s.bot.stream()
        await stream.subscribe(f"account_all_orders/{s.bot.account}", auth=s.bot.token())
        reply = await s.bot.place(ETH, "buy", 1000, MID - 500, client=42)
        assert reply["code"] == 200
        assert len(reply["tx_hash"]) == 80
        opened = await stream.order("open", client=42)
        assert (opened["price"], opened["initial_base_amount"], opened["remaining_base_amount"]) == ("1995.00", "0.1000", "0.1000")
        assert opened["order_index"] > 2**48
        assert opened["order_id"] == str(opened["order_index"])
        assert (opened["type"], opened["time_in_force"], opened["is_ask"]) == ("limit", "good-till-time", False)
        assert (await s.bot.get("tx", by="hash", value=reply["tx_hash"]))["status"] == 2
        active = await s.bot.get("accountActiveOrders", True, account_index=s.bot.account, market_id=ETH)
        assert [o["client_order_index"] for o in active["orders"]] == [42]
        assert (await s.bot.cancel(ETH, 42))["code"] == 200
        gone = await stream.order("canceled", client=42)
        assert gone["remaining_base_amount"] == "0.0000"
        inactive = await s.bot.get("accountInactiveOrders", True, account_index=s.bot.account, limit=10)
        assert [o["status"] for o in inactive["orders"]] == ["canceled"]

    play(scene)


def test_cancel_by_exchange_index_and_foreign_order() -> None:
    async def scene(s: Stage) -> None:
        await s.bot.place(ETH, "buy", 1000, MID - 500, client=1)
        await s.settle()
        row = (await s.bot.get("accountOrders", True, account_index=s.bot.account, client_order_indexes="1,2"))["orders"][0]
        other = s.dialect.open_account(Decimal(100))
        async with Bot(s.server, other, s.sim.runtime) as thief:
            assert (await thief.cancel(ETH, row["order_index"]))["code"] == 21707
        assert (await s.bot.cancel(ETH, row["order_index"]))["code"] == 200
        await s.settle()
        assert (await s.bot.cancel(ETH, row["order_index"]))["code"] == 21715

    play(scene)


def test_market_order_waits_its_delay_then_fills_with_fee_and_position() -> None:
    async def scene(s: Stage) -> None:
        stream = await s.bot.stream()
        token = s.bot.token()
        for channel in ("account_all_orders", "account_all_trades", "account_all_positions", "user_stats"):
            await stream.subscribe(f"{channel}/{s.bot.account}", auth=token)
        before = s.sim.loop.time()
        reply = await s.bot.place(ETH, "buy", 15_000, MID + 100, client=7, Type=1)
        assert reply["predicted_execution_time_ms"] == s.bot.now_ms + 140
        filled = await stream.order("filled", client=7)
        assert s.sim.loop.time() - before == pytest.approx(0.140, abs=0.01)
        assert filled["filled_base_amount"] == "1.5000"
        assert filled["filled_quote_amount"] == f"{(10_000 * (MID + 1) + 5_000 * (MID + 2)) * 10**-6:.6f}"
        trades = (await stream.until(type="update/account_all_trades"))["trades"]["0"]
        assert [t["size"] for t in trades] == ["1.0000", "0.5000"]
        assert {t["taker_fee"] for t in trades} == {280}
        assert {t["bid_account_id"] for t in trades} == {s.bot.account}
        assert not any(t["is_maker_ask"] is False for t in trades)
        assert "maker_fee" not in trades[0]
        position = (await stream.until(type="update/account_all_positions"))["positions"]["0"]
        assert (position["sign"], position["position"]) == (1, "1.5000")
        stats = (await stream.until(type="update/user_stats"))["stats"]
        fee = Decimal("3000.02") * 280 / 10**6
        assert abs(Decimal(stats["collateral"]) - (10_000 - fee)) < Decimal("0.001")
        account = (await s.bot.get("account", by="index", value=s.bot.account))["accounts"][0]
        assert account["positions"][0]["initial_margin_fraction"] == "5.00"
        assert account["collateral"] == stats["collateral"]
        mine = await s.bot.get("trades", True, account_index=s.bot.account, sort_by="timestamp", limit=1)
        assert mine["trades"][0]["size"] == "0.5000"
        older = await s.bot.get("trades", True, account_index=s.bot.account, sort_by="timestamp", limit=1, cursor=mine["next_cursor"])
        assert older["trades"][0]["size"] == "1.0000"
        assert "next_cursor" not in older

    play(scene)


@pytest.mark.parametrize(
    ("changes", "status", "filled"),
    [
        ({"price": MID + 5, "TimeInForce": 2}, "canceled-post-only", "0.0000"),
        ({"price": MID + 1, "TimeInForce": 0, "size": 20_000}, "canceled-not-enough-liquidity", "1.0000"),
        ({"price": MID + 3, "Type": 1, "size": 50_000}, "canceled-too-much-slippage", "3.0000"),
        ({"price": MID - 50, "TimeInForce": 0}, "canceled-not-enough-liquidity", "0.0000"),
        ({"price": MID + 5, "ReduceOnly": 1}, "canceled-reduce-only", "0.0000"),
        ({"price": MID + 100, "Type": 1, "size": 99_000_000}, "canceled-margin-not-allowed", "0.0000"),
    ],
)
def test_accepted_and_then_cancelled_by_the_venue(changes: dict[str, Any], status: str, filled: str) -> None:
    async def scene(s: Stage) -> None:
        stream = await s.bot.stream()
        await stream.subscribe(f"account_all_orders/{s.bot.account}", auth=s.bot.token())
        fields = {"size": 1000, **changes}
        reply = await s.bot.place(ETH, "buy", fields.pop("size"), fields.pop("price"), client=9, **fields)
        assert reply["code"] == 200
        row = await stream.order(status, client=9)
        assert row["filled_base_amount"] == filled

    play(scene)


def test_modify_moves_price_and_size_and_keeps_the_index() -> None:
    async def scene(s: Stage) -> None:
        await s.bot.place(ETH, "buy", 1000, MID - 500, client=5)
        await s.settle()
        before = (await s.bot.get("accountActiveOrders", True, account_index=s.bot.account))["orders"][0]
        fields = {"MarketIndex": ETH, "Index": 5, "BaseAmount": 2000, "Price": MID - 600, "TriggerPrice": 0}
        assert (await s.bot.send(17, fields))["code"] == 200
        await s.settle()
        after = (await s.bot.get("accountActiveOrders", True, account_index=s.bot.account))["orders"][0]
        assert after["order_index"] == before["order_index"]
        assert (after["price"], after["remaining_base_amount"]) == ("1994.00", "0.2000")

    play(scene)


def test_cancel_all_now_of_one_market_scheduled_and_aborted() -> None:
    async def scene(s: Stage) -> None:
        async def live() -> list[int]:
            rows = (await s.bot.get("accountActiveOrders", True, account_index=s.bot.account))["orders"]
            return sorted(row["client_order_index"] for row in rows)

        await s.bot.place(ETH, "buy", 1000, MID - 500, client=1)
        await s.bot.place(BTC, "buy", 1000, 590_000, client=2)
        await s.settle()
        assert (await s.bot.send(16, {"TimeInForce": 0, "Time": 0}, L2TxAttributes={"5": BTC}))["code"] == 200
        await s.settle()
        assert await live() == [1]
        soon = s.bot.now_ms + 200_000
        assert (await s.bot.send(16, {"TimeInForce": 1, "Time": soon}))["code"] == 21714  # under five minutes
        deadline = s.bot.now_ms + 301_000
        assert (await s.bot.send(16, {"TimeInForce": 1, "Time": deadline}))["code"] == 200
        await asyncio.sleep(299)
        assert await live() == [1]
        account = (await s.bot.get("account", by="index", value=s.bot.account))["accounts"][0]
        assert account["cancel_all_time"] == deadline
        await asyncio.sleep(5)
        assert await live() == []
        await s.bot.place(ETH, "buy", 1000, MID - 500, client=3)
        await s.bot.send(16, {"TimeInForce": 1, "Time": s.bot.now_ms + 400_000})
        await s.bot.send(16, {"TimeInForce": 2, "Time": 0})
        await asyncio.sleep(500)
        assert await live() == [3]

    play(scene)


def test_stop_loss_waits_for_the_mark_price() -> None:
    async def scene(s: Stage) -> None:
        stream = await s.bot.stream()
        await stream.subscribe(f"account_all_orders/{s.bot.account}", auth=s.bot.token())
        await s.bot.place(ETH, "buy", 1000, MID + 100, client=1, Type=1)
        await stream.order("filled", client=1)
        expiry = s.bot.now_ms + 86_400_000
        stop = {"client": 2, "Type": 2, "TimeInForce": 0, "TriggerPrice": MID - 100, "ReduceOnly": 1, "OrderExpiry": expiry}
        assert (await s.bot.place(ETH, "sell", 1000, MID - 1000, **stop))["code"] == 200
        pending = await stream.order("pending", client=2)
        assert (pending["type"], pending["trigger_status"], pending["trigger_price"]) == ("stop-loss", "mark-price", "1999.00")
        s.exchange.set_mark(s.now(), "ETH", (MID - 100) * REF)
        filled = await stream.order("filled", client=2)
        assert filled["filled_base_amount"] == "0.1000"

    play(scene)


def test_grouped_otoco_children_start_with_the_parent_and_cancel_each_other() -> None:
    async def scene(s: Stage) -> None:
        stream = await s.bot.stream()
        await stream.subscribe(f"account_all_orders/{s.bot.account}", auth=s.bot.token())
        expiry = s.bot.now_ms + 86_400_000
        parent = s.bot.order(ETH, "buy", 1000, MID + 100, client=1, TimeInForce=0)
        child = {"Type": 2, "TimeInForce": 0, "ReduceOnly": 1, "OrderExpiry": expiry}
        stop = s.bot.order(ETH, "sell", 0, MID - 1000, client=2, **child, TriggerPrice=MID - 200)
        take = s.bot.order(ETH, "sell", 0, MID - 1000, client=3, **{**child, "Type": 4}, TriggerPrice=MID + 200)
        stop["OrderExpiry"] = take["OrderExpiry"] = expiry
        stop["TimeInForce"] = take["TimeInForce"] = 0
        reply = await s.bot.send(28, {"GroupingType": 3, "Orders": [parent, stop, take]})
        assert reply["code"] == 200
        await stream.order("filled", client=1)
        await s.settle()
        active = (await s.bot.get("accountActiveOrders", True, account_index=s.bot.account))["orders"]
        assert {o["client_order_index"]: o["status"] for o in active} == {2: "pending", 3: "pending"}
        s.exchange.set_mark(s.now(), "ETH", (MID + 200) * REF)
        await stream.order("filled", client=3)
        await s.settle()
        done = await s.bot.get("accountOrders", True, account_index=s.bot.account, client_order_indexes="2")
        assert done["orders"][0]["status"].startswith("canceled")

    play(scene)


# what is refused at once, and what it costs


def test_nonce_rules() -> None:
    async def scene(s: Stage) -> None:
        async def next_nonce() -> int:
            found: int = (await s.bot.get("nextNonce", account_index=s.bot.account, api_key_index=4))["nonce"]
            return found

        assert await next_nonce() == 0
        assert (await s.bot.place(ETH, "buy", 1000, MID - 500))["code"] == 200
        assert await next_nonce() == 1
        s.bot.nonce = 5
        assert (await s.bot.place(ETH, "buy", 1000, MID - 500))["code"] == 21104
        s.bot.nonce = 0
        assert (await s.bot.place(ETH, "buy", 1000, MID - 500))["code"] == 21104
        assert await next_nonce() == 1
        s.bot.nonce = 1
        assert (await s.bot.place(ETH, "buy", 0, MID - 500))["code"] == 21701  # refused: not consumed
        assert await next_nonce() == 1
        assert (await s.bot.place(ETH, "buy", 1000, MID + 500, TimeInForce=2))["code"] == 200  # ends as post-only: consumed
        assert await next_nonce() == 2
        skip = s.bot.now_ms
        assert (await s.bot.send(15, {"MarketIndex": ETH, "Index": 1}, Nonce=skip, L2TxAttributes={"4": 1}))["code"] == 21715
        order = s.bot.order(ETH, "buy", 1000, MID - 500)
        assert (await s.bot.send(14, order, Nonce=skip, L2TxAttributes={"4": 1}))["code"] == 200
        assert await next_nonce() == skip + 1
        assert (await s.bot.send(14, order, Nonce=skip, L2TxAttributes={"4": 1}))["code"] == 21104

    play(scene)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"MarketIndex": 99}, 21602),
        ({"BaseAmount": 0}, 21701),
        ({"BaseAmount": 2**48}, 21701),
        ({"Price": 0}, 21702),
        ({"Price": 2**32}, 21702),
        ({"IsAsk": 2}, 21703),
        ({"Type": 7}, 21704),
        ({"Type": 6}, 21710),
        ({"TimeInForce": 3}, 21705),
        ({"Type": 1, "TimeInForce": 1}, 21705),
        ({"OrderExpiry": 0}, 21711),
        ({"OrderExpiry": 1}, 21711),
        ({"TriggerPrice": 5}, 21729),
        ({"ClientOrderIndex": 2**48}, 21727),
        ({"BaseAmount": 1}, 21706),
        ({"Price": 3 * MID}, 21733),
        ({"Price": 11 * MID}, 21734),
        ({"BaseAmount": 10**8}, 21739),
        ({"L2TxAttributes": {"1": 718718, "2": 10}}, 21149),
        ({"ApiKeyIndex": 9}, 21109),
        ({"ApiKeyIndex": 255}, 21110),
        ({"AccountIndex": 5}, 21100),
        ({"ExpiredAt": 1}, 21711),
    ],
)
def test_order_refused_at_once(changes: dict[str, Any], code: int) -> None:
    async def scene(s: Stage) -> None:
        fields = {**s.bot.order(ETH, "buy", 1000, MID - 500), **changes}
        reply = await s.bot.send(14, fields, **{k: v for k, v in changes.items() if k in ("ExpiredAt", "L2TxAttributes")})
        assert reply["code"] == code
        assert reply["message"]
        assert s.dialect.owners.get(s.bot.account).keys[4].next_nonce == 0

    play(scene)


def test_forged_and_altered_transactions_are_refused() -> None:
    async def scene(s: Stage) -> None:
        info = s.bot.sign(14, s.bot.order(ETH, "buy", 1000, MID - 500))
        assert (await s.bot.send_info(14, {**info, "Price": MID - 400}))["code"] == 21120
        assert (await s.bot.send_info(14, {**info, "Sig": "AAAA"}))["code"] == 21120
        assert (await s.bot.post("sendTx", {"tx_type": "14", "tx_info": "{"}))["code"] == 21501
        assert (await s.bot.post("sendTx", {"tx_type": "77", "tx_info": "{}"}))["code"] == 21505

    play(scene)


def test_client_order_index_must_be_new_while_live_over_all_markets() -> None:
    async def scene(s: Stage) -> None:
        assert (await s.bot.place(ETH, "buy", 1000, MID - 500, client=1))["code"] == 200
        assert (await s.bot.place(BTC, "buy", 1000, 590_000, client=1))["code"] == 21728  # still in flight
        await s.settle()
        assert (await s.bot.place(BTC, "buy", 1000, 590_000, client=1))["code"] == 21728  # open
        await s.bot.cancel(ETH, 1)
        await s.settle()
        assert (await s.bot.place(BTC, "buy", 1000, 590_000, client=1))["code"] == 200

    play(scene)


def test_batch_is_all_or_nothing() -> None:
    async def scene(s: Stage) -> None:
        def batch(*infos: dict[str, Any]) -> dict[str, str]:
            return {"tx_types": json.dumps([14] * len(infos)), "tx_infos": json.dumps([json.dumps(i) for i in infos])}

        first = s.bot.sign(14, s.bot.order(ETH, "buy", 1000, MID - 500, client=1), Nonce=0)
        second = s.bot.sign(14, s.bot.order(ETH, "buy", 1000, MID - 600, client=2), Nonce=1)
        bad = s.bot.sign(14, s.bot.order(ETH, "buy", 1000, MID - 600, client=2), Nonce=3)
        assert (await s.bot.post("sendTxBatch", batch(first, bad)))["code"] == 21104
        await s.settle()
        assert s.exchange.open_orders(s.bot.account) == []
        reply = await s.bot.post("sendTxBatch", batch(first, second))
        assert reply["code"] == 200
        assert len(reply["tx_hash"]) == 2
        await s.settle()
        assert [o.client_id for o in s.exchange.open_orders(s.bot.account)] == ["1", "2"]
        assert (await s.bot.post("sendTxBatch", {"tx_types": "[14]", "tx_infos": "[]"}))["code"] == 21513
        assert (await s.bot.post("sendTxBatch", batch(*[first] * 51)))["code"] == 21514

    play(scene)


def test_leverage_margin_mode_and_isolated_margin() -> None:
    async def scene(s: Stage) -> None:
        def leverage(imf: int, mode: int) -> dict[str, Any]:
            return {"MarketIndex": ETH, "InitialMarginFraction": imf, "MarginMode": mode}

        assert (await s.bot.send(20, leverage(100, 0)))["code"] == 21113  # 100x, the market allows 50x
        assert (await s.bot.send(20, leverage(1000, 2)))["code"] == 21613
        assert (await s.bot.send(20, leverage(1000, 1)))["code"] == 200
        await s.settle()
        await s.bot.place(ETH, "buy", 10_000, MID + 100, Type=1)
        await s.settle()
        position = (await s.bot.get("account", by="index", value=s.bot.account))["accounts"][0]["positions"][0]
        assert (position["margin_mode"], position["initial_margin_fraction"]) == (1, "10.00")
        allocated = Decimal(position["allocated_margin"])
        assert abs(allocated - Decimal(200)) < 1
        assert (await s.bot.send(20, leverage(1000, 0)))["code"] == 21132
        margin = {"MarketIndex": ETH, "USDCAmount": 50_000_000, "Direction": 1}
        assert (await s.bot.send(29, margin))["code"] == 200
        await s.settle()
        position = (await s.bot.get("account", by="index", value=s.bot.account))["accounts"][0]["positions"][0]
        assert Decimal(position["allocated_margin"]) == allocated + 50
        assert (await s.bot.send(29, {**margin, "USDCAmount": 10**12}))["code"] == 21301
        assert (await s.bot.send(29, {**margin, "MarketIndex": BTC}))["code"] == 21614

    play(scene)


# authentication


def test_private_endpoints_need_a_valid_token() -> None:
    async def scene(s: Stage) -> None:
        def ask(**params: Any) -> Awaitable[dict[str, Any]]:
            return s.bot.get("accountActiveOrders", account_index=s.bot.account, **params)

        missing = await ask()
        assert missing == {"code": 20001, "message": "invalid param : auth query param and Authorization header are empty"}
        assert (await ask(auth=s.bot.token()))["code"] == 200  # the query form
        assert (await ask(auth=s.bot.token(life_s=-1)))["code"] == 20001
        assert (await ask(auth=s.bot.token(life_s=9 * 3600)))["code"] == 20001
        assert (await ask(auth=s.bot.token()[:-4] + "0000"))["code"] == 20001
        token = s.bot.token()
        other = s.dialect.open_account(Decimal(1))
        assert (await s.bot.get("accountActiveOrders", account_index=other.account, auth=token))["code"] == 20001
        await asyncio.sleep(601)
        assert (await ask(auth=token))["code"] == 20001

    play(scene)


def test_private_channels_need_a_token_and_public_account_data_does_not() -> None:
    async def scene(s: Stage) -> None:
        stream = await s.bot.stream()
        await stream.send(type="subscribe", channel=f"account_all_orders/{s.bot.account}")
        assert (await stream.next())["error"]["code"] == 20001
        assert (await stream.subscribe(f"account_all_positions/{s.bot.account}"))["positions"] == {}

    play(scene)


def test_registering_a_key_needs_the_ethereum_signature() -> None:
    from eth_account import Account
    from eth_account.messages import encode_defunct

    from exchange_clients.crypto import schnorr
    from exchange_simulator.dialects.lighter.tx import Tx

    async def scene(s: Stage) -> None:
        import base64

        wallet = Account.from_key("0x" + "11" * 32)
        account = s.dialect.open_account(Decimal(100), l1_address=wallet.address)
        async with Bot(s.server, account, s.sim.runtime) as bot:
            bot.secret, bot.key_index = bytes([5]) + bytes(39), 77
            fields = {"PubKey": base64.b64encode(schnorr.public_key(bot.secret)).decode()}
            info = bot.sign(8, fields)
            assert (await bot.send_info(8, info))["code"] == 21504
            text = Tx.parse(8, info).registration_text()
            signed = wallet.sign_message(encode_defunct(text=text)).signature.hex()
            assert (await bot.send_info(8, {**info, "L1Sig": "0x" + signed}))["code"] == 200
            assert (await bot.place(ETH, "buy", 1000, MID - 500))["code"] == 200
            keys = (await bot.get("apikeys", account_index=bot.account, api_key_index=255))["api_keys"]
            assert [k["api_key_index"] for k in keys] == [4, 77]

    play(scene)


# market data


def test_book_stream_is_contiguous_by_nonce_and_replays_to_the_same_book() -> None:
    async def scene(s: Stage) -> None:
        stream = await s.bot.stream()
        first = await stream.subscribe(f"order_book/{ETH}")
        sides: dict[str, dict[str, str]] = {
            name: {level["price"]: level["size"] for level in first["order_book"][name]} for name in ("bids", "asks")
        }
        nonce = first["order_book"]["nonce"]
        assert first["order_book"]["begin_nonce"] == 0
        offsets = [first["order_book"]["offset"]]
        for step in range(20):
            for price in (MID - 1, MID - 3 - step):
                s.exchange.set_level(s.now(), "ETH", Side.BUY, price, s.sim.rng.randrange(5000))
            update = (await stream.until(type="update/order_book"))["order_book"]
            assert update["begin_nonce"] == nonce
            assert update["nonce"] > nonce
            nonce = update["nonce"]
            offsets.append(update["offset"])
            for name, levels in sides.items():
                for level in update[name]:
                    if Decimal(level["size"]):
                        levels[level["price"]] = level["size"]
                    else:
                        levels.pop(level["price"], None)
        late = await s.bot.stream()
        again = await late.subscribe(f"order_book/{ETH}")
        for name, levels in sides.items():
            assert {level["price"]: level["size"] for level in again["order_book"][name]} == levels
        assert again["order_book"]["nonce"] == nonce

    play(scene)


def test_snapshot_never_runs_ahead_of_pending_updates() -> None:
    async def scene(s: Stage) -> None:
        early = await s.bot.stream()
        first = await early.subscribe(f"order_book/{ETH}")
        s.exchange.set_level(s.now(), "ETH", Side.BUY, MID - 1, 77)
        late = await s.bot.stream()
        snapshot = await late.subscribe(f"order_book/{ETH}")  # before the beat of the update above
        update = await early.until(type="update/order_book")
        assert update["order_book"]["begin_nonce"] == first["order_book"]["nonce"]
        assert update["order_book"]["nonce"] == snapshot["order_book"]["nonce"]
        s.exchange.set_level(s.now(), "ETH", Side.BUY, MID - 1, 78)
        assert (await late.until(type="update/order_book"))["order_book"]["begin_nonce"] == snapshot["order_book"]["nonce"]

    play(scene)


def test_ticker_follows_every_change_of_the_top_and_shows_an_empty_side() -> None:
    async def scene(s: Stage) -> None:
        stream = await s.bot.stream()
        first = await stream.subscribe(f"ticker/{ETH}")
        assert first["ticker"]["b"] == {"price": "1999.99", "size": "1.0000"}
        s.exchange.set_level(s.now(), "ETH", Side.BUY, MID - 1, 20_000)
        assert (await stream.until(type="update/ticker"))["ticker"]["b"]["size"] == "2.0000"
        s.exchange.set_levels(s.now(), "ETH", (), ((MID + 9, 1),))
        last = (await stream.until(type="update/ticker"))["ticker"]
        assert (last["b"], last["a"]["price"]) == ({}, "2000.09")

    play(scene)


def test_funding_units_percent_per_hour_on_the_stream_fraction_per_eight_hours_over_rest() -> None:
    async def scene(s: Stage) -> None:
        s.exchange.set_funding_rate(s.now(), "ETH", to_fraction("0.000012"))  # 0.0012 % per hour
        await s.bot.place(ETH, "buy", 10_000, MID + 100, Type=1)
        await s.settle()
        stream = await s.bot.stream()
        stats = (await stream.subscribe(f"market_stats/{ETH}"))["market_stats"]
        assert stats["current_funding_rate"] == "0.0012"
        assert stats["funding_timestamp"] == 0
        rates = (await s.bot.get("funding-rates"))["funding_rates"]
        ours = next(r for r in rates if r["exchange"] == "lighter" and r["symbol"] == "ETH")
        assert ours["rate"] == pytest.approx(0.000096)
        assert {r["exchange"] for r in rates} > {"lighter"}
        await asyncio.sleep(3601)
        settled = await s.bot.get(
            "fundings", market_id=ETH, resolution="1h", start_timestamp=0, end_timestamp=s.bot.now_ms // 1000, count_back=10
        )
        row = settled["fundings"][-1]
        assert row == {"timestamp": (s.bot.now_ms // 3_600_000) * 3600, "value": "0.02400000", "rate": "0.0012", "direction": "long"}
        paid = (await s.bot.get("positionFunding", True, account_index=s.bot.account, limit=5))["position_fundings"]
        assert [p["change"] for p in paid] == ["-0.024000"]
        assert (paid[0]["position_side"], paid[0]["market_id"]) == ("long", ETH)
        later = await s.bot.stream()  # the venue closed the first one, which said nothing for an hour
        stats = (await later.subscribe(f"market_stats/{ETH}"))["market_stats"]
        assert stats["funding_timestamp"] == s.bot.now_ms // 3_600_000 * 3_600_000
        assert stats["funding_rate"] == "0.0012"

    play(scene)


def test_negative_funding_shows_its_direction_apart() -> None:
    async def scene(s: Stage) -> None:
        s.exchange.set_funding_rate(s.now(), "ETH", to_fraction("-0.0000199"))
        await asyncio.sleep(3601)
        rows = await s.bot.get("fundings", market_id=ETH, resolution="1h", start_timestamp=0, end_timestamp=2 * 10**9, count_back=1)
        assert (rows["fundings"][0]["rate"], rows["fundings"][0]["direction"]) == ("0.0019", "short")  # cut, not rounded
        stream = await s.bot.stream()
        assert (await stream.subscribe(f"market_stats/{ETH}"))["market_stats"]["current_funding_rate"] == "-0.0019"

    play(scene)


def test_open_interest_is_base_over_rest_and_usd_on_the_stream() -> None:
    async def scene(s: Stage) -> None:
        await s.bot.place(ETH, "buy", 15_000, MID + 100, Type=1)
        await s.settle()
        details = (await s.bot.get("orderBookDetails", market_id=ETH))["order_book_details"][0]
        assert details["open_interest"] == 1.5
        stream = await s.bot.stream()
        everything = (await stream.subscribe("market_stats/all"))["market_stats"]
        assert set(everything) == {"0", "1"}
        assert everything["0"]["open_interest"] == "3000.000000"
        s.exchange.set_mark(s.now(), "ETH", (MID + 1) * REF)
        update = (await stream.until(type="update/market_stats", channel="market_stats:all"))["market_stats"]
        assert set(update) == {"0"}  # only what changed: merge, do not replace

    play(scene)


def test_public_rest_of_a_market() -> None:
    async def scene(s: Stage) -> None:
        await s.bot.place(ETH, "buy", 1000, MID - 1, client=3)
        await s.settle()
        books = (await s.bot.get("orderBooks"))["order_books"]
        assert [(b["symbol"], b["market_id"], b["supported_price_decimals"]) for b in books] == [("ETH", 0, 2), ("BTC", 1, 1)]
        depth = await s.bot.get("orderBookOrders", market_id=ETH, limit=3)
        assert [(o["price"], o["remaining_base_amount"]) for o in depth["bids"]] == [
            ("1999.99", "1.0000"),
            ("1999.99", "0.1000"),
            ("1999.98", "1.0000"),
        ]
        assert depth["bids"][1]["owner_account_index"] == s.bot.account
        for n in range(3):
            s.exchange.external_trade(s.now(), "ETH", Side.SELL if n else Side.BUY, 100 + n)
            await asyncio.sleep(61)
        tape = (await s.bot.get("recentTrades", market_id=ETH, limit=2))["trades"]
        assert [(t["size"], t["is_maker_ask"]) for t in tape] == [("0.0102", False), ("0.0101", False)]
        span = {"start_timestamp": s.bot.now_ms - 3_600_000, "end_timestamp": s.bot.now_ms}
        candles = (await s.bot.get("candles", market_id=ETH, resolution="1m", count_back=500, **span))["c"]
        assert [c["v"] for c in candles] == [0.01, 0.0101, 0.0102]
        hour = (await s.bot.get("candles", market_id=ETH, resolution="1h", count_back=1, **span))["c"]
        assert hour[0]["v"] == pytest.approx(0.0303)
        assert (await s.bot.get("candles", market_id=ETH, resolution="7m", count_back=1, **span))["code"] == 22402
        assert (await s.bot.get("orderBookOrders", market_id=ETH, limit=251))["code"] == 20001
        assert (await s.bot.get("orderBookOrders", market_id=9, limit=1))["code"] == 21602
        stats = await s.bot.get("exchangeStats")
        assert stats["order_book_stats"][0]["daily_trades_count"] == 3

    play(scene)


def test_trade_candle_and_height_channels() -> None:
    async def scene(s: Stage) -> None:
        stream = await s.bot.stream()
        await stream.subscribe(f"trade/{ETH}")
        await stream.subscribe(f"candle/{ETH}/1m")
        height = (await stream.subscribe("height"))["height"]
        s.exchange.external_trade(s.now(), "ETH", Side.BUY, 15_000)
        trades = (await stream.until(type="update/trade"))["trades"]
        assert [t["size"] for t in trades] == ["0.5000", "1.0000"]  # newest first
        assert all(t["is_maker_ask"] for t in trades)
        assert (await stream.until(type="update/candle"))["candles"][0]["v"] == 1.5
        assert (await stream.until(type="update/height"))["height"] > height
        late = await s.bot.stream()
        assert len((await late.subscribe(f"trade/{ETH}"))["trades"]) == 2

    play(scene)


# the socket itself


def test_socket_protocol_words() -> None:
    async def scene(s: Stage) -> None:
        stream = await s.bot.stream()
        await stream.subscribe(f"order_book/{ETH}")
        for message, code in (
            ({"type": "subscribe", "channel": f"order_book/{ETH}"}, 30003),
            ({"type": "subscribe", "channel": "order_book/77"}, 30005),
            ({"type": "subscribe", "channel": "nonsense"}, 30005),
            ({"type": "unsubscribe", "channel": "ticker/0"}, 30002),
            ({"type": "dance"}, 30001),
            ({"type": "jsonapi/sendtx"}, 30007),
        ):
            await stream.send(**message)
            assert (await stream.next())["error"]["code"] == code
        await stream.ws.send_str("{")
        assert (await stream.next())["error"]["code"] == 30000
        await stream.send(type="unsubscribe", channel=f"order_book/{ETH}")
        assert await stream.next() == {"type": "unsubscribed", "channel": f"order_book:{ETH}"}
        await stream.send(type="ping")
        assert await stream.next() == {"type": "pong"}

    play(scene)


def test_server_pings_and_closes_who_says_nothing_for_two_minutes() -> None:
    async def scene(s: Stage) -> None:
        quiet, lively = await s.bot.stream(), await s.bot.stream()
        for _ in range(4):
            assert (await lively.ws.receive_json(timeout=100))["type"] == "ping"
            await lively.send(type="pong")
        assert s.sim.loop.time() > 200
        while (message := await quiet.ws.receive()).type is aiohttp.WSMsgType.TEXT:
            pass
        assert message.type is aiohttp.WSMsgType.CLOSE
        assert not lively.ws.closed

    play(scene)


def test_too_many_messages_but_transactions_do_not_count() -> None:
    async def scene(s: Stage) -> None:
        stream = await s.bot.stream()
        for _ in range(200):
            await stream.send(type="ping")
        await stream.send(type="ping")
        assert (await stream.until(error={"code": 30009, "message": "Too Many Websocket Messages!"}))["error"]
        order = s.bot.sign(14, s.bot.order(ETH, "buy", 1000, MID - 500))
        await stream.send(type="jsonapi/sendtx", data={"id": "a", "tx_type": 14, "tx_info": order})
        assert (await stream.until(id="a"))["code"] == 200

    play(scene)


def test_transactions_over_the_socket() -> None:
    async def scene(s: Stage) -> None:
        stream = await s.bot.stream()
        order = s.bot.sign(14, s.bot.order(ETH, "buy", 1000, MID - 500, client=1))
        await stream.send(type="jsonapi/sendtx", data={"id": "one", "tx_type": 14, "tx_info": order})
        reply = await stream.next()
        assert (reply["code"], reply["id"], reply["type"]) == (200, "one", "jsonapi/sendtx")
        await stream.send(type="jsonapi/sendtx", data={"id": "two", "tx_type": 14, "tx_info": order})
        refused = await stream.next()
        assert (refused["error"]["code"], refused["id"]) == (21104, "two")
        second = s.bot.sign(14, s.bot.order(ETH, "buy", 1000, MID - 500, client=2), Nonce=1)
        batch = {"id": "three", "tx_types": "[14]", "tx_infos": json.dumps([json.dumps(second)])}
        await stream.send(type="jsonapi/sendtxbatch", data=batch)
        assert len((await stream.next())["tx_hash"]) == 1

    play(scene)


# limits, faults, restarts


def test_request_budget_answers_429_in_the_venues_words() -> None:
    async def scene(s: Stage) -> None:
        codes = [(await s.bot.get("orderBooks"))["code"] for _ in range(61)]
        assert codes[:60] == [200] * 60
        assert codes[60] == 23000
        await asyncio.sleep(61)
        assert (await s.bot.get("orderBooks"))["code"] == 200

    play(scene, tier="standard")


class LoseReply(NoFaults):
    def on_request(self, received: Received) -> RequestFault | None:
        return RequestFault(lose=Lose.REPLY) if received.path.endswith("sendTx") else None


def test_a_lost_reply_leaves_the_order_in_the_book() -> None:
    async def scene(s: Stage) -> None:
        with pytest.raises(aiohttp.ClientError):
            await s.bot.place(ETH, "buy", 1000, MID - 500, client=8)
        await s.settle()
        found = await s.bot.get("accountOrders", True, account_index=s.bot.account, client_order_indexes="8")
        assert found["orders"][0]["status"] == "open"
        assert (await s.bot.get("nextNonce", account_index=s.bot.account, api_key_index=4))["nonce"] == 1

    play(scene, faults=LoseReply())


def test_a_muted_reduce_only_order_vanishes() -> None:
    async def scene(s: Stage) -> None:
        stream = await s.bot.stream()
        await stream.subscribe(f"account_all_orders/{s.bot.account}", auth=s.bot.token())
        assert (await s.bot.place(ETH, "sell", 1000, MID - 5, client=4, ReduceOnly=1))["code"] == 200
        await s.settle()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stream.order("canceled-reduce-only", client=4), 20)
        found = await s.bot.get("accountOrders", True, account_index=s.bot.account, client_order_indexes="4")
        assert found["orders"] == []

    play(scene, mute_reduce_only=True)


def test_state_survives_a_stop_and_a_start() -> None:
    async def scene(s: Stage) -> None:
        stream = await s.bot.stream()
        await s.bot.place(ETH, "buy", 1000, MID - 500, client=6)
        await s.settle()
        await s.server.stop()
        assert (await stream.ws.receive()).type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.ERROR}
        with pytest.raises(aiohttp.ClientConnectorError):
            await s.bot.get("orderBooks")
        await s.server.start()
        active = await s.bot.get("accountActiveOrders", True, account_index=s.bot.account)
        assert [o["client_order_index"] for o in active["orders"]] == [6]
        assert (await s.bot.place(ETH, "buy", 1000, MID - 600, client=7))["code"] == 200

    play(scene)


def test_halted_market_refuses_and_liquidation_is_told() -> None:
    async def scene(s: Stage) -> None:
        stream = await s.bot.stream()
        await stream.subscribe(f"notification/{s.bot.account}", auth=s.bot.token())
        await s.bot.place(ETH, "buy", 90_000, MID + 100, Type=1)
        await s.bot.place(ETH, "buy", 800_000, MID - 1, client=2)
        await s.settle()
        s.exchange.set_levels(s.now(), "ETH", ((MID // 3, 10**7),), ((MID // 2, 10**7),))
        s.exchange.set_mark(s.now(), "ETH", MID * REF * 4 // 10)
        notice = (await stream.until(type="update/notification"))["notifs"][0]
        assert notice["kind"] == "liquidation"
        s.exchange.set_status(s.now(), "BTC", MarketStatus.HALTED)
        assert (await s.bot.place(BTC, "buy", 1000, 590_000))["code"] == 21605
        books = (await s.bot.get("orderBooks"))["order_books"]
        assert {b["symbol"]: b["status"] for b in books} == {"ETH": "active", "BTC": "inactive"}

    play(scene)


def test_standard_accounts_have_a_limit_per_type_of_transaction() -> None:
    async def scene(s: Stage) -> None:
        codes = [(await s.bot.place(ETH, "buy", 1000, MID - 500 - n))["code"] for n in range(41)]
        assert codes == [200] * 40 + [23000]
        assert (await s.bot.send(16, {"TimeInForce": 0, "Time": 0}))["code"] == 200  # another type
        await asyncio.sleep(61)
        assert (await s.bot.place(ETH, "buy", 1000, MID - 500))["code"] == 200

    play(scene, tier="standard")


def test_an_address_that_reconnects_in_a_storm_is_refused() -> None:
    async def scene(s: Stage) -> None:
        async with aiohttp.ClientSession(connector=s.sim.runtime.connector()) as session:
            for _ in range(255):
                async with session.ws_connect(s.server.ws["public"]):
                    pass
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(s.server.ws["public"])
            assert refused.value.status == 429
            await asyncio.sleep(61)
            async with session.ws_connect(s.server.ws["public"]) as ws:
                assert (await ws.receive_json())["type"] == "connected"

    play(scene)


def test_read_only_sessions_and_tokens_look_and_do_not_touch() -> None:
    async def scene(s: Stage) -> None:
        expiry = s.bot.now_ms // 1000 + 90_000
        form = {"name": "monitor", "account_index": str(s.bot.account), "expiry": str(expiry), "sub_account_access": "false"}
        made = await s.bot.post("tokens/create", {**form, "auth": s.bot.token()})
        assert made["api_token"].startswith(f"ro:{s.bot.account}:single:{expiry}:")
        await s.bot.place(ETH, "buy", 1000, MID - 500, client=1)
        await s.settle()
        seen = await s.bot.get("accountActiveOrders", account_index=s.bot.account, auth=made["api_token"])
        assert len(seen["orders"]) == 1
        soon = {**form, "expiry": str(s.bot.now_ms // 1000 + 60), "auth": s.bot.token()}
        assert (await s.bot.post("tokens/create", soon))["code"] == 61001
        await asyncio.sleep(91_000)
        assert (await s.bot.get("accountActiveOrders", account_index=s.bot.account, auth=made["api_token"]))["code"] == 20001
        async with (
            aiohttp.ClientSession(connector=s.sim.runtime.connector()) as session,
            session.ws_connect(s.server.ws["public"] + "?readonly=true") as ws,
        ):
            await ws.receive_json()
            order = s.bot.sign(14, s.bot.order(ETH, "buy", 1000, MID - 500))
            await ws.send_json({"type": "jsonapi/sendtx", "data": {"id": "a", "tx_type": 14, "tx_info": order}})
            assert (await ws.receive_json())["error"]["code"] == 30006

    play(scene, limited=False)


def test_tier_changes_only_without_orders_and_positions() -> None:
    async def scene(s: Stage) -> None:
        async def change(tier: str) -> int:
            form = {"account_index": str(s.bot.account), "new_tier": tier, "auth": s.bot.token()}
            found: int = (await s.bot.post("changeAccountTier", form))["code"]
            return found

        assert await change("diamond") == 62002
        assert await change("premium") == 62003
        await s.bot.place(ETH, "buy", 1000, MID - 500, client=1)
        await s.settle()
        assert await change("standard") == 62005
        await s.bot.cancel(ETH, 1)
        await s.settle()
        assert await change("standard") == 200
        limits = await s.bot.get("accountLimits", True, account_index=s.bot.account)
        assert (limits["user_tier"], limits["current_taker_fee_tick"]) == ("standard", 0)
        await s.bot.place(ETH, "buy", 1000, MID + 100, client=2, Type=1)
        await s.settle()
        trades = await s.bot.get("trades", True, account_index=s.bot.account, sort_by="timestamp", limit=1)
        assert "taker_fee" not in trades["trades"][0]

    play(scene)


def test_a_shutdown_is_announced() -> None:
    async def scene(s: Stage) -> None:
        stream = await s.bot.stream()
        s.dialect.stream.announce_shutdown(2.0)
        assert await stream.next() == {"type": "shutdown", "close_in_ms": 2000}
        assert (await stream.ws.receive()).type is aiohttp.WSMsgType.CLOSE
        assert s.sim.loop.time() >= 2

    play(scene)


def trace(seed: int) -> str:
    """Hash of every byte the venue sent, and when, while a bot trades in a moving market."""
    digest = hashlib.sha256()

    def tap(chunk: Chunk) -> None:
        random_key = chunk.data.startswith(b"HTTP/1.1 101")  # the handshake answers the client's random key
        said = b"" if random_key or chunk.direction == "up" else chunk.data
        digest.update(f"{chunk.ts_ns} {chunk.connection} {chunk.direction} {len(chunk.data)} ".encode() + said)

    async def main(sim: Simulation) -> None:
        sim.network.tap = tap
        link = Link(up_s=(0.002, 0.02), down_s=(0.002, 0.02))
        async with (
            ready_venue(LighterDialect, sim.runtime, seed=seed, live=True, network=sim.network, link=link) as venue,
            Bot(venue.server, venue.account, sim.runtime) as bot,
        ):
            stream = await bot.stream()
            for channel in (f"order_book/{ETH}", f"trade/{ETH}", "market_stats/all"):
                await stream.subscribe(channel)
            await stream.subscribe(f"account_all_orders/{bot.account}", auth=bot.token())
            for n in range(1, 30):
                bid, ask = venue.exchange.best("ETH")
                await bot.place(
                    ETH,
                    "buy" if n % 2 else "sell",
                    1000 + n,
                    bid - 50 if n % 3 else ask + 50,
                    client=n,
                    **({"Type": 1} if n % 5 == 0 else {}),
                )
                await asyncio.sleep(sim.rng.random() * 3)
                await bot.cancel(ETH, n)
                while (await stream.next()).get("type") != "update/order_book":
                    pass

    run(main, seed=seed)
    return digest.hexdigest()


@pytest.mark.slow
def test_same_seed_same_bytes_through_the_whole_venue() -> None:
    assert trace(3) == trace(3) != trace(4)
