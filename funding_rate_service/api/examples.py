"""One example of each answer, for the OpenAPI document. A test decodes each into its shape."""

from __future__ import annotations

from typing import Any

from funding_rate_service.api import shapes

_NOW = "2026-11-21T20:48:06.123Z"

RATE: dict[str, Any] = {
    "dex": "hyperliquid",
    "symbol": "BTC",
    "instrument": "BTC-USDC-PERP.hyperliquid",
    "rate": "0.0000125",
    "interval_hours": "1",
    "kind": "predicted",
    "hourly": "0.0000125",
    "rate_8h": "0.0001",
    "annual": "0.1095",
    "next_funding_at": "2026-11-21T21:00:00.000Z",
    "mark": "91250.5",
    "index": "91248",
    "bid": "91250",
    "ask": "91251",
    "spread": "0.0000109588331736",
    "open_interest_usd": "2100000000",
    "volume_24h_usd": "3400000000",
    "observed_at": "2026-11-21T20:48:04.023Z",
    "age_s": 2.1,
    "stale": False,
}
OTHER = {
    **RATE,
    "dex": "lighter",
    "instrument": "BTC-USDC-PERP.lighter",
    "rate": "-0.000002",
    "hourly": "-0.000002",
    "rate_8h": "-0.000016",
    "annual": "-0.01752",
}
RATES = {"generated_at": _NOW, "count": 1, "stale_after_s": 150.0, "rates": [RATE]}
ONE_RATE = {"generated_at": _NOW, "stale_after_s": 150.0, "rate": RATE}
COMPARISON = {
    "generated_at": _NOW,
    "symbol": "BTC",
    "count": 2,
    "stale_after_s": 150.0,
    "spread": {
        "long": "BTC-USDC-PERP.lighter",
        "short": "BTC-USDC-PERP.hyperliquid",
        "hourly": "0.0000145",
        "annual": "0.12702",
    },
    "rates": [OTHER, RATE],
}
PERSISTENCE = {
    "points": 168,
    "mean": "0.0000131",
    "volatility": "0.0000042",
    "sign_flips_per_day": "0.4",
    "half_life_hours": "9.3",
    "series": ["0.0000127", None, "0.0000145"],
}
COSTS = {
    "entry_fees": "0.00045",
    "exit_fees": "0.00045",
    "entry_slippage": "0.00001",
    "exit_slippage": "0.00001",
    "total": "0.00092",
    "slippage_known": True,
}
OPPORTUNITY = {
    "pair": "BTC-USDC-PERP.lighter/BTC-USDC-PERP.hyperliquid",
    "symbol": "BTC",
    "hourly": "0.0000145",
    "annual": "0.12702",
    "funding": "0.002436",
    "net": "0.001516",
    "net_annual": "0.079049",
    "costs": COSTS,
    "break_even_hours": "63.4482758620690",
    "long_settlements": 168,
    "short_settlements": 168,
    "price_divergence": "0.0002",
    "oi_ratio": "0.31",
    "persistence": PERSISTENCE,
    "long": OTHER,
    "short": RATE,
}
OPPORTUNITIES = {"generated_at": _NOW, "horizon_hours": "168", "total": 1, "count": 1, "at": None, "opportunities": [OPPORTUNITY]}
BEST = {"generated_at": _NOW, "horizon_hours": "168", "opportunity": OPPORTUNITY}
HISTORY = {
    "dex": "hyperliquid",
    "symbol": "BTC",
    "instrument": "BTC-USDC-PERP.hyperliquid",
    "period": "24h",
    "resolution": "settled",
    "start": "2026-11-20T20:48:06.123Z",
    "end": _NOW,
    "count": 1,
    "truncated": False,
    "points": [{"time": "2026-11-21T20:00:00.000Z", "rate": "0.0000125", "interval_hours": "1", "hourly": "0.0000125", "kind": "settled"}],
}
STATS = {
    "symbol": "BTC",
    "period": "7d",
    "start": "2026-11-14T20:48:06.123Z",
    "end": _NOW,
    "markets": [
        {
            "dex": "hyperliquid",
            "instrument": "BTC-USDC-PERP.hyperliquid",
            "settlements": 168,
            "hours": 168,
            "mean": "0.0000119",
            "lowest": "-0.0000031",
            "highest": "0.0000402",
            "last": "0.0000125",
            "mean_annual": "0.104244",
            "volatility": "0.0000042",
            "sign_flips_per_day": "0.4",
            "half_life_hours": "9.3",
        }
    ],
}
EDGE = {
    "generated_at": _NOW,
    "pair": OPPORTUNITY["pair"],
    "symbol": "BTC",
    "size_usd": "1000",
    "horizon_hours": "24",
    "curve": [{"hours": "24", "funding": "0.000348", "net": "-0.000572"}, {"hours": "168", "funding": "0.002436", "net": "0.001516"}],
    "expected": [{"hours": "24", "funding": "0.000331", "net": "-0.000589"}],
    "capacity": [{"usd": "1000", "net": "-0.000572"}, {"usd": "1000000", "net": None}],
    "capacity_usd": "18000",
    "hourly": "0.0000145",
    "break_even_hours": "63.448275862069",
    "settled_break_even_hours": 64,
    "expected_break_even_hours": 66,
    "costs": COSTS,
    "cost_source": "books",
    "unknown": [],
    "price_divergence": "0.0002",
    "oi_ratio": "0.31",
    "persistence": PERSISTENCE,
    "history": [{"time": "2026-11-21T20:00:00.000Z", "difference": "0.0000145", "long": "-0.000002", "short": "0.0000125"}],
    "long": OTHER,
    "short": RATE,
}
DEX = {
    "dex": "hyperliquid",
    "state": "ok",
    "markets": 214,
    "last_ok_at": "2026-11-21T20:48:04.023Z",
    "age_s": 2.1,
    "stale_after_s": 150.0,
    "last_error": None,
    "latency_ms": 181,
    "consecutive_failures": 0,
    "next_collection_at": "2026-11-21T20:49:04.000Z",
}
DEXES = {"generated_at": _NOW, "count": 1, "dexes": [DEX]}
ONE_DEX = {"generated_at": _NOW, "dex": DEX}
SYMBOLS = {
    "dex": "hyperliquid",
    "count": 1,
    "symbols": [
        {
            "symbol": "BTC",
            "instrument": "BTC-USDC-PERP.hyperliquid",
            "tradable": True,
            "interval_hours": "1",
            "open_interest_usd": "2100000000",
            "volume_24h_usd": "3400000000",
        }
    ],
}
HEALTH = {
    "status": "ok",
    "generated_at": _NOW,
    "version": "0.1.0",
    "uptime_s": 86400.0,
    "ready": True,
    "database": "ok",
    "subscribers": 3,
    "failing_tasks": [],
    "dexes": [DEX],
}
ALIVE = {"status": "ok"}
DATABASE = {
    "status": "ok",
    "url": "sqlite:////home/me/.local/share/perpkit/perpkit.db",
    "checked_at": _NOW,
    "rows": 6300000,
    "bytes": 912000000,
    "first_sample_at": "2026-11-20T20:48:00.000Z",
    "last_sample_at": "2026-11-21T20:48:04.023Z",
    "error": None,
}
TASKS = {
    "generated_at": _NOW,
    "tasks": [
        {
            "name": "roll-up",
            "state": "waiting",
            "interval_s": 3600.0,
            "last_run_at": "2026-11-21T20:00:01.000Z",
            "next_run_at": "2026-11-21T21:00:01.000Z",
            "last_error": None,
            "runs": 24,
            "failures": 0,
            "consecutive_failures": 0,
            "last_duration_ms": 812,
        }
    ],
}
STARTED = {"task": "roll-up", "started": True}
BACKFILLING = {"dexes": ["hyperliquid"]}
POSITIONS: dict[str, Any] = {"provided": False, "positions": []}
ONE_POSITION = {"position": {"pair_id": "p-1", "symbol": "BTC", "state": "hedged"}}

EXAMPLES: dict[type[shapes.Shape], dict[str, Any]] = {
    shapes.Rates: RATES,
    shapes.OneRate: ONE_RATE,
    shapes.Comparison: COMPARISON,
    shapes.Opportunities: OPPORTUNITIES,
    shapes.BestOpportunity: BEST,
    shapes.History: HISTORY,
    shapes.Stats: STATS,
    shapes.Edge: EDGE,
    shapes.Dexes: DEXES,
    shapes.OneDex: ONE_DEX,
    shapes.Symbols: SYMBOLS,
    shapes.Health: HEALTH,
    shapes.Alive: ALIVE,
    shapes.DatabaseHealth: DATABASE,
    shapes.TaskList: TASKS,
    shapes.Started: STARTED,
    shapes.Backfilling: BACKFILLING,
    shapes.Positions: POSITIONS,
    shapes.OnePosition: ONE_POSITION,
}
