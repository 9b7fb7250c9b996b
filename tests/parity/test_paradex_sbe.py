"""Binary frames: what the dialect writes, the official SDK's decoder and ours read alike, at every version of the schema it knows."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from exchange_clients.paradex import messages as m
from exchange_clients.paradex import sbe as ours
from exchange_simulator.dialects.paradex import sbe as theirs

NOW_US = 1_790_187_959_762_000
MARKET = "BTC-USD-PERP"
ACCOUNT = "0x129c135ed63df9353885e292be4426b8ed6122b13c6c0e1bb787288a1f5adfa"

PEER = """
import importlib.util, json, pathlib, sys, sysconfig

path = pathlib.Path(sysconfig.get_paths()["purelib"]) / "paradex_py/api/sbe/codec.py"
spec = importlib.util.spec_from_file_location("codec", path)
codec = importlib.util.module_from_spec(spec)
sys.modules["codec"] = codec
spec.loader.exec_module(codec)
said = []
for line in json.load(sys.stdin):
    channel, model = codec.decode_frame(bytes.fromhex(line))
    said.append([channel, model.model_dump() if model is not None else None])
print(json.dumps(said))
"""

ORDER: dict[str, object] = {
    "id": "1681462103821101699438490000",
    "client_id": "p1",
    "market": MARKET,
    "account": ACCOUNT,
    "side": "SELL",
    "type": "STOP_LOSS_LIMIT",
    "instruction": "GTC",
    "size": "0.5",
    "remaining_size": "0.2",
    "price": "84000.5",
    "trigger_price": "84100",
    "avg_fill_price": "83999.99999999",
    "status": "CLOSED",
    "cancel_reason": "USER_CANCELED",
    "created_at": 1790187959000,
    "last_updated_at": 1790187959500,
    "received_at": 1790187959001,
    "published_at": 1790187959501,
    "seq_no": 77,
    "stp": "EXPIRE_BOTH",
    "flags": ["REDUCE_ONLY", "STOP_CONDITION_BELOW_TRIGGER"],
    "request_info": {"id": "r1", "request_type": "MODIFY_ORDER", "status": "REJECTED", "message": "no"},
}
FILL: dict[str, object] = {
    "id": "1790187959760000000000000001",
    "order_id": ORDER["id"],
    "client_id": "p1",
    "market": MARKET,
    "account": ACCOUNT,
    "side": "BUY",
    "liquidity": "TAKER",
    "price": "84209.4",
    "size": "0.01",
    "fee": "0.25262820",
    "fee_currency": "USDC",
    "fill_type": "LIQUIDATION",
    "realized_pnl": "-3.5",
    "realized_funding": "0.25",
    "underlying_price": "84200",
    "created_at": 1790187959760,
}
POSITION: dict[str, object] = {
    "market": MARKET,
    "account": ACCOUNT,
    "side": "SHORT",
    "size": "-0.345",
    "status": "OPEN",
    "average_entry_price": "29001.34",
    "average_entry_price_usd": "29001.34",
    "unrealized_pnl": "-123.23",
    "unrealized_funding_pnl": "12.234",
    "realized_positional_pnl": "1.5",
    "leverage": "5",
    "liquidation_price": "",
    "cost": "-10005.4623",
    "cost_usd": "-10005.4623",
    "cached_funding_index": "1234.3",
    "last_fill_id": "9",
    "last_updated_at": 1681493939981,
    "seq_no": 5,
}
ACCOUNT_ROW: dict[str, object] = {
    "account": ACCOUNT,
    "account_value": "136285.06918911",
    "free_collateral": "73276.47229774",
    "initial_margin_requirement": "63008.59689218",
    "maintenance_margin_requirement": "31597.25239676",
    "margin_cushion": "104687.8167956",
    "total_collateral": "123003.62047353",
    "settlement_asset": "USDC",
    "seq_no": 6,
    "updated_at": 1681471234972,
}
TRADE: dict[str, str | int] = {
    "id": "1790187959760201709289340001",
    "market": MARKET,
    "side": "BUY",
    "price": "84209.4",
    "size": "0.01",
    "created_at": 1790187959761,
    "trade_type": "FILL",
}


def frames(version: int) -> list[bytes]:
    best = (8420930000000, 50000000, 8420940000000, 125000000)
    bids, asks = [(8420930000000, 50000000), (8420920000000, 0)], [(8420940000000, 125000000)]
    return [
        theirs.trade(version, NOW_US, TRADE),
        theirs.bbo(version, NOW_US, 9, MARKET, (*best[:2], theirs.NULL, theirs.NULL)),
        theirs.book(version, NOW_US, 10, MARKET, snapshot=False, bids=bids, asks=asks, best=best),
        theirs.funding(version, NOW_US, 11, MARKET, Decimal("-0.0001"), Decimal("123.456"), 4),
        theirs.order(version, NOW_US, ORDER),
        theirs.fill(version, NOW_US, FILL),
        theirs.position(version, NOW_US, POSITION, Decimal(29358)),
        theirs.account(version, NOW_US, ACCOUNT_ROW),
        theirs.heartbeat(version, NOW_US, 12),
    ]


def same(mine: Decimal | str | None, other: str | None) -> bool:
    return (Decimal(mine) if mine not in ("", None) else None) == (Decimal(other) if other is not None else None)


@pytest.mark.slow
@pytest.mark.parametrize("version", [0, 1, 2])
def test_the_official_decoder_and_ours_read_the_dialects_frames_alike(peer: Callable[[str], Path], version: int) -> None:
    made = frames(version)
    done = subprocess.run(
        [peer("paradex-sdk"), "-c", PEER],
        input=json.dumps([frame.hex() for frame in made]),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said: list[tuple[str | None, dict[str, Any]]] = json.loads(done.stdout.splitlines()[-1])
    trade, bbo, book, funding, order, fill, position, account, _ = (row for _, row in said)
    read: list[Any] = [ours.decode(frame) for frame in made]

    assert read[0].market == MARKET
    assert same(ours.decimal(read[0].price), trade["price"])
    assert (trade["side"], read[0].side, trade["trade_id_str" if version >= 2 else "trade_id"]) == (
        "BUY",
        1,
        TRADE["id"] if version >= 2 else int(read[0].id),
    )
    assert (bbo["ask_price"], ours.decimal(read[1].ask)) == (None, None)
    assert same(ours.decimal(read[1].bid), bbo["bid_price"])
    assert (book["pkg_type"], read[2].is_snapshot, read[2].sequence) == ("DELTA", False, book["seq_no"])
    flat = [Decimal(number) for level in (*book["bids"], *book["asks"]) for number in level]
    assert [ours.decimal(number) for number in (*read[2].bids, *read[2].asks)] == flat
    assert same(ours.decimal(read[3].rate), funding["funding_rate"])
    assert (read[3].period_hours, funding["funding_period_hours"]) == (4, 4)
    assert same(ours.decimal(read[3].funding_index), funding["funding_index"])
    assert isinstance(read[4], m.Order)
    for name, other in (("size", "size"), ("remaining_size", "size_open"), ("price", "price"), ("trigger_price", "trigger_price")):
        assert same(getattr(read[4], name), order[other]), name
    assert (read[4].status, read[4].type, read[4].flags, read[4].stp) == (
        order["status"],
        order["order_type"],
        order["flags"],
        order["stp"],
    )
    assert (read[4].id, read[4].client_id, read[4].cancel_reason) == (order["order_id"], order["client_order_id"], order["cancel_reason"])
    if version >= 2:
        info = read[4].request_info
        assert info is not None
        assert {"id": info.id, "message": info.message, "request_type": info.request_type, "status": info.status} == order["request_info"]
    else:
        assert read[4].request_info is None
    assert same(read[5].fee, fill["fee"])
    assert (read[5].fill_type, read[5].liquidity, read[5].side) == (fill["fill_type"], fill["liquidity"], fill["side"])
    assert (position["side"], Decimal(position["size"]), read[6].size) == ("SHORT", Decimal("-0.345"), Decimal("-0.345"))
    assert same(read[6].mark_price, position["mark_price"])
    assert same(read[7].free_collateral, account["free_collateral"])
    assert isinstance(read[8], ours.Heartbeat)
