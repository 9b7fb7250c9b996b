"""The dYdX dialect over the in-memory network on virtual time, driven by a bare wire client."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.types import REF, MarketStatus, Side, to_fraction
from exchange_simulator.dialects.base import Budget, DialectServer
from exchange_simulator.dialects.dydx import DydxDialect, proto, wire
from exchange_simulator.dialects.dydx.chain import parse, signed_by
from exchange_simulator.simloop import Simulation, run
from tests.simulator.dydx_bot import IOC, POST_ONLY, Bot, Stream, status_of

MID = 600_000  # BTC in ticks of 0.1
BTC = "BTC-USD"
BLOCK_S = 0.64


@dataclass
class Stage:
    sim: Simulation
    exchange: Exchange
    dialect: DydxDialect
    server: DialectServer
    bot: Bot
    account: int

    def now(self) -> int:
        return self.dialect.now_ns()

    async def blocks(self, count: int = 1) -> None:
        """Until the indexer knows of so many more blocks."""
        await asyncio.sleep(count * BLOCK_S + 0.06)

    async def mine(self) -> Stream:
        """A socket that hears of the account."""
        stream = await self.bot.stream()
        await stream.subscribe("v4_subaccounts", f"{self.bot.address}/0")
        return stream

    def sell(self, size: int, limit: int = 0) -> int:
        return self.exchange.external_trade(self.now(), BTC, Side.SELL, size, limit=limit)


def play(scene: Callable[[Stage], Awaitable[None]], *, deposit: int = 100_000, **options: Any) -> None:
    """A venue with BTC and ETH, ten levels of one BTC each side, one funded account; then the scene."""

    async def main(sim: Simulation) -> None:
        exchange = Exchange(DydxDialect.rules())
        dialect = DydxDialect(exchange, sim.runtime, **options)
        for base, tick, step, mid in (("BTC", "0.1", "0.00001", MID), ("ETH", "0.01", "0.0001", 200_000)):
            market = DydxDialect.listing(base, tick_size=Decimal(tick), step_size=Decimal(step))
            exchange.add_market(dialect.now_ns(), market, mark=mid * REF)
            book = [[(mid - s * (1 + n), 100_000) for n in range(10)] for s in (1, -1)]
            exchange.set_levels(dialect.now_ns(), market.symbol, book[0], book[1])
        account = dialect.open_account(Decimal(deposit))
        async with DialectServer(dialect, network=sim.network) as server, Bot(server, account, sim.runtime) as bot:
            await scene(Stage(sim, exchange, dialect, server, bot, account.account))

    run(main)


# transactions

VECTOR_BODY = (
    "0a6d0a202f6479647870726f746f636f6c2e636c6f622e4d7367506c6163654f7264657212490a470a340a2d0a2b6479647831776c646e79746b65727a73333972"
    "733238646a6e30703976767165723278326b357838686a791540e2010010011880c2d72f2080e497d01228d4843d"
)
VECTOR_AUTH = (
    "0a500a460a1f2f636f736d6f732e63727970746f2e736563703235366b312e5075624b657912230a210291d1d9fd23334f3d53c3a5b50b56317d8964692320d73d"
    "22d7a0b115d5eb574f12040a0208011807120410c0843d"
)
VECTOR_SIGNATURE = (
    "01c608faacc31e16f4e6415cd1e3c61ab29e2721214a7bc0aa258e2937bbab6265e23ce2ff702a47ebdcbf88767ba76a3ed936147d320da56c135d495d5871b5"
)


def test_a_transaction_of_the_official_client_is_read_and_its_signature_holds() -> None:
    """Made with the venue's own SDK, for chain dydx-testnet-4, account number 11."""
    body, auth, signature = bytes.fromhex(VECTOR_BODY), bytes.fromhex(VECTOR_AUTH), bytes.fromhex(VECTOR_SIGNATURE)
    raw = proto.encode(proto.TX_RAW, {"body_bytes": body, "auth_info_bytes": auth, "signatures": [signature]})
    tx = parse(raw)
    assert tx.hash == "8AD81B8269FACF4D16D343351C732628F40FF37CAF8CBFA497BC28B13F945E15"
    order = tx.messages[0].values["order"]
    assert (order["quantums"], order["subticks"], order["good_til_block"]) == (100_000_000, 5_000_000_000, 1_000_020)
    assert tx.messages[0].owner == wire.address_of(tx.public_key) == "dydx1wldnytkerzs39rs28djn0p9vvqer2x2k5x8hjy"
    assert tx.sequence == 7

    def document(chain_id: str, number: int) -> bytes:
        fields = {"body_bytes": body, "auth_info_bytes": auth, "chain_id": chain_id, "account_number": number}
        return proto.encode(proto.SIGN_DOC, fields)

    assert signed_by(tx.public_key, signature, document("dydx-testnet-4", 11))
    assert not signed_by(tx.public_key, signature, document("dydx-mainnet-1", 11))
    assert not signed_by(tx.public_key, signature, document("dydx-testnet-4", 12))


def test_order_ids_are_those_of_live_rows() -> None:
    owner = "dydx1n56z5fhmemtffzkt2eqyf9kuc7ycjfs86mvqy7"
    assert wire.subaccount_uuid(owner, 0) == "5113b9c6-885f-5f80-a2cc-ae0d93795419"
    assert wire.order_uuid(owner, 0, 1700756032, 0, 0) == "0f0981cb-152e-57d3-bea9-4d8e0dd5ed35"
    assert wire.order_uuid(owner, 0, 2501724362, 0, 0) == "8e2be4a2-86c6-5a32-a081-b223778c3e33"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\x08", "ends in the middle"),
        (b"\x0a\x05ab", "ends in the middle"),
        (b"\x00\x01", "field number 0"),
        (b"\x0b", "wire type 3"),
        (b"\x80" * 11, "ends in the middle"),
        (b"\x78\x01", "unknown field 15"),
        (b"\x0a\x00\x10\x01\x1a\x01x", "wire type"),
    ],
)
def test_what_is_no_order_is_refused(data: bytes, what: str) -> None:
    with pytest.raises(proto.WireError, match=what):
        proto.decode(proto.ORDER, data)


def test_signatures_sequences_and_chain_are_checked() -> None:
    async def scene(s: Stage) -> None:
        bot = s.bot
        until = s.now() // 10**9 + 600

        def raw(**options: Any) -> bytes:
            return bot.sign(bot.place(1, "buy", 10**6, 500_000 * 1000, flags=64, good_til_block_time=until), **options)

        bot.chain_id = "dydx-testnet-4"
        assert (await bot.broadcast(raw())).word == "sdk:4"
        bot.chain_id = "dydx-mainnet-1"
        bot.number += 1
        assert (await bot.broadcast(raw())).word == "sdk:4"
        bot.number -= 1
        bot.sequence = 3
        wrong = await bot.broadcast(raw())
        assert (wrong.word, "expected 0, got 3" in wrong.log) == ("sdk:32", True)
        bot.sequence = 0
        assert (await bot.broadcast(raw(high_s=True))).word == "sdk:4"
        assert (await bot.broadcast(raw(timeout_height=await bot.height() - 1))).word == "sdk:30"
        assert (await bot.broadcast(b"\x0a\x03abc")).word == "sdk:2"
        good = raw()
        assert (await bot.broadcast(good)).word == "ok"
        assert (await bot.broadcast(good)).word == "sdk:19"
        assert (await bot.account())["sequence"] == 0, "queries tell the last block's"
        stranger = s.dialect.open_account(Decimal(10))
        async with Bot(s.server, stranger, s.sim.runtime) as other:
            other.address, other.number = bot.address, bot.number
            assert (await other.short(9, "buy", 1, 500_000)).word == "sdk:8"
        assert s.exchange.open_orders(s.account) == []  # the good one waits for the block
        await s.blocks()
        assert len(s.exchange.open_orders(s.account)) == 1
        assert (await bot.account())["sequence"] == 1

    play(scene)


def test_short_term_messages_need_no_sequence_and_stand_alone() -> None:
    async def scene(s: Stage) -> None:
        bot, block = s.bot, await s.bot.height() + 10
        bot.sequence = 77
        assert (await bot.short(1, "buy", 10, MID - 100)).word == "ok"
        first = bot.place(2, "buy", 10**6, 500_000 * 1000, good_til_block=block)
        second = bot.place(3, "buy", 10**6, 500_000 * 1000, good_til_block=block)
        assert (await bot.broadcast(bot.sign(first, second))).word == "sdk:18"
        assert len(s.exchange.open_orders(s.account)) == 1

    play(scene)


def test_timestamp_nonces_stand_in_for_the_sequence() -> None:
    """Milliseconds near the block's time, each once, in any order; the sequence stays."""

    async def scene(s: Stage) -> None:
        bot, now_ms = s.bot, s.now() // 10**6

        async def said(nonce: int, client_id: int) -> str:
            bot.sequence = nonce
            return (await bot.long(client_id, "buy", 1, MID - 100)).word

        assert await said(now_ms + 5, 1) == "ok"
        assert await said(now_ms, 2) == "ok"
        await s.blocks()
        assert await said(now_ms, 3) == "sdk:32"
        assert await said(now_ms - 40_000, 4) == "sdk:32"
        assert await said(now_ms + 40_000, 5) == "sdk:32"
        assert await said(now_ms + 1, 6) == "ok"
        await s.blocks()
        assert len(s.exchange.open_orders(s.account)) == 3
        assert (await bot.account())["sequence"] == 0

    play(scene)


# short-term orders


def test_short_term_order_is_told_from_memory_and_filled_with_the_block() -> None:
    async def scene(s: Stage) -> None:
        mine = await s.mine()
        assert (await s.bot.short(7, "buy", 50, MID - 10)).word == "ok"
        uuid = s.bot.uuid(7)
        await s.bot.get(f"orders/{uuid}", answers=404)  # the indexer has not heard yet
        opened = await mine.order(uuid, "BEST_EFFORT_OPENED")
        assert (opened["size"], opened["price"], opened["totalFilled"], opened["orderFlags"]) == ("0.0005", "59999", "0", "0")
        row = await s.bot.get(f"orders/{uuid}")
        assert (row["status"], "createdAtHeight" in row, "updatedAt" in row) == ("BEST_EFFORT_OPENED", False, False)
        assert s.sell(20 + 10 * 100_000, MID - 10) == 10 * 100_000 + 20  # every bid above, then a part of ours
        assert (await s.bot.mine("fills"))["fills"] == []
        partly = await mine.order(uuid, "OPEN")
        assert partly["totalFilled"] == "0.0002"
        (fill,) = partly["fills"]
        assert (fill["size"], fill["price"], fill["liquidity"], fill["side"], fill["orderId"]) == ("0.0002", "59999", "MAKER", "BUY", uuid)
        (recorded,) = (await s.bot.mine("fills"))["fills"]
        assert (recorded["id"], recorded["createdAtHeight"]) == (fill["id"], partly["blockHeight"])
        s.sell(30, MID - 10)
        filled = await mine.order(uuid, "FILLED")
        assert filled["totalFilled"] == "0.0005"
        state = (await s.bot.get(f"addresses/{s.bot.address}/subaccountNumber/0"))["subaccount"]
        position = state["openPerpetualPositions"][BTC]
        assert (position["size"], position["side"], position["entryPrice"]) == ("0.0005", "LONG", "59999")

    play(scene)


def test_ioc_that_finds_half_is_removed_before_its_fills_are_told() -> None:
    async def scene(s: Stage) -> None:
        mine = await s.mine()
        assert (await s.bot.short(8, "buy", 150_000, MID + 1, time_in_force=IOC)).word == "ok"
        uuid = s.bot.uuid(8)
        removed = await mine.order(uuid, "BEST_EFFORT_CANCELED")
        assert removed["removalReason"] == "ORDER_REMOVAL_REASON_IMMEDIATE_OR_CANCEL_WOULD_REST_ON_BOOK"
        assert (removed["totalOptimisticFilled"], removed["fills"]) == ("1", [])
        assert "size" not in removed
        block = await mine.order(uuid, "BEST_EFFORT_CANCELED")
        assert (block["totalFilled"], [f["size"] for f in block["fills"]]) == ("1", ["1"])
        assert int(block["blockHeight"]) > int(removed["blockHeight"])
        statuses = [r["status"] for m in mine.seen for r in m.get("contents", {}).get("orders", []) if r["id"] == uuid]
        assert statuses == ["BEST_EFFORT_OPENED", "BEST_EFFORT_CANCELED", "BEST_EFFORT_CANCELED"]

    play(scene)


def test_another_proposer_may_match_an_ioc_that_our_node_has_removed() -> None:
    """What a node says of an immediate order is no last word: the block that was proposed elsewhere may hold more of it."""

    async def scene(s: Stage) -> None:
        mine = await s.mine()
        await s.bot.short(9, "buy", 150_000, MID + 1, time_in_force=IOC)
        removed = await mine.order(s.bot.uuid(9), "BEST_EFFORT_CANCELED")
        assert removed["totalOptimisticFilled"] == "1"
        s.exchange.set_level(s.now(), BTC, Side.SELL, MID + 1, 30_000)
        block = await mine.order(s.bot.uuid(9), "BEST_EFFORT_CANCELED")
        assert [f["size"] for f in block["fills"]] == ["1", "0.3"]
        assert (await s.bot.get(f"orders/{s.bot.uuid(9)}"))["totalFilled"] == "1.3"
        told = [r["status"] for m in mine.seen for r in m.get("contents", {}).get("orders", [])]
        assert told.count("BEST_EFFORT_OPENED") == 1

    play(scene, second_looks=1.0)


def test_ioc_that_finds_all_is_never_removed_and_one_that_finds_nothing_fills_nothing() -> None:
    async def scene(s: Stage) -> None:
        mine = await s.mine()
        await s.bot.short(1, "buy", 5, MID + 5, time_in_force=IOC)
        filled = await mine.order(s.bot.uuid(1), "FILLED")
        assert filled["fills"][0]["liquidity"] == "TAKER"
        await s.bot.short(2, "buy", 5, MID - 5, time_in_force=IOC)
        assert (await mine.order(s.bot.uuid(2), "BEST_EFFORT_CANCELED"))["totalOptimisticFilled"] == "0"
        await s.blocks(40)
        rows = {row["id"]: row["status"] for row in await s.bot.mine("orders")}
        assert rows == {s.bot.uuid(1): "FILLED", s.bot.uuid(2): "CANCELED"}
        removed = [
            r for m in mine.seen for r in m.get("contents", {}).get("orders", []) if r["id"] == s.bot.uuid(1) and "removalReason" in r
        ]
        assert removed == []

    play(scene)


def test_short_term_order_expires_at_its_block_and_the_indexer_learns_it_later() -> None:
    async def scene(s: Stage) -> None:
        mine = await s.mine()
        until = await s.bot.height() + 5
        await s.bot.short(3, "buy", 5, MID - 50, blocks=5)
        while s.dialect.chain.height < until:
            assert len(s.exchange.open_orders(s.account)) == 1
            await asyncio.sleep(0.01)
        assert s.exchange.open_orders(s.account) == []
        assert (await s.bot.get(f"orders/{s.bot.uuid(3)}"))["status"] == "BEST_EFFORT_OPENED"
        ended = await mine.order(s.bot.uuid(3), "CANCELED")
        assert ended["removalReason"] == "ORDER_REMOVAL_REASON_INDEXER_EXPIRED"
        assert int(ended["blockHeight"]) == until + 2
        assert (await s.bot.get(f"orders/{s.bot.uuid(3)}"))["status"] == "CANCELED"

    play(scene)


def test_cancel_of_a_short_term_order_is_best_effort_until_its_block() -> None:
    async def scene(s: Stage) -> None:
        bot, mine = s.bot, await s.mine()
        until = await bot.height() + 10
        await bot.short(4, "buy", 5, MID - 50)
        assert (await bot.broadcast(bot.sign(bot.cancel(4, good_til_block=until)))).word == "ok"
        gone = await mine.order(bot.uuid(4), "BEST_EFFORT_CANCELED")
        assert gone["removalReason"] == "ORDER_REMOVAL_REASON_USER_CANCELED"
        assert (await bot.broadcast(bot.sign(bot.cancel(4, good_til_block=until), memo="again"))).word == "clob:9"
        assert (await bot.short(4, "buy", 5, MID - 51)).word == "clob:7"
        final = await mine.order(bot.uuid(4), "CANCELED")
        assert final["removalReason"] == "ORDER_REMOVAL_REASON_USER_CANCELED"
        assert int(final["blockHeight"]) == until + 2
        assert (await bot.broadcast(bot.sign(bot.cancel(99, good_til_block=await bot.height() + 3)))).word == "ok"  # never existed

    play(scene)


def test_batch_cancel_takes_several_and_knows_its_limits() -> None:
    async def scene(s: Stage) -> None:
        bot = s.bot
        for client_id in (1, 2, 3):
            await bot.short(client_id, "buy", 5, MID - 50)
        owner = {"owner": bot.address, "number": 0}

        async def batch(ids: list[int], until: int) -> str:
            values = {"subaccount_id": owner, "short_term_cancels": [{"clob_pair_id": 0, "client_ids": ids}], "good_til_block": until}
            return (await bot.broadcast(bot.sign(("/dydxprotocol.clob.MsgBatchCancel", values)))).word

        until = await bot.height() + 10
        assert await batch([1, 3, 55], until) == "ok"
        assert [o.client_id for o in s.exchange.open_orders(s.account)] == [bot.uuid(2)]
        assert await batch([], until) == "clob:45"
        assert await batch([2, 2], until) == "clob:45"
        assert await batch(list(range(101)), until) == "clob:45"
        assert await batch([2], until + 50) == "clob:11"

    play(scene)


def test_replacement_needs_a_later_block_and_keeps_what_was_filled() -> None:
    async def scene(s: Stage) -> None:
        bot, mine = s.bot, await s.mine()
        await bot.short(5, "buy", 50, MID, blocks=8)
        s.sell(20, MID)
        assert (await bot.short(5, "buy", 60, MID - 1, blocks=7)).word == "clob:20"
        assert (await bot.short(5, "buy", 20, MID - 1, blocks=9)).word == "clob:24"
        assert (await bot.short(5, "buy", 60, MID - 1, blocks=10)).word == "ok"
        (order,) = s.exchange.open_orders(s.account)
        assert (order.remaining, order.price) == (40, MID - 1)
        opened = [await mine.order(bot.uuid(5), "BEST_EFFORT_OPENED") for _ in range(2)]
        assert [row["size"] for row in opened] == ["0.0005", "0.0006"]
        await s.blocks(2)
        row = await bot.get(f"orders/{bot.uuid(5)}")
        assert (row["size"], row["totalFilled"], row["price"]) == ("0.0006", "0.0002", "59999.9")
        s.sell(100_000 + 40, MID - 1)
        assert (await mine.order(bot.uuid(5), "FILLED"))["totalFilled"] == "0.0006"
        told = [r["status"] for m in mine.seen for r in m.get("contents", {}).get("orders", [])]
        assert "BEST_EFFORT_CANCELED" not in told

    play(scene)


def test_check_tx_refuses_in_its_own_codes() -> None:
    async def scene(s: Stage) -> None:
        bot = s.bot
        height, now_s = await bot.height(), s.now() // 10**9
        ids = iter(range(1000, 2000))

        async def said(**changes: Any) -> str:
            fields: dict[str, Any] = {"quantums": 10**6, "subticks": 500_000_000, "side": "buy", "good_til_block": height + 10}
            fields.update(changes)
            if fields.get("flags"):
                fields.pop("good_til_block")
                fields.setdefault("good_til_block_time", now_s + 600)
            side, quantums, subticks = fields.pop("side"), fields.pop("quantums"), fields.pop("subticks")
            return (await bot.broadcast(bot.sign(bot.place(next(ids), side, quantums, subticks, **fields)))).word

        assert await said(quantums=0) == "clob:4"
        assert await said(quantums=1_500_000) == "clob:4"
        assert await said(subticks=0) == "clob:6"
        assert await said(subticks=500_000_001) == "clob:6"
        assert await said(clob_pair=7) == "clob:8"
        assert await said(good_til_block=0) == "clob:5"
        assert await said(good_til_block=height) == "clob:10"
        assert await said(good_til_block=height + 22) == "clob:11"
        assert await said(time_in_force=3) == "clob:48"
        assert await said(time_in_force=9) == "clob:44"
        assert await said(reduce_only=1) == "clob:9003"
        assert await said(reduce_only=1, time_in_force=IOC) == "clob:2001"
        assert await said(subticks=700_000_000, time_in_force=POST_ONLY) == "clob:2003"
        assert await said(subaccount=128_001) == "subaccounts:400"
        assert await said(flags=1) == "clob:3000"
        assert await said(flags=64, time_in_force=IOC) == "clob:3002"
        assert await said(flags=64, reduce_only=1) == "clob:9003"
        assert await said(flags=64, good_til_block_time=now_s - 1) == "clob:3003"
        assert await said(flags=64, good_til_block_time=now_s + 96 * 86_400) == "clob:3004"
        assert await said(flags=64, quantums=10**15) == "clob:3007"
        assert await said(flags=64, condition_type=1) == "clob:6000"
        assert await said(flags=32) == "clob:6000"
        assert await said(flags=32, condition_type=1) == "clob:6001"
        s.exchange.set_status(s.now(), BTC, MarketStatus.CANCEL_ONLY)
        assert await said() == "clob:34"
        s.exchange.set_status(s.now(), BTC, MarketStatus.POST_ONLY)
        assert await said() == "clob:34"
        assert await said(time_in_force=POST_ONLY) == "ok"
        assert len(s.exchange.open_orders(s.account)) == 1

    play(scene)


def test_accepted_short_term_order_without_collateral_is_removed_with_its_reason() -> None:
    async def scene(s: Stage) -> None:
        mine = await s.mine()
        assert (await s.bot.short(6, "buy", 10_000_000, MID - 10)).word == "ok"
        gone = await mine.order(s.bot.uuid(6), "BEST_EFFORT_CANCELED")
        assert gone["removalReason"] == "ORDER_REMOVAL_REASON_UNDERCOLLATERALIZED"

    play(scene)


def test_own_resting_order_is_removed_instead_of_traded_with() -> None:
    async def scene(s: Stage) -> None:
        mine = await s.mine()
        await s.bot.short(1, "buy", 10, MID)
        await s.bot.short(2, "sell", 10, MID, time_in_force=IOC)
        gone = await mine.order(s.bot.uuid(1), "BEST_EFFORT_CANCELED")
        assert gone["removalReason"] == "ORDER_REMOVAL_REASON_SELF_TRADE_ERROR"

    play(scene)


# stateful orders


def test_long_term_order_enters_with_the_block_and_is_cancelled_in_another() -> None:
    async def scene(s: Stage) -> None:
        bot, mine = s.bot, await s.mine()
        told = await bot.long(21, "sell", 50, MID + 100)
        assert told.word == "ok"
        assert s.exchange.open_orders(s.account) == []
        assert await status_of(bot, "cosmos.tx.v1beta1.Service/GetTx", proto.GET_TX_REQUEST, hash=told.hash) == "NOT_FOUND"
        opened = await mine.order(bot.uuid(21, 64), "OPEN")
        assert (opened["orderFlags"], "goodTilBlock" in opened, opened["goodTilBlockTime"][:2]) == ("64", False, "20")
        held = await bot.call("cosmos.tx.v1beta1.Service/GetTx", proto.GET_TX_REQUEST, proto.GET_TX_RESPONSE, hash=told.hash)
        assert (held["tx_response"]["code"], str(held["tx_response"]["height"])) == (0, opened["blockHeight"])
        assert (await bot.long(21, "sell", 50, MID + 101)).word == "clob:3005"
        until = s.now() // 10**9 + 7200
        assert (await bot.send(bot.cancel(21, flags=64, good_til_block_time=s.now() // 10**9 + 60))).word == "clob:29"
        assert (await bot.send(bot.cancel(22, flags=64, good_til_block_time=until))).word == "clob:3006"
        assert (await bot.send(bot.cancel(21, flags=64, good_til_block_time=until))).word == "ok"
        assert (await bot.send(bot.cancel(21, flags=64, good_til_block_time=until), memo="x")).word == "clob:32"
        gone = await mine.order(bot.uuid(21, 64), "CANCELED")
        assert gone["removalReason"] == "ORDER_REMOVAL_REASON_USER_CANCELED"
        assert s.exchange.open_orders(s.account) == []
        assert (await bot.account())["sequence"] == 2

    play(scene)


def test_several_stateful_messages_share_one_sequence_and_a_failed_block_is_on_record() -> None:
    async def scene(s: Stage) -> None:
        bot = s.bot
        until = s.now() // 10**9 + 3600
        pair = [bot.place(n, "buy", 10**6, 500_000 * 1000, flags=64, good_til_block_time=until) for n in (1, 2)]
        assert (await bot.send(*pair)).word == "ok"
        await s.blocks()
        assert len(s.exchange.open_orders(s.account)) == 2
        cancel = await bot.send(bot.cancel(1, flags=64, good_til_block_time=until))
        core = s.exchange.order_by_client_id(s.account, bot.uuid(1, 64))
        assert core is not None
        s.exchange.cancel(s.now(), s.account, core.id)  # gone before the block
        await s.blocks()
        held = await bot.call("cosmos.tx.v1beta1.Service/GetTx", proto.GET_TX_REQUEST, proto.GET_TX_RESPONSE, hash=cancel.hash)
        assert (held["tx_response"]["codespace"], held["tx_response"]["code"]) == ("clob", 3006)

    play(scene)


def test_long_term_post_only_that_crosses_is_removed_after_acceptance() -> None:
    async def scene(s: Stage) -> None:
        mine = await s.mine()
        assert (await s.bot.long(30, "buy", 50, MID + 5, time_in_force=POST_ONLY)).word == "ok"
        gone = await mine.order(s.bot.uuid(30, 64), "CANCELED")
        assert gone["removalReason"] == "ORDER_REMOVAL_REASON_POST_ONLY_WOULD_CROSS_MAKER_ORDER"

    play(scene)


def test_long_term_order_that_crosses_fills_in_the_block_after_its_own() -> None:
    async def scene(s: Stage) -> None:
        mine = await s.mine()
        await s.bot.long(31, "buy", 50, MID + 5)
        opened = await mine.order(s.bot.uuid(31, 64), "OPEN")
        filled = await mine.order(s.bot.uuid(31, 64), "FILLED")
        assert int(filled["blockHeight"]) == int(opened["blockHeight"]) + 1

    play(scene)


def test_conditional_order_waits_for_the_oracle() -> None:
    async def scene(s: Stage) -> None:
        bot, mine = s.bot, await s.mine()
        await bot.short(1, "buy", 100, MID + 5, time_in_force=IOC)
        await mine.order(bot.uuid(1), "FILLED")
        stop = bot.place(
            40, "sell", 100 * 10**6, 570_000 * 1000, flags=32, good_til_block_time=s.now() // 10**9 + 3600, time_in_force=IOC,
            reduce_only=1, condition_type=1, conditional_order_trigger_subticks=590_000 * 1000, client_metadata=1,
        )  # fmt: skip
        assert (await bot.send(stop)).word == "ok"
        waiting = await mine.order(bot.uuid(40, 32), "UNTRIGGERED")
        assert (waiting["type"], waiting["triggerPrice"], waiting["reduceOnly"], waiting["clientMetadata"]) == (
            "STOP_LIMIT",
            "59000",
            True,
            "1",
        )
        s.exchange.set_mark(s.now(), BTC, 589_000 * REF)
        await mine.order(bot.uuid(40, 32), "OPEN")
        await s.blocks()
        row = await bot.get(f"orders/{bot.uuid(40, 32)}")
        assert (row["status"], row["totalFilled"]) == ("FILLED", "0.001")
        assert s.exchange.position(s.account, BTC).size == 0
        closed = (await bot.mine("perpetualPositions", status="CLOSED"))["positions"]
        assert [(p["status"], p["size"], p["sumOpen"], p["sumClose"]) for p in closed] == [("CLOSED", "0", "0.001", "0.001")]

    play(scene)


def test_long_term_order_ends_at_its_time() -> None:
    async def scene(s: Stage) -> None:
        mine = await s.mine()
        await s.bot.long(50, "buy", 50, MID - 50, life_s=20)
        gone = await mine.order(s.bot.uuid(50, 64), "CANCELED")
        assert gone["removalReason"] == "ORDER_REMOVAL_REASON_EXPIRED"
        assert s.exchange.open_orders(s.account) == []

    play(scene)


def test_stateful_orders_are_rationed_by_blocks_and_by_equity() -> None:
    async def scene(s: Stage) -> None:
        words = [(await s.bot.long(n, "buy", 1, MID - 100)).word for n in range(3)]
        assert words == ["ok", "ok", "clob:5001"]
        for n in range(3, 11):
            if n % 2:
                await s.blocks()
            assert (await s.bot.long(n, "buy", 1, MID - 100)).word == "ok"
        await s.blocks()
        assert (await s.bot.long(11, "buy", 1, MID - 100)).word == "clob:10001"  # ten between 20 and 100 USD

    play(scene, deposit=90)


# permissioned keys


def test_a_permissioned_key_trades_within_its_filters() -> None:
    async def scene(s: Stage) -> None:
        account = s.dialect.permissioned(_sim_account(s), clob_pairs=(0,))
        async with Bot(s.server, account, s.sim.runtime) as trader:
            assert (await trader.short(1, "buy", 5, MID - 50)).word == "ok"
            assert (await trader.long(2, "buy", 5, MID - 50)).word == "ok"
            block = await trader.height() + 5
            eth = trader.place(3, "buy", 10**6, 1000 * 1000, clob_pair=1, good_til_block=block)
            assert (await trader.broadcast(trader.sign(eth))).word == "accountplus:104"
            other = trader.place(4, "buy", 10**6, 500_000 * 1000, subaccount=1, good_til_block=block)
            assert (await trader.broadcast(trader.sign(other))).word == "accountplus:104"
            withdraw = {"sender": {"owner": trader.address, "number": 0}, "recipient": trader.address, "quantums": 10**6}
            told = await trader.send(("/dydxprotocol.sending.MsgWithdrawFromSubaccount", withdraw), fee=25_000)
            assert told.word == "accountplus:104"
            trader.authenticators = [999]
            assert (await trader.short(5, "buy", 5, MID - 50)).word == "accountplus:1"
            trader.authenticators = []
            assert (await trader.short(5, "buy", 5, MID - 50)).word == "sdk:8"
        await s.blocks()
        assert (await s.bot.account())["sequence"] == 1  # the owner's own
        found = await s.bot.call(
            "dydxprotocol.accountplus.Query/GetAuthenticators",
            proto.AUTHENTICATORS_REQUEST,
            proto.AUTHENTICATORS_RESPONSE,
            account=s.bot.address,
        )
        assert [row["type"] for row in found["account_authenticators"]] == ["AllOf"]

    play(scene)


def _sim_account(s: Stage) -> Any:
    from exchange_simulator.dialects.base import SimAccount

    return SimAccount(s.account, {"DYDX_ADDRESS": s.bot.address, "DYDX_SUBACCOUNT_NUMBER": "0"})


# money and margin


def test_transfers_open_subaccounts_and_are_on_record() -> None:
    async def scene(s: Stage) -> None:
        bot = s.bot
        transfer = {
            "sender": {"owner": bot.address, "number": 0},
            "recipient": {"owner": bot.address, "number": 128},
            "amount": 500 * 10**6,
        }
        message = ("/dydxprotocol.sending.MsgCreateTransfer", {"transfer": transfer})
        assert (await bot.send(message)).word == "sdk:13"  # not a clob message: a fee is due
        assert (await bot.send(message, fee=25_000)).word == "ok"
        await bot.get(f"addresses/{bot.address}/subaccountNumber/128", answers=404)
        await s.blocks()
        child = (await bot.get(f"addresses/{bot.address}/subaccountNumber/128"))["subaccount"]
        assert child["equity"] == "500"
        parent = (await bot.get(f"addresses/{bot.address}/parentSubaccountNumber/0"))["subaccount"]
        assert (parent["equity"], len(parent["childSubaccounts"])) == ("100000", 2)
        rows = (await bot.mine("transfers"))["transfers"]
        newest = rows[0]
        assert (newest["type"], newest["size"], newest["recipient"]["subaccountNumber"]) == ("TRANSFER_OUT", "500", 128)

    play(scene)


def test_custom_leverage_changes_what_is_free() -> None:
    async def scene(s: Stage) -> None:
        bot = s.bot
        await bot.short(1, "buy", 100_000, MID + 5, time_in_force=IOC)
        await s.blocks()

        async def free() -> Decimal:
            return Decimal((await bot.get(f"addresses/{bot.address}/subaccountNumber/0"))["subaccount"]["freeCollateral"])

        before = await free()

        async def set_to(ppm: int) -> str:
            entry = {"clob_pair_id": 0, "custom_imf_ppm": ppm}
            values = {"subaccount_id": {"owner": bot.address, "number": 0}, "clob_pair_leverage": [entry]}
            return (await bot.send(("/dydxprotocol.clob.MsgUpdateLeverage", values))).word

        assert await set_to(10_000) == "clob:11003"
        assert await set_to(200_000) == "ok"
        await s.blocks()
        assert before - await free() == pytest.approx(Decimal(60_000) * Decimal("0.18"), rel=Decimal("0.001"))
        found = await bot.call(
            "dydxprotocol.clob.Query/Leverage", proto.SUBACCOUNT_ID, proto.LEVERAGE_RESPONSE, owner=bot.address, number=0
        )
        assert found["clob_pair_leverage"] == [{"clob_pair_id": 0, "custom_imf_ppm": 200_000}]

    play(scene)


def test_isolated_markets_stand_alone_in_a_subaccount() -> None:
    async def scene(s: Stage) -> None:
        s.dialect.isolated.add("ETH-USD")
        mine = await s.mine()
        await s.bot.short(1, "buy", 10, MID + 5, time_in_force=IOC)
        await mine.order(s.bot.uuid(1), "FILLED")
        block = await s.bot.height() + 5
        eth = s.bot.place(2, "buy", 10**6, 200_000 * 1000, clob_pair=1, good_til_block=block)
        assert (await s.bot.broadcast(s.bot.sign(eth))).word == "ok"
        gone = await mine.order(s.bot.uuid(2, 0, 1), "BEST_EFFORT_CANCELED")
        assert gone["removalReason"] == "ORDER_REMOVAL_REASON_VIOLATES_ISOLATED_SUBACCOUNT_CONSTRAINTS"
        assert (await s.bot.get("perpetualMarkets"))["markets"]["ETH-USD"]["marketType"] == "ISOLATED"

    play(scene)


def test_funding_is_hourly_and_payments_have_their_sign() -> None:
    async def scene(s: Stage) -> None:
        await s.bot.short(1, "buy", 100_000, MID + 5, time_in_force=IOC)
        s.exchange.set_funding_rate(s.now(), BTC, to_fraction("0.00001"))
        await asyncio.sleep(3602)
        row = (await s.bot.get("perpetualMarkets", ticker=BTC))["markets"][BTC]
        assert row["nextFundingRate"] == "0.00001"
        (payment,) = (await s.bot.mine("fundingPayments"))["fundingPayments"]
        assert (payment["payment"], payment["size"], payment["side"], payment["rate"]) == ("-0.6", "1", "LONG", "0.00001")
        (past,) = (await s.bot.get(f"historicalFunding/{BTC}"))["historicalFunding"]
        assert (past["rate"], past["effectiveAt"]) == ("0.00001", "2026-01-01T01:00:00.000Z")
        state = (await s.bot.get(f"addresses/{s.bot.address}/subaccountNumber/0"))["subaccount"]
        assert state["openPerpetualPositions"][BTC]["netFunding"] == "-0.6"

    play(scene)


def test_fee_reads_tell_what_fills_cost() -> None:
    async def scene(s: Stage) -> None:
        bot = s.bot
        service = "dydxprotocol.feetiers.Query"
        tier = await bot.call(f"{service}/UserFeeTier", proto.USER_REQUEST, proto.USER_FEE_TIER_RESPONSE, user=bot.address)
        assert (tier["tier"]["maker_fee_ppm"], tier["tier"]["taker_fee_ppm"]) == (100, 500)
        s.exchange.set_fees(s.now(), s.account, to_fraction("-0.00002"), to_fraction("0.0003"))
        tier = await bot.call(f"{service}/UserFeeTier", proto.USER_REQUEST, proto.USER_FEE_TIER_RESPONSE, user=bot.address)
        assert (tier["tier"]["maker_fee_ppm"], tier["tier"]["taker_fee_ppm"]) == (-20, 300)
        await bot.short(1, "buy", 100_000, MID + 1, time_in_force=IOC)
        await s.blocks()
        (fill,) = (await bot.mine("fills"))["fills"]
        assert fill["fee"] == "18.00003"
        assert await status_of(bot, f"{service}/PerMarketFeeDiscountParams", proto.CLOB_PAIR_ID_REQUEST, clob_pair_id=0) == "NOT_FOUND"

    play(scene)


# the indexer


def test_account_rows_lag_a_block_and_the_chain_does_not() -> None:
    async def scene(s: Stage) -> None:
        bot = s.bot
        await bot.short(1, "buy", 100, MID + 5, time_in_force=IOC)
        chain = await bot.call(
            "dydxprotocol.subaccounts.Query/Subaccount", proto.SUBACCOUNT_ID, proto.SUBACCOUNT_RESPONSE, owner=bot.address, number=0
        )
        assert chain["subaccount"]["perpetual_positions"][0]["quantums"] == proto.signed_bytes(100 * 10**6)
        assert (await bot.mine("perpetualPositions"))["positions"] == []
        await s.blocks()
        assert [p["size"] for p in (await bot.mine("perpetualPositions"))["positions"]] == ["0.001"]
        await s.bot.short(2, "sell", 300, MID - 5, time_in_force=IOC)
        await s.blocks()
        (short,) = (await bot.mine("perpetualPositions", status="OPEN"))["positions"]
        assert (short["size"], short["side"]) == ("-0.002", "SHORT")

    play(scene)


def test_fills_are_paged_by_page_and_by_time() -> None:
    async def scene(s: Stage) -> None:
        for n in range(1, 8):
            await s.bot.short(n, "buy", 1, MID + 5, time_in_force=IOC)
            await s.blocks()
        everything = (await s.bot.mine("fills"))["fills"]
        assert len(everything) == 7
        second = await s.bot.mine("fills", limit=3, page=2)
        oldest = [f["id"] for f in reversed(everything)]
        assert ([f["id"] for f in second["fills"]], second["totalResults"], second["offset"]) == (oldest[3:6], 7, 3), "oldest first"
        older = (await s.bot.mine("fills", createdBeforeOrAt=everything[2]["createdAt"]))["fills"]
        assert [f["id"] for f in older] == [f["id"] for f in everything[2:]]
        assert (await s.bot.mine("fills", createdBeforeOrAtHeight=everything[5]["createdAtHeight"]))["fills"] == everything[5:]
        wrong = await s.bot.get("fills", address=s.bot.address, subaccountNumber=0, limit=1001, answers=400)
        assert wrong["errors"][0]["param"] == "limit"
        await s.bot.get("fills", address=s.bot.address, subaccountNumber=0, market=BTC, answers=400)
        assert (await s.bot.mine("orders", status="FILLED", side="BUY", limit=2)) == (await s.bot.mine("orders"))[:2]

    play(scene)


def test_orders_are_listed_by_the_end_of_their_lives() -> None:
    async def scene(s: Stage) -> None:
        await s.bot.long(1, "buy", 100, MID - 100, life_s=7_200)
        await s.blocks()
        await s.bot.long(2, "buy", 100, MID - 100, life_s=3_600)
        await s.bot.short(3, "buy", 100, MID - 100)
        await s.blocks()
        await s.bot.short(4, "buy", 100, MID - 100)
        await s.blocks()

        async def ids(**params: Any) -> list[str]:
            return [row["clientId"] for row in await s.bot.mine("orders", **params)]

        assert await ids() == ["1", "2", "4", "3"], "stateful ones first, each kind by its end"
        assert await ids(returnLatestOrders="true") == ["3", "4", "2", "1"], "compared as text: never the latest"
        assert await ids(goodTilBlockBeforeOrAt=2**31 - 1) == ["4", "3"]
        assert await ids(goodTilBlockTimeBeforeOrAt="2100-01-01T00:00:00.000Z") == ["1", "2"]

    play(scene)


def test_unknown_things_are_told_as_the_indexer_does() -> None:
    async def scene(s: Stage) -> None:
        missing = await s.bot.get(f"addresses/{s.bot.address}/subaccountNumber/5", answers=404)
        assert missing["errors"][0]["msg"].startswith("No subaccount found")
        await s.bot.get("orders/7909fe4b-80e1-5a0d-9bb7-0f1d8dc9ab10", answers=404)
        await s.bot.get("perpetualMarkets", ticker="X-USD", answers=404)
        await s.bot.get(f"candles/perpetualMarkets/{BTC}", resolution="2MINS", answers=400)
        assert await status_of(s.bot, "cosmos.auth.v1beta1.Query/Account", proto.ADDRESS_REQUEST, address="dydx1none") == "NOT_FOUND"

    play(scene)


def test_the_indexer_and_the_nodes_are_counted_apart() -> None:
    async def scene(s: Stage) -> None:
        for _ in range(3):
            await s.bot.get("time")
        refused = await s.bot.get("time", answers=429)
        assert refused == {"errors": [{"msg": "Too many requests"}]}
        said = s.bot.answered
        assert 9_000 < int(said["Retry-After"]) <= 10_001, "milliseconds"
        assert await s.bot.height() > 0, "one call was made before: the nodes' own count is at two"
        await asyncio.sleep(10)
        await s.bot.get("time")
        assert (s.bot.answered["RateLimit-Limit"], s.bot.answered["RateLimit-Remaining"]) == ("3", "2")

    play(scene, budget=Budget(3, 10.0))


# sockets


def test_the_socket_counts_its_messages_and_refuses_in_words() -> None:
    async def scene(s: Stage) -> None:
        stream = await s.bot.stream()
        book = await stream.subscribe("v4_orderbook", BTC)
        assert (book["message_id"], book["contents"]["bids"][0]) == (1, {"price": "59999.9", "size": "1"})
        again = await stream.subscribe("v4_orderbook", BTC)
        assert (again["type"], again["message_id"], "already subscribed" in again["message"]) == ("error", 2, True)
        assert (await stream.subscribe("v4_orderbook", "X-USD"))["type"] == "error"
        s.exchange.set_level(s.now(), BTC, Side.BUY, MID, 5)
        update = await stream.next()
        assert (update["type"], update["message_id"], update["contents"]) == ("channel_data", 4, {"bids": [["60000", "0.00005"]]})
        await stream.send(type="unsubscribe", channel="v4_orderbook", id=BTC)
        assert (await stream.next())["type"] == "unsubscribed"
        await stream.send(type="ping")
        third = await stream.subscribe("v4_orderbook", BTC)
        assert "Too many subscribe attempts" in third["message"]
        assert (await stream.ws.receive()).data == 1008

    play(scene)


def test_invalid_messages_are_counted() -> None:
    async def scene(s: Stage) -> None:
        stream = await s.bot.stream()
        for _ in range(3):
            await stream.ws.send_str("{nonsense")
        said = [(await stream.next())["message"] for _ in range(3)]
        assert "Too many invalid messages" in said[2]
        assert (await stream.ws.receive()).data == 1008

    play(scene)


def test_no_more_than_32_books_per_connection() -> None:
    async def scene(s: Stage) -> None:
        for n in range(33):
            s.exchange.add_market(s.now(), DydxDialect.listing(f"C{n}", tick_size=Decimal("0.1"), step_size=Decimal("0.001")), mark=1000)
        stream = await s.bot.stream()
        said = [await stream.subscribe("v4_orderbook", f"C{n}-USD") for n in range(33)]
        assert [m["type"] for m in said] == ["subscribed"] * 32 + ["error"]

    play(scene)


def test_a_batched_book_may_cross_and_heals_when_the_older_level_is_dropped() -> None:
    """Every vanished level is told late; dropping the older of two crossed levels gives the exchange's book."""

    async def scene(s: Stage) -> None:
        stream = await s.bot.stream()
        snapshot = await stream.subscribe("v4_orderbook", BTC, batched=True)
        sides: dict[str, dict[Decimal, tuple[Decimal, int]]] = {"bids": {}, "asks": {}}
        for name, side in sides.items():
            for level in snapshot["contents"][name]:
                side[Decimal(level["price"])] = (Decimal(level["size"]), snapshot["message_id"])
        s.exchange.external_trade(s.now(), BTC, Side.BUY, 100_000)  # the best ask is gone
        s.exchange.set_level(s.now(), BTC, Side.BUY, MID + 1, 7)  # and a bid stands at its price
        message = await stream.next()
        assert message["type"] == "channel_batch_data"
        for contents in message["contents"]:
            for name, levels in contents.items():
                for price, size in levels:
                    sides[name][Decimal(price)] = (Decimal(size), message["message_id"])
        best_bid, best_ask = max(sides["bids"]), min(sides["asks"])
        assert best_bid >= best_ask, "crossed: the removal of the ask is not told yet"
        assert sides["asks"][best_ask][1] < sides["bids"][best_bid][1], "the stale level is the older one"
        late = await stream.next()
        assert {"asks": [["60000.1", "0"]]} in late["contents"]

    play(scene, late_removals=1.0)


def test_what_happens_between_snapshot_and_registration_is_lost() -> None:
    async def scene(s: Stage) -> None:
        stream = await s.bot.stream()
        await stream.send(type="subscribe", channel="v4_orderbook", id=BTC)
        await asyncio.sleep(0.1)
        s.exchange.set_level(s.now(), BTC, Side.BUY, MID, 5)  # lost
        book = await stream.next()
        assert "60000" not in [level["price"] for level in book["contents"]["bids"]]
        s.exchange.set_level(s.now(), BTC, Side.BUY, MID - 20, 6)
        assert (await stream.next())["contents"] == {"bids": [["59998", "0.00006"]]}

    play(scene, snapshot_gap_s=0.5)


def test_markets_heights_trades_and_candles_are_told() -> None:
    async def scene(s: Stage) -> None:
        stream = await s.bot.stream()
        markets = await stream.subscribe("v4_markets")
        assert set(markets["contents"]["markets"]) == {BTC, "ETH-USD"}
        height = await stream.subscribe("v4_block_height")
        assert set(height["contents"]) == {"height", "time"}
        await stream.subscribe("v4_trades", BTC)
        await stream.subscribe("v4_candles", f"{BTC}/1MIN")
        s.exchange.set_mark(s.now(), BTC, 600_100 * REF)
        (oracle,) = await stream.contents("v4_markets")
        assert oracle["oraclePrices"][BTC]["oraclePrice"] == "60010"
        s.sell(50)
        (trades,) = await stream.contents("v4_trades")
        (print_,) = trades["trades"]
        assert (print_["side"], print_["size"], print_["price"], print_["type"]) == ("SELL", "0.0005", "59999.9", "LIMIT")
        (recorded,) = (await s.bot.get(f"trades/perpetualMarket/{BTC}"))["trades"]
        assert recorded["id"] == print_["id"]
        (candle,) = await stream.contents("v4_candles")
        assert (candle["close"], candle["trades"], candle["baseTokenVolume"]) == ("59999.9", 1, "0.0005")
        (block,) = await stream.contents("v4_block_height")
        assert set(block) == {"blockHeight", "time"}
        (trading,) = await stream.contents("v4_markets")
        assert trading["trading"][BTC]["trades24H"] == 1
        assert "ETH-USD" not in trading["trading"]

    play(scene)


def test_a_halted_chain_makes_no_blocks() -> None:
    async def scene(s: Stage) -> None:
        s.dialect.halted = True
        before = await s.bot.height()
        await s.bot.long(1, "buy", 5, MID - 50)
        await asyncio.sleep(60)
        assert await s.bot.height() == before
        assert s.exchange.open_orders(s.account) == []
        s.dialect.halted = False
        await s.blocks(2)
        assert len(s.exchange.open_orders(s.account)) == 1

    play(scene)


def test_delisting_ends_orders_positions_and_the_market() -> None:
    async def scene(s: Stage) -> None:
        mine = await s.mine()
        await s.bot.short(1, "buy", 100, MID + 5, time_in_force=IOC)
        await mine.order(s.bot.uuid(1), "FILLED")
        await s.bot.long(2, "buy", 5, MID - 50)
        await mine.order(s.bot.uuid(2, 64), "OPEN")
        s.exchange.delist(s.now(), BTC)
        gone = await mine.order(s.bot.uuid(2, 64), "CANCELED")
        assert gone["removalReason"] == "ORDER_REMOVAL_REASON_FINAL_SETTLEMENT"
        (fill,) = gone["fills"]
        assert (fill["type"], fill["side"], "orderId" in fill) == ("DELEVERAGED", "SELL", False)
        assert (await s.bot.get("perpetualMarkets"))["markets"][BTC]["status"] == "FINAL_SETTLEMENT"
        assert (await s.bot.mine("perpetualPositions", status="OPEN"))["positions"] == []

    play(scene)


# everything at once


@pytest.mark.parametrize("seed", range(4))
def test_after_a_storm_indexer_stream_and_exchange_agree(seed: int) -> None:
    """Random orders of every kind, cancels, replacements, takers and oracle moves; then all is told, and all of it is the truth."""

    async def scene(s: Stage) -> None:
        bot, dice, mine = s.bot, random.Random(seed), await s.mine()
        listening = asyncio.ensure_future(_listen(mine))
        words: set[str] = set()
        for n in range(1, 161):
            side, price = dice.choice(["buy", "sell"]), MID + dice.randint(-12, 12)
            until, height = s.now() // 10**9 + dice.randint(5, 120), await bot.height()
            match dice.randrange(9):
                case 0 | 1:
                    tif = dice.choice([0, IOC, POST_ONLY])
                    told = await bot.short(n, side, dice.randint(1, 60_000), price, blocks=dice.randint(1, 20), time_in_force=tif)
                case 2:
                    told = await bot.long(n, side, dice.randint(1, 60_000), price, time_in_force=dice.choice([0, POST_ONLY]))
                case 3:
                    told = await bot.short(dice.randint(max(1, n - 8), n), side, dice.randint(1, 60_000), price, blocks=20)  # a replacement
                case 4:
                    told = await bot.broadcast(bot.sign(bot.cancel(dice.randint(1, n), good_til_block=height + 20), memo=str(n)))
                case 5:
                    told = await bot.send(bot.cancel(dice.randint(1, n), flags=64, good_til_block_time=until + 7200))
                case 6:
                    trigger = (MID + dice.randint(-30, 30)) * 1000
                    told = await bot.send(
                        bot.place(n, side, dice.randint(1, 30_000) * 10**6, price * 1000, flags=32, good_til_block_time=until,
                                  time_in_force=dice.choice([0, IOC]), condition_type=dice.choice([1, 2]),
                                  conditional_order_trigger_subticks=trigger)
                    )  # fmt: skip
                case 7:
                    s.exchange.external_trade(s.now(), BTC, dice.choice([Side.BUY, Side.SELL]), dice.randint(1, 150_000))
                    continue
                case _:
                    s.exchange.set_mark(s.now(), BTC, (MID + dice.randint(-40, 40)) * REF)
                    for level in (1, 2, 3):
                        s.exchange.set_levels(
                            s.now(),
                            BTC,
                            [(MID - level, 80_000), (MID - 9, 50_000)],
                            [(MID + level, 80_000), (MID + 9, 50_000)],
                        )
                    continue
            words.add(told.word)
            await asyncio.sleep(dice.random())
        await s.blocks(30)
        assert {"ok"} < words, "and some were refused"
        assert "sdk:4" not in words
        assert "sdk:32" not in words

        fills = (await bot.mine("fills"))["fills"]
        filled: dict[str, Decimal] = {}
        for fill in fills:
            filled[fill["orderId"]] = filled.get(fill["orderId"], Decimal(0)) + Decimal(fill["size"])
        rows = {row["id"]: row for row in await bot.mine("orders")}
        assert {uuid: Decimal(row["totalFilled"]) for uuid, row in rows.items() if Decimal(row["totalFilled"])} == filled
        live = {order.client_id for order in s.exchange.open_orders(s.account)}
        assert {uuid for uuid, row in rows.items() if row["status"] not in ("FILLED", "CANCELED")} == live
        assert all((row["status"] == "FILLED") == (row["totalFilled"] == row["size"]) for row in rows.values())

        state = (await bot.get(f"addresses/{bot.address}/subaccountNumber/0"))["subaccount"]
        size = Decimal(state["openPerpetualPositions"].get(BTC, {"size": "0"})["size"])
        assert size == s.exchange.position(s.account, BTC).size * Decimal("0.00001")
        assert size == sum(Decimal(f["size"]) * (1 if f["side"] == "BUY" else -1) for f in fills)
        assert Decimal(state["equity"]) == pytest.approx(Decimal(s.exchange.equity(s.account)).scaleb(-12), abs=Decimal("0.00001"))

        listening.cancel()
        told_fills = [f for m in mine.seen for f in m.get("contents", {}).get("fills", [])]
        assert sorted(f["id"] for f in told_fills) == sorted(f["id"] for f in fills)
        last = {r["id"]: r["status"] for m in mine.seen for r in m.get("contents", {}).get("orders", [])}
        assert set(last) == set(rows)
        removed = {"BEST_EFFORT_CANCELED": "CANCELED"}  # a removed immediate order is swept without a word
        assert {uuid: removed.get(status, status) for uuid, status in last.items()} == {uuid: row["status"] for uuid, row in rows.items()}

    play(scene, deposit=1_000_000, second_looks=0.3)


async def _listen(stream: Stream) -> None:
    while True:
        await stream.next()
