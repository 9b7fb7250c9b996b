"""Pairs as a provider of positions tells them: one open and unfinished, one closed with a remainder that nothing explains."""

from typing import Any


def _leg(dex: str, quantity: str, entry: str, mark: str | None, notional: str) -> dict[str, Any]:
    instrument = f"SOL-USDC-PERP.{dex}"
    return {"dex": dex, "instrument": instrument, "quantity": quantity, "entry_price": entry, "mark": mark, "notional_usd": notional}


OPEN: dict[str, Any] = {
    "pair_id": "p-7", "symbol": "SOL", "state": "open", "opened_at": "2026-11-20T08:14:05Z", "closed_at": None, "bot": "carry",
    "long": _leg("hyperliquid", "38.9", "128.31", "128.42", "4995.54"), "short": _leg("okx", "-38.9", "128.36", "128.45", "4996.71"),
    "pnl": {"price": "0.78", "funding": "6.4185",
            "fees": "-4.7461", "slippage": "-0.9725", "unwind": "0", "unexplained": "0", "total": "1.4799"},
    "valued": False,
}  # fmt: skip
CLOSED: dict[str, Any] = {
    "pair_id": "p-5", "symbol": "ETH", "state": "closed", "opened_at": "2026-11-17T19:02:40Z",
    "closed_at": "2026-11-20T03:00:12Z", "bot": "carry",
    "long": _leg("lighter", "0", "2751.2", None, "5000"), "short": _leg("aster", "0", "2752.1", None, "5000"),
    "pnl": {"price": "-1.12", "funding": "11.04",
            "fees": "-3.5", "slippage": "-0.66", "unwind": "-0.3", "unexplained": "-0.12", "total": "5.34"},
}  # fmt: skip
LEDGER = [
    {"time": "2026-11-20T08:14:06Z", "dex": "hyperliquid", "kind": "fee", "amount": "-2.2461", "note": "taker, 38.9 at 128.31"},
    {"time": "2026-11-20T08:14:06Z", "dex": "okx", "kind": "fee", "amount": "-2.5", "note": "taker, 38.9 at 128.36"},
    {"time": "2026-11-20T16:00:00Z", "dex": "okx", "kind": "funding", "amount": "5.9955", "note": "+0.0120 % for 8 h"},
    {"time": "2026-11-20T17:00:00Z", "dex": "hyperliquid", "kind": "funding", "amount": "0.4230", "note": "-0.00085 % for 1 h"},
]
DECISIONS = [
    {"time": "2026-11-20T08:14:04Z", "kind": "enter", "text": "net 0.0412 % over 24 h after costs of 0.19 %; break-even after 14 h"},
    {"time": "2026-11-20T16:00:31Z", "kind": "hold", "text": "edge 0.0019 % per hour is above the exit threshold of 0.0005 %"},
]


class Bots:
    """What the service asks."""

    async def positions(self) -> list[dict[str, Any]]:
        return [OPEN, CLOSED]

    async def pair(self, pair_id: str) -> dict[str, Any] | None:
        found = next((one for one in (OPEN, CLOSED) if one["pair_id"] == pair_id), None)
        return None if found is None else {**found, "ledger": LEDGER, "decisions": DECISIONS}
