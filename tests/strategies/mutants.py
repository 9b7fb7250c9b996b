"""Deliberately broken engines, and the tests that must notice.

    python -m tests.strategies.mutants            all of them, in a copy of the tree
    python -m tests.strategies.mutants E13 E17    those of some invariants
    python -m tests.strategies.mutants pulled     those whose description holds the word

Exit code 1 when a mutant survives. docs/mutants.md is this list for people; a test keeps the two and the sources together.
"""

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("exchange_clients", "exchange_simulator", "strategies", "database", "funding_rate_service", "perpkit", "tests")


@dataclass(frozen=True, slots=True)
class Mutant:
    """`old` is replaced by `new` in `file`; `tests` is what `pytest` is told, and must then fail."""

    invariant: str
    broken: str
    file: str
    old: str
    new: str
    tests: str


EXECUTION = "strategies/execution"
ENGINE = "tests/strategies/test_engine.py"
DECIDE = "tests/strategies/test_decide.py"

MUTANTS = (
    Mutant(
        "E1",
        "a venue that cannot be asked counts as having nothing left",
        f"{EXECUTION}/pair.py",
        "        except VenueError as e:\n            return await self._unproved(str(e))\n",
        "        except VenueError:\n            return True\n",
        f"{ENGINE} -k 'e01 or e07'",
    ),
    Mutant(
        "E2",
        "an ambiguous submit counts as refused",
        f"{EXECUTION}/proof.py",
        "            if e.outcome is Outcome.UNKNOWN or isinstance(e, DuplicateClientOrderId):\n",
        "            if isinstance(e, DuplicateClientOrderId):\n",
        f"{ENGINE} -k e02",
    ),
    Mutant(
        "E2",
        "a leg with an unresolved order counts as free",
        f"{EXECUTION}/leg.py",
        "            busy=active is not None or self._step is not None,\n",
        "            busy=False,\n",
        f"{ENGINE} -k e02",
    ),
    Mutant(
        "E2",
        "an immediate order that is only queued is canceled after a second",
        f"{EXECUTION}/proof.py",
        "(self._grace_s if queued else FIRST_LOOK_S)",
        "FIRST_LOOK_S",
        "tests/strategies/test_queued.py -k slow_queue",
    ),
    Mutant(
        "E3",
        "ids start again with the process",
        "database/ids.py",
        "        self._next = self._end = 1 if held is None else int(held.value)\n",
        "        self._next = self._end = 1\n",
        f"tests/database/test_journal.py {ENGINE} -k 'ids'",
    ),
    Mutant(
        "E4",
        "a terminal status ends an order although its fills are not all known",
        f"{EXECUTION}/proof.py",
        "        if info.status.is_terminal and booked >= info.filled_size:\n",
        "        if info.status.is_terminal:\n",
        f"{ENGINE} -k 'e04 or e05'",
    ),
    Mutant(
        "E5",
        "the journal takes a fill again",
        "database/journal.py",
        '    FillRecord: ("fills", False),\n',
        '    FillRecord: ("fills", True),\n',
        "tests/database/test_journal.py -k e05",
    ),
    Mutant(
        "E6",
        "an order counts as filled by its status",
        f"{EXECUTION}/proof.py",
        "        booked = self.share.filled(intent.client_order_id)\n        if info.filled_size > booked:\n",
        "        booked = info.filled_size\n        if info.filled_size > booked:\n",
        f"{ENGINE} -k 'e04 or e05 or e06'",
    ),
    Mutant(
        "E7",
        "closed without asking the venues",
        f"{EXECUTION}/pair.py",
        "                if step.state is not PairState.CLOSED or await self._proved_closed():\n",
        "                if True:\n",
        f"{ENGINE} -k e07",
    ),
    Mutant(
        "E8",
        "an entry is sent although it cannot be recorded",
        f"{EXECUTION}/leg.py",
        "            if not intent.reduce_only:\n                raise\n            log.error",
        "            log.error",
        f"{ENGINE} -k 'e08 and journal_fails'",
    ),
    Mutant(
        "E8",
        "an exit needs a disk",
        f"{EXECUTION}/leg.py",
        "            if not intent.reduce_only:\n                raise\n            log.error",
        "            raise\n            log.error",
        f"{ENGINE} -k takes_nothing",
    ),
    Mutant(
        "E8",
        "commits do not wait for the disk",
        "database/connect.py",
        'raw.execute("PRAGMA synchronous=FULL")',
        'raw.execute("PRAGMA synchronous=OFF")',
        "tests/database/test_journal.py -k power_loss",
    ),
    Mutant(
        "E8",
        "the journal waits for somebody to write before it is well again",
        f"{EXECUTION}/journaling.py",
        "            if self.degraded and (self._healing is None or self._healing.done()):\n",
        "            if False:\n",
        f"{ENGINE} -k well_again",
    ),
    Mutant(
        "E9",
        "the intent is recorded after the send",
        f"{EXECUTION}/leg.py",
        "        await self._durable(intent)\n        rests_until",
        "        rests_until",
        "tests/strategies/test_crash.py -k 'killed_at_an_event'",
    ),
    Mutant(
        "E9",
        "an opening pair goes on opening after a restart",
        f"{EXECUTION}/recovery.py",
        "    elif runner.state is PairState.OPENING:\n",
        "    elif runner.state is PairState.CLOSED:\n",
        "tests/strategies/test_crash.py -k 'killed_at_an_event'",
    ),
    Mutant(
        "E9",
        "a restart forgets the unresolved order",
        f"{EXECUTION}/leg.py",
        "            if not intent.state.resolved:\n                self._prove(",
        "            if False:\n                self._prove(",
        "tests/strategies/test_crash.py -k 'killed'",
    ),
    Mutant(
        "E9",
        "after a restart a queued order is believed absent at once",
        f"{EXECUTION}/proof.py",
        "        if max(age_s, now - self.sent_s) < self._grace_s:\n",
        "        if now < 0:\n",
        "tests/strategies/test_queued.py -k believed_absent",
    ),
    Mutant(
        "E10",
        "entries do not wait for reconciliation",
        f"{EXECUTION}/engine.py",
        "            if venue in self.feeds.unproved:\n",
        "            if False:\n",
        f"{ENGINE} -k e10",
    ),
    Mutant(
        "E11",
        "what the account held before is closed too",
        f"{EXECUTION}/market.py",
        "                    self._foreign += missing\n",
        "                    self._foreign += ZERO\n",
        f"{ENGINE} -k e11",
    ),
    Mutant(
        "E11",
        "every fill of the market is ours",
        f"{EXECUTION}/market.py",
        "            if client_order_id is not None:\n                await self._book(share",
        "            if True:\n                await self._book(share",
        f"{ENGINE} -k e11",
    ),
    Mutant(
        "E12",
        "what the venue closed of a shared position waits for the next check",
        f"{EXECUTION}/market.py",
        "                self._forced_looks = FORCED_LOOKS\n",
        "                self._forced_looks = 0\n",
        f"{ENGINE} -k 'foreign_share'",
    ),
    Mutant(
        "E12",
        "the hedge deadline is not watched",
        f"{EXECUTION}/decide.py",
        "    if view.open_delta_s >= view.limits.hedge_deadline_s:\n",
        "    if False:\n",
        f"{DECIDE} -k e12",
    ),
    Mutant(
        "E12",
        "the next slice does not wait for the hedge of the last",
        f"{EXECUTION}/decide.py",
        "        more = min(view.slice_quantity, floor_to(view.target - lead.own, lead.instrument.step_size))\n",
        "        more = floor_to(view.target - lead.own, lead.instrument.step_size)\n",
        f"{DECIDE} {ENGINE} -k 'e12 or e13'",
    ),
    Mutant(
        "E12",
        "the cap on unhedged value is not asked",
        f"{EXECUTION}/engine.py",
        "        if plan.worst_naked_usd > plan.limits.naked_cap_usd:\n",
        "        if False:\n",
        f"{ENGINE} -k e12_the_naked",
    ),
    Mutant(
        "E13",
        "the hedge is the plan's quantity, not what filled",
        f"{EXECUTION}/decide.py",
        "    hedge = floor_to(ahead, follow.instrument.step_size)\n",
        "    hedge = floor_to(view.target - follow.own, follow.instrument.step_size)\n",
        f"{DECIDE} -k e13",
    ),
    Mutant(
        "E14",
        "repair works on the smaller leg",
        f"{EXECUTION}/decide.py",
        "    leg = Leg.LONG if view.delta > 0 else Leg.SHORT\n    side = view.leg(leg)\n",
        "    leg = Leg.SHORT if view.delta > 0 else Leg.LONG\n    side = view.leg(leg)\n",
        f"{DECIDE} -k e14",
    ),
    Mutant(
        "E15",
        "an unwind closes the whole leg",
        f"{EXECUTION}/decide.py",
        "    return [_reduce(view, leg, abs(view.delta), Purpose.UNWIND)]\n",
        "    return [_reduce(view, leg, view.leg(leg).own, Purpose.UNWIND)]\n",
        f"{DECIDE} -k 'e14 or e15'",
    ),
    Mutant(
        "E15",
        "a reducing order may be larger than the leg",
        f"{EXECUTION}/decide.py",
        "    exact = min(floor_to(quantity, side.instrument.step_size), side.own)\n",
        "    exact = floor_to(quantity, side.instrument.step_size) * 2\n",
        f"{DECIDE} -k 'e15 or e18'",
    ),
    Mutant(
        "E16",
        "failed opens are not counted",
        "strategies/implementations/funding_arbitrage/books.py",
        "        if pair.opened_at is None:\n            held = self",
        "        if False:\n            held = self",
        "tests/strategies/test_funding_arbitrage.py -k e16",
    ),
    Mutant(
        "E16",
        "an alert does not say what is left",
        f"{EXECUTION}/pair.py",
        "            residual_long=long if left else None,\n",
        "            residual_long=None,\n",
        f"{ENGINE} -k 'e16 or e20'",
    ),
    Mutant(
        "E17",
        "the size of an exit is not read from the venue before each order",
        f"{EXECUTION}/leg.py",
        "        return min(quantity, self.own, max(shown, ZERO))\n",
        "        return min(quantity, self.own)\n",
        "tests/strategies/test_evidence.py -k e17",
    ),
    Mutant(
        "E17",
        "exits are not reduce-only",
        f"{EXECUTION}/leg.py",
        "            reduce_only=step.reduce,\n            time_in_force",
        "            reduce_only=False,\n            time_in_force",
        f"{ENGINE} -k 'opens_hedges or e12_e14'",
    ),
    Mutant(
        "E18",
        "one leg is closed while the other venue is down",
        f"{EXECUTION}/pair.py",
        "        if not opens_delta:\n            return True\n",
        "        if True:\n            return True\n",
        f"{ENGINE} -k e18_a_hedged",
    ),
    Mutant(
        "E18",
        "an exit needs a book",
        f"{EXECUTION}/quotes.py",
        "        if not reduce:\n            raise\n",
        "        raise\n",
        f"{ENGINE} -k e18_exits",
    ),
    Mutant(
        "E18",
        "a halt stops exits too",
        f"{EXECUTION}/decide.py",
        "    if not view.idle:\n        return [Pause.WAIT]\n    if view.flat:\n",
        "    if not view.idle or not view.may_enter:\n        return [Pause.WAIT]\n    if view.flat:\n",
        f"{DECIDE} -k e18",
    ),
    Mutant(
        "E19",
        "the exit begins before its reason is recorded",
        f"{EXECUTION}/engine.py",
        "        try:\n            await self.journal.write(decision, pair_id=pair_id, or_fallback=True)\n",
        "        runner.close(reason)\n        await asyncio.sleep(1)\n        try:\n"
        "            await self.journal.write(decision, pair_id=pair_id, or_fallback=True)\n",
        f"{ENGINE} -k e19",
    ),
    Mutant(
        "E20",
        "reducing is tried for ever",
        f"{EXECUTION}/decide.py",
        "    if side.reduce_failures >= view.limits.max_reduce_attempts or view.spent or exact <= 0:\n",
        "    if exact <= 0:\n",
        f"{DECIDE} -k 'e16 or e20'",
    ),
    Mutant(
        "E20",
        "asking for a cancel again wakes the order again",
        f"{EXECUTION}/proof.py",
        "        if not self.resolved and not self.cancel_wanted:\n",
        "        if not self.resolved:\n",
        f"{ENGINE} -k does_not_spin",
    ),
    Mutant(
        "E21",
        "a gate that says no is not heard",
        "strategies/gate.py",
        "    return [c for c in checks if not c.ok]\n",
        "    return []\n",
        "tests/strategies/test_funding_arbitrage.py -k e21",
    ),
    Mutant(
        "E21",
        "a key that ends during the hold is good enough",
        "strategies/gate.py",
        "    lasts = key.expires_ns is None or key.expires_ns >= needed_ns\n",
        "    lasts = True\n",
        "tests/strategies/test_funding_arbitrage.py -k e21_a_key",
    ),
    Mutant(
        "E21",
        "leverage is asked for and not set",
        "strategies/gate.py",
        "    if is_set(held, config):\n        return\n",
        "    if held:\n        return\n",
        "tests/strategies/test_funding_arbitrage.py -k e21_leverage",
    ),
    Mutant(
        "E22",
        "an unknown fee counts as nothing",
        "funding_rate_service/opportunity/ranking.py",
        "    if None in fees or None in entry_fees or (need_spreads and None in spreads):\n",
        "    if need_spreads and None in spreads:\n",
        "tests/strategies/test_opportunity.py -k e22",
    ),
    Mutant(
        "E22",
        "an unknown spread costs a strategy nothing",
        "funding_rate_service/opportunity/ranking.py",
        "    if None in fees or None in entry_fees or (need_spreads and None in spreads):\n",
        "    if None in fees or None in entry_fees:\n",
        "tests/strategies/test_opportunity.py -k e22",
    ),
    Mutant(
        "E23",
        "a lot is exact on one venue only",
        f"{EXECUTION}/lots.py",
        "    step = common_step(long.step_size, short.step_size)\n    quantity = floor_to(wanted, step)\n",
        "    step = long.step_size\n    quantity = floor_to(wanted, step)\n",
        "tests/strategies/test_lots.py -k e23",
    ),
    Mutant(
        "E24",
        "leverage is what the venue allows",
        "strategies/implementations/funding_arbitrage/sizing.py",
        "    return 1 / (distance + maintenance)\n",
        "    return 1 / maintenance\n",
        "tests/strategies/test_money.py -k e24",
    ),
    Mutant(
        "E25",
        "both legs count by the same interval",
        "funding_rate_service/opportunity/edge.py",
        "    short_hourly = per_hour(short.sample.raw_rate, short.sample.interval_hours)\n",
        "    short_hourly = per_hour(short.sample.raw_rate, long.sample.interval_hours)\n",
        "tests/strategies/test_opportunity.py -k e25",
    ),
    Mutant(
        "E27",
        "what the records do not explain is not shown",
        f"{EXECUTION}/ledger/booking.py",
        "            amount = rest if abs(rest) >= SIGNIFICANT else ZERO\n",
        "            amount = ZERO\n",
        "tests/strategies/test_money.py -k e27",
    ),
    Mutant(
        "E30",
        "assets match by their beginning",
        "funding_rate_service/opportunity/ranking.py",
        "            by_base[base].append(quote)\n",
        "            by_base[base[:3]].append(quote)\n",
        "tests/strategies/test_opportunity.py -k e30",
    ),
    Mutant(
        "E35",
        "resting entries are left behind",
        f"{EXECUTION}/decide.py",
        "    off: list[Step] = [Cancel(lead_leg)] if lead.busy and (view.mispriced or not view.may_enter) else []\n",
        "    off: list[Step] = []\n",
        f"{ENGINE} -k e35",
    ),
)


def applied(mutant: Mutant, root: Path) -> str:
    """The broken source. Raises ValueError unless the place to break is there exactly once."""
    source = (root / mutant.file).read_text()
    if source.count(mutant.old) != 1:
        raise ValueError(f"{mutant.file} holds the text of {mutant.invariant} ({mutant.broken}) {source.count(mutant.old)} times")
    return source.replace(mutant.old, mutant.new)


def survives(mutant: Mutant, root: Path) -> bool:
    """Run its tests in a broken copy; True when they do not notice."""
    place = root / mutant.file
    whole = place.read_text()
    place.write_text(applied(mutant, root))
    try:
        words = mutant.tests.split(" -k ")
        chosen = ["-k", words[1].strip("'")] if len(words) > 1 else []
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *words[0].split(), *chosen]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=600)
    finally:
        place.write_text(whole)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{mutant.invariant} ({mutant.broken}): pytest ended with {done.returncode}\n{done.stdout[-2000:]}")
    return done.returncode == 0


def every() -> tuple[Mutant, ...]:
    """Those of the engine and those of the clients it stands on."""
    from tests.strategies.bot_mutants import BOT_MUTANTS
    from tests.strategies.client_mutants import CLIENT_MUTANTS
    from tests.strategies.desk_mutants import DESK_MUTANTS
    from tests.strategies.funding_mutants import FUNDING_MUTANTS
    from tests.strategies.owner_mutants import OWNER_MUTANTS
    from tests.strategies.risk_mutants import RISK_MUTANTS

    return (*MUTANTS, *OWNER_MUTANTS, *DESK_MUTANTS, *RISK_MUTANTS, *FUNDING_MUTANTS, *CLIENT_MUTANTS, *BOT_MUTANTS)


def main(wanted: list[str]) -> int:
    """How many survive."""
    alive = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for package in PACKAGES:
            shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        for mutant in every():
            if wanted and mutant.invariant not in wanted and not any(word in mutant.broken for word in wanted):
                continue
            lives = survives(mutant, copy)
            alive += lives
            print(f"{'SURVIVES' if lives else 'killed  '} {mutant.invariant:<4} {mutant.broken}", flush=True)
    return alive


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1:]) else 0)
