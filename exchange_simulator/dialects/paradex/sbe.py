"""Binary frames as the venue writes them (SBE, schema 1). Written from its field tables; the client reads with code of its own.

Every message is made of fields in order; what a version does not have yet is left out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final

from exchange_simulator.dialects.base import Binary

NULL: Final = -(2**63)
SIDE: Final = {"BUY": 1, "SELL": 2, "LONG": 1, "SHORT": 2}
ORDER_TYPE: Final = {
    name: number
    for number, name in enumerate(
        (
            "LIMIT",
            "MARKET",
            "STOP_LIMIT",
            "STOP_MARKET",
            "TAKE_PROFIT_LIMIT",
            "TAKE_PROFIT_MARKET",
            "STOP_LOSS_LIMIT",
            "STOP_LOSS_MARKET",
        ),
        1,
    )
}
STATUS: Final = {"NEW": 1, "UNTRIGGERED": 2, "OPEN": 3, "CLOSED": 4}
INSTRUCTION: Final = {"GTC": 1, "IOC": 2, "POST_ONLY": 3, "RPI": 4}
STP: Final = {"": 0, "EXPIRE_MAKER": 1, "EXPIRE_TAKER": 2, "EXPIRE_BOTH": 3}
FILL_TYPE: Final = {"FILL": 1, "LIQUIDATION": 2, "UNWIND_TRANSFER": 3, "SETTLE_MARKET": 4, "RPI": 5, "BLOCK_TRADE": 6}
FLAG: Final = {"REDUCE_ONLY": 1, "STOP_CONDITION_BELOW_TRIGGER": 2, "STOP_CONDITION_ABOVE_TRIGGER": 4, "INTERACTIVE": 8}
REQUEST: Final = {"PENDING": 1, "PROCESSED": 2, "REJECTED": 3, "SUCCESS": 4}


def e8(value: Decimal | str | None) -> int:
    """Units of 1e-8, cut; None and "" are null."""
    return NULL if value in (None, "") else int(Decimal(value or 0).scaleb(8))


class Frame:
    """One message in the making."""

    def __init__(self, template: int, version: int) -> None:
        self.template = template
        self.version = version
        self._block = bytearray()
        self._tail = bytearray()

    def i64(self, *values: int) -> Frame:
        self._block += struct.pack(f"<{len(values)}q", *values)
        return self

    def u8(self, *values: int) -> Frame:
        self._block += bytes(values)
        return self

    def i16(self, value: int) -> Frame:
        self._block += struct.pack("<h", value)
        return self

    def address(self, text: str) -> Frame:
        self._block += int(text, 16).to_bytes(32, "big")
        return self

    def group(self, levels: Sequence[tuple[int, int]]) -> Frame:
        self._tail += struct.pack("<HH", 16, len(levels))
        for level in levels:
            self._tail += struct.pack("<qq", *level)
        return self

    def texts(self, *texts: str) -> Frame:
        for text in texts:
            raw = text.encode()[:255]
            self._tail += bytes((len(raw),)) + raw
        return self

    def done(self) -> Binary:
        head = struct.pack("<HHHH", len(self._block), self.template, 1, self.version)
        return Binary(head + self._block + self._tail)


def trade(version: int, now_us: int, row: dict[str, str | int]) -> Binary:
    created = int(row["created_at"]) * 1000
    number = int(str(row["id"])[-18:])
    frame = Frame(1, version).i64(now_us, created, number).u8(SIDE[str(row["side"])])
    frame.i64(e8(str(row["price"])), e8(str(row["size"])), created).u8(FILL_TYPE[str(row["trade_type"])])
    frame.texts(str(row["market"]))
    return (frame.texts(str(row["id"])) if version >= 2 else frame).done()


def bbo(version: int, now_us: int, seq: int, market: str, best: Sequence[int]) -> Binary:
    return Frame(2, version).i64(now_us, seq, *best).texts(market).done()


def book(
    version: int,
    now_us: int,
    seq: int,
    market: str,
    *,
    snapshot: bool,
    bids: Sequence[tuple[int, int]],
    asks: Sequence[tuple[int, int]],
    best: Sequence[int],
) -> Binary:
    """`best` is bid, its size, ask, its size; the best prices for programs are the same here."""
    bid, _, ask, _ = best
    spread = (ask - bid) * 10**8 // ask if NULL not in best and ask else NULL
    return (
        Frame(3, version).i64(now_us, seq).u8(0 if snapshot else 1).i64(*best, spread, *best).group(bids).group(asks).texts(market).done()
    )


def summary(version: int, now_us: int, seq: int, row: dict[str, str | int], rate: int) -> Binary:
    """`rate` in units of 1e-12."""
    frame = Frame(4, version).i64(now_us, seq)
    names = ("mark_price", "underlying_price", "last_traded_price", "volume_24h", "open_interest", "funding_rate", "bid", "ask")
    frame.i64(*(e8(str(row[name])) for name in names), e8(str(row["total_volume"])), e8(str(row["price_change_rate_24h"])))
    frame.i64(*[NULL] * 13).i64(e8(str(row["bid_size"])), e8(str(row["ask_size"])))
    if version >= 1:
        frame.i64(NULL, NULL, rate)
    if version >= 3:
        frame.i64(NULL)
    return frame.texts(str(row["symbol"])).done()


def funding(version: int, now_us: int, seq: int, market: str, rate: Decimal, index: Decimal, hours: int) -> Binary:
    frame = Frame(5, version).i64(now_us, seq, e8(rate), e8(index), now_us, e8(rate), e8(rate * 8 / hours)).i16(hours)
    return (frame.i64(e8(rate)) if version >= 1 else frame).texts(market).done()


def heartbeat(version: int, now_us: int, seq: int) -> Binary:
    return Frame(40, version).i64(now_us, seq).done()


def order(version: int, now_us: int, row: dict[str, object]) -> Binary:
    def ms(name: str) -> int:
        return int(str(row[name])) * 1000

    frame = Frame(20, version).i64(now_us, int(str(row["seq_no"])))
    frame.u8(STATUS[str(row["status"])], SIDE[str(row["side"])], ORDER_TYPE[str(row["type"])], INSTRUCTION[str(row["instruction"])])
    prices = (str(row[name]) for name in ("price", "trigger_price", "size", "remaining_size", "avg_fill_price"))
    frame.i64(*(e8(text) for text in prices), ms("created_at"), ms("last_updated_at")).address(str(row["account"]))
    flags = row["flags"]
    assert isinstance(flags, Iterable)
    frame.i64(ms("received_at"), ms("published_at")).u8(STP[str(row["stp"])], sum(FLAG[str(flag)] for flag in flags))
    request = row.get("request_info")
    asked = request if isinstance(request, dict) else {}
    if version >= 2:
        frame.u8(REQUEST.get(asked.get("status", ""), 0), 1 if asked else 0)
    frame.texts(*(str(row[name]) for name in ("id", "client_id", "market", "cancel_reason")))
    return (frame.texts(asked.get("id", ""), asked.get("message", "")) if version >= 2 else frame).done()


def fill(version: int, now_us: int, row: dict[str, object]) -> Binary:
    text = {name: str(value) for name, value in row.items()}
    frame = Frame(21, version).i64(now_us, int(text["created_at"]))
    frame.u8(FILL_TYPE[text["fill_type"]], SIDE[text["side"]], 1 if text["liquidity"] == "MAKER" else 2)
    frame.i64(*(e8(text[name]) for name in ("price", "size", "fee", "realized_pnl")), int(text["created_at"]) * 1000)
    frame.address(text["account"]).i64(e8(text["underlying_price"]), e8(text["realized_funding"]))
    if version >= 2:
        frame.u8(0).i64(0)
    frame.texts(text["id"], text["order_id"], text["client_id"], text["id"], text["market"])
    return (frame.texts(text["fee_currency"]) if version >= 2 else frame).done()


def position(version: int, now_us: int, row: dict[str, object], mark: Decimal) -> Binary:
    """Its size has no sign here: the side has it."""
    text = {name: str(value) for name, value in row.items()}
    frame = Frame(22, version).i64(now_us, int(text["seq_no"])).u8(SIDE[text["side"]])
    frame.i64(abs(e8(text["size"])), *(e8(text[name]) for name in ("average_entry_price", "unrealized_pnl", "realized_positional_pnl")))
    frame.i64(e8(mark), e8(text["liquidation_price"]), e8(text["leverage"]), int(text["last_updated_at"]) * 1000)
    frame.address(text["account"])
    frame.i64(
        *(e8(text[name]) for name in ("average_entry_price_usd", "cost", "cost_usd", "cached_funding_index", "unrealized_funding_pnl"))
    )
    return frame.u8(1 if text["status"] == "OPEN" else 2).texts(text["market"], text["last_fill_id"]).done()


def account(version: int, now_us: int, row: dict[str, object]) -> Binary:
    text = {name: str(value) for name, value in row.items()}
    names = ("total_collateral", "free_collateral", "initial_margin_requirement", "maintenance_margin_requirement", "account_value")
    frame = Frame(23, version).i64(now_us, int(text["seq_no"]), *(e8(text[name]) for name in names))
    frame.i64(e8(Decimal(text["account_value"]) - Decimal(text["total_collateral"])), int(text["updated_at"]) * 1000)
    frame.address(text["account"]).i64(e8(text["margin_cushion"])).u8(1)
    return (frame.i64(0) if version >= 2 else frame).texts(text["settlement_asset"]).done()
