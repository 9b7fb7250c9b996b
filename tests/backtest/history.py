"""Small histories on disk, and bots over them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from perpkit.backtest.runner import RunSpec

MORNING = datetime(2024, 1, 1, tzinfo=UTC)


def ns(moment: datetime) -> int:
    return int(moment.timestamp()) * 10**9


def write(path: Path, head: str, rows: Iterable[Sequence[object]]) -> None:
    path.write_text("\n".join([head, *(",".join(map(str, row)) for row in rows)]) + "\n", encoding="utf-8")


def stamp(hours: float) -> str:
    """Hours after the morning, as ISO text with its zone."""
    return (MORNING + timedelta(hours=hours)).isoformat()


def candles(path: Path, bars: Sequence[tuple[object, object, object, object]], *, hours: int = 1) -> None:
    """Bars of that many hours from the morning on: open, high, low, close."""
    write(path, "time,open,high,low,close", ((stamp(n * hours), *bar) for n, bar in enumerate(bars)))


def flat(path: Path, price: object, count: int) -> None:
    candles(path, [(price,) * 4] * count)


def funding(path: Path, rate: object, *, every: int, hours: int) -> None:
    """The same rate at each settlement from the morning on."""
    write(path, "time,rate", ((stamp(n), rate) for n in range(0, hours + 1, every)))


def market(name: str, *, every: int, **more: Any) -> dict[str, Any]:
    """Reads {name}.csv and {name}_funding.csv."""
    return {
        "tick_size": "0.01",
        "step_size": "0.01",
        "maker_fee": "0",
        "taker_fee": "0.0005",
        "initial_margin": "0.1",
        "maintenance_margin": "0.05",
        "candles": {"file": f"{name}.csv", "interval_hours": 1},
        "funding": {"file": f"{name}_funding.csv", "interval_hours": every},
        **more,
    }


def bot(markets: Mapping[str, Mapping[str, Any]], *, deposits: Mapping[str, object] | None = None, **parameters: Any) -> dict[str, Any]:
    """Funding arbitrage over venues named by `markets`, each with one market X."""
    return {
        "strategy": "funding_arbitrage",
        "venues": list(markets),
        "parameters": {
            "symbols": ["X"],
            "max_positions": 1,
            "default_position_size_usd": 1000,
            "min_profit": 0,
            "profitability_horizon_hours": 96,
            "execution": {"naked_cap_usd": 2000},
            "risk_config": {"check_interval_seconds": 3600},
            **parameters,
        },
        "backtest": {
            "samples": 48,
            "venues": {
                name: {"quote": "USDT", "deposit_usd": (deposits or {}).get(name, 10_000), "markets": {"X": dict(model)}}
                for name, model in markets.items()
            },
        },
    }


def spec(values: dict[str, Any], folder: Path, from_h: float, to_h: float, *, seed: int = 1) -> RunSpec:
    return RunSpec(
        bot=values,
        data=str(folder),
        from_ns=ns(MORNING + timedelta(hours=from_h)),
        to_ns=ns(MORNING + timedelta(hours=to_h)),
        seed=seed,
    )
