"""Fees of a new account at the venues that publish none without a key: what paper trading assumes unless `paper:` says otherwise.

Fractions of notional, maker and taker. An account's own tier is known only with its key; live bots ask for it.
"""

from __future__ import annotations

from decimal import Decimal

D = Decimal

BASE_TIER: dict[str, tuple[Decimal, Decimal]] = {
    "aster": (D("0.0001"), D("0.00035")),
    "backpack": (D("0.0002"), D("0.0005")),
    "dydx": (D("0.0001"), D("0.0005")),
    "hyperliquid": (D("0.00015"), D("0.00045")),
    "okx": (D("0.0002"), D("0.0005")),
}
"""The lowest tier of each venue's published table, read 2026-11. Lighter and Paradex state fees with their markets."""
