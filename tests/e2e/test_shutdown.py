"""A live bot as a process, told to stop while it opens, holds and closes: it ends in a declared state that the venues confirm (E35)."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from database.connect import sqlite_url
from database.journal import Journal
from database.records import PairState
from exchange_simulator.core import types as core
from exchange_simulator.dialects.base import RequestFault
from perpkit.cli import running
from perpkit.cli.options import Store
from tests.e2e.conftest import Served, serve

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

LONG, SHORT = "lighter", "hyperliquid"
FILE = """\
strategy: funding_arbitrage
venues: {{lighter: {{environment: {lighter}}}, hyperliquid: {{environment: {hyperliquid}}}}}
parameters:
  symbols: [BTC]
  max_positions: 1
  profitability_horizon_hours: 168
  max_loop_lag_ms: 5000
  max_book_age_seconds: 30
  max_clock_skew_ms: 5000
  enable_exit_polling: false
  execution: {{naked_cap_usd: 2000, hedge_deadline_seconds: 20}}
risk: {{max_loop_lag_s: 5, max_clock_skew_s: 5}}
control: {{port: 0}}
"""


@pytest.fixture
def all_venues(keyless: None) -> Iterator[list[Served]]:
    """The two that the bot trades, with an opportunity between them, their commands answered slowly."""
    with ExitStack() as stack:
        served = [stack.enter_context(serve(name)) for name in (LONG, SHORT)]
        for one, rate in zip(served, ("0.00001", "0.002"), strict=True):
            _rate(one, Decimal(rate))
            one.call(partial(one.bench.hands.requests, RequestFault(after_s=0.15), when=one.bench.is_command, times=1_000))
        yield served


def _rate(served: Served, rate: Decimal) -> None:
    bench = served.bench
    served.call(lambda: bench.exchange.set_funding_rate(bench.now(), bench.symbol(), core.to_fraction(rate)))


class Process:
    """The bot; `until` reads what it says."""

    def __init__(self, served: list[Served], home: Path) -> None:
        self.home, self.served = home, served
        path = home / "bot.yaml"
        path.write_text(FILE.format(**{one.bench.spec.name: one.bench.environment for one in served}), encoding="utf-8")
        addresses = [part for one in served for part in one.options[2:]]
        line = [sys.executable, "-m", "perpkit", "run", str(path), "--env", "live", "--yes", "--home", str(home), "--json", *addresses]
        keys = {name: value for one in served for name, value in one.variables.items()}
        self.said: list[dict[str, Any]] = []
        self.process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **keys})

    def until(self, seen: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        assert self.process.stdout is not None
        for text in self.process.stdout:
            self.said.append(json.loads(text))
            if seen(self.said[-1]):
                return self.said[-1]
        raise AssertionError((self.said[-8:], self.process.communicate()[1]))

    def state(self, name: str) -> dict[str, Any]:
        return self.until(lambda told: told.get("event") == "pair.state" and told["facts"]["state"] == name)

    def end(self) -> None:
        """Whatever happened."""
        self.process.kill()
        self.process.communicate()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=40)
        assert "Traceback" not in err
        self.said += [json.loads(text) for text in out.splitlines()]
        return self.process.returncode


@pytest.mark.parametrize("moment", ["open", "hold", "close"])
def test_e35_sigterm_ends_in_a_declared_state(moment: str, all_venues: list[Served], tmp_path: Path) -> None:
    bot = Process(all_venues, tmp_path)
    try:
        pair = bot.state("opening")["id"]
        if moment != "open":
            bot.state("hedged")
        if moment == "close":
            found = running.find(Store(home=tmp_path))
            assert found is not None
            assert running.ask(found, "/close", {"owner": pair, "reason": "going home"})["closing"] == [pair]
            bot.state("closing")
        asked_s = time.monotonic()
        code = bot.stop()
        assert time.monotonic() - asked_s < 30
    finally:
        bot.end()
    journal = Journal.open(sqlite_url(tmp_path / "journal.db"), read_only=True)
    (record,) = journal.pairs()
    (run,) = journal.runs()
    own = [sum(f.signed for f in journal.fills(record.pair_id) if f.venue == one.bench.spec.name) for one in all_venues]
    journal.close()
    truth = [one.call(one.bench.position) for one in all_venues]
    assert truth == own, "what the journal says is what the venues hold"
    assert run.ended_at is not None
    assert run.ending
    assert code == (0 if record.state in (PairState.HEDGED, PairState.CLOSED) else 1), (record.state, run.ending)
    assert (record.pair_id in run.ending) == (record.state is not PairState.CLOSED)
    if record.state in (PairState.HEDGED, PairState.CLOSED):
        assert sum(truth) == 0, "hedged or flat"
    if moment == "hold":
        assert record.state is PairState.HEDGED
    for one in all_venues:
        resting = list(one.call(partial(one.bench.exchange.open_orders, one.bench.account.account)))
        assert resting == [], "no order of ours is left on a book"
    assert not (tmp_path / "journal.db.control").exists()
