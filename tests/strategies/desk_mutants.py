"""Broken desks and broken emulated orders."""

from tests.strategies.mutants import Mutant

DESK_MUTANTS = (
    Mutant(
        (
            "E2",
            "desk: an order whose outcome is unknown leaves its tag free",
            "strategies/execution/holding.py",
            "            if order.unproved:\n                raise",
            "            if False:\n                raise",
            "tests/strategies/test_desk.py -k e02",
        ),
    ),
    Mutant(
        (
            "E8",
            "desk: what adds is sent although it cannot be recorded",
            "strategies/execution/holding.py",
            "            if not intent.reduce_only:\n                raise\n",
            "            if False:\n                raise\n",
            "tests/strategies/test_desk.py -k e08",
        ),
    ),
    Mutant(
        (
            "E8",
            "desk: an exit needs a disk",
            "strategies/execution/holding.py",
            "            if not intent.reduce_only:\n                raise\n",
            "            raise\n",
            "tests/strategies/test_desk.py -k e08",
        ),
    ),
    Mutant(
        (
            "E9",
            "desk: a restart forgets resting orders",
            "strategies/execution/holding.py",
            "                self._follow(self._prove(intent))\n",
            "                self._keep(intent, None)\n",
            "tests/strategies/test_desk.py -k e09",
        ),
    ),
    Mutant(
        (
            "E9",
            "desk: a decided close does not go on",
            "strategies/execution/desk.py",
            "                holding.resume_close()\n",
            "                pass\n",
            "tests/strategies/test_desk.py -k decided",
        ),
    ),
    Mutant(
        (
            "E10",
            "desk: what adds does not wait for reconciliation",
            "strategies/execution/desk.py",
            "            if venue in self._unproved:\n",
            "            if False:\n",
            "tests/strategies/test_desk.py -k e10",
        ),
    ),
    Mutant(
        (
            "E11",
            "desk: the direction of a holding is not kept",
            "strategies/execution/holding.py",
            "        if crosses and self.share.sign == -sign:\n",
            "        if False:\n",
            "tests/strategies/test_desk.py -k e11",
        ),
    ),
    Mutant(
        (
            "E11",
            "desk: nobody asks whether others stand against it",
            "strategies/execution/desk.py",
            "            if conflict is not None:\n",
            "            if False:\n",
            "tests/strategies/test_desk.py -k e11",
        ),
    ),
    Mutant(
        (
            "E17",
            "desk: reducing orders do not count each other",
            "strategies/execution/holding.py",
            "        return max(-side.sign * self.own - self.working(side, reduce_only=True), ZERO)\n",
            "        return max(-side.sign * self.own, ZERO)\n",
            "tests/strategies/test_desk.py -k e17",
        ),
    ),
    Mutant(
        (
            "E17",
            "desk: reducing orders stay when the own share shrank",
            "strategies/execution/holding.py",
            "                if excess <= 0:\n                    break\n",
            "                if True:\n                    break\n",
            "tests/strategies/test_desk.py -k e17",
        ),
    ),
    Mutant(
        (
            "E18",
            "desk: an exit asks the gates of an entry",
            "strategies/execution/holding.py",
            "        if not ticket.reduce_only:\n            self._addable",
            "        if True:\n            self._addable",
            "tests/strategies/test_desk.py -k 'e10 or e18'",
        ),
    ),
    Mutant(
        (
            "E19",
            "desk: a close begins before its reason is recorded",
            "strategies/execution/holding.py",
            "        await self.move(HoldingState.CLOSING, reason)\n        self.resume_close()\n",
            "        self.resume_close()\n        await asyncio.sleep(1)\n        await self.move(HoldingState.CLOSING, reason)\n",
            "tests/strategies/test_desk.py -k e19",
        ),
    ),
    Mutant(
        (
            "E20",
            "desk: closing is tried for ever",
            "strategies/execution/closing.py",
            "            if failures >= limits.max_reduce_attempts or sent >= limits.max_orders:\n",
            "            if False:\n",
            "tests/strategies/test_desk.py -k e20",
        ),
    ),
    Mutant(
        (
            "E35",
            "desk: a stop leaves what adds on the book",
            "strategies/execution/desk.py",
            "                await asyncio.gather(*(h.cancel_all(adding_only=True) for h in held))\n",
            "                pass\n",
            "tests/strategies/test_desk.py -k e35",
        ),
    ),
    Mutant(
        (
            "E42",
            "desk: a halt leaves resting entries",
            "strategies/execution/desk.py",
            "                holding.withdraw_entries()\n",
            "                pass\n",
            "tests/strategies/test_desk.py -k e42",
        ),
    ),
    Mutant(
        (
            "E17",
            "the stop goes out while the take-profit may still fill",
            "strategies/execution/emulated/exits.py",
            "    if others or out.live:\n        return state, list[Action](others)\n",
            "    if out.live:\n        return state, list[Action](others)\n",
            "tests/strategies/test_emulated_rules.py -k e17",
        ),
    ),
    Mutant(
        (
            "E17",
            "exits forget what the other side has filled",
            "strategies/execution/emulated/exits.py",
            "    exited = sum((seen.role(role).filled for role in EXIT_ROLES), ZERO)\n",
            "    exited = seen.role(OUT).filled\n",
            "tests/strategies/test_emulated_rules.py -k e17",
        ),
    ),
    Mutant(
        (
            "E1",
            "a stop is watched on an old price",
            "strategies/execution/emulated/prices.py",
            "        if self._price is not None and now - self._at_s <= self._age_s:\n",
            "        if self._price is not None:\n",
            "tests/strategies/test_emulated.py -k blindly",
        ),
    ),
    Mutant(
        (
            "E9",
            "protection is not restored after a crash",
            "strategies/execution/desk.py",
            "        await self.emulated.start()\n",
            "",
            "tests/strategies/test_emulated_crash.py -k both_sides",
        ),
    ),
    Mutant(
        (
            "E9",
            "an emulated order is not on disk before it acts",
            "strategies/execution/emulated/emulator.py",
            "        await order.save(first=True)\n",
            "",
            "tests/strategies/test_emulated_crash.py -k both_sides",
        ),
    ),
    Mutant(
        (
            "E9",
            "a bracket enters after a restart",
            "strategies/execution/emulated/bracket.py",
            "        if seen.restarted:\n",
            "        if False:\n",
            "tests/strategies/test_emulated_rules.py -k never_sent",
        ),
    ),
    Mutant(
        (
            "E9",
            "an iceberg goes on adding after a restart",
            "strategies/execution/emulated/iceberg.py",
            "    if seen.restarted and not state.reduce_only and not state.paused:\n",
            "    if False:\n",
            "tests/strategies/test_emulated_rules.py -k e09",
        ),
    ),
    Mutant(
        (
            "E20",
            "a stop that nobody takes is tried for ever",
            "strategies/execution/emulated/exits.py",
            "    if out.dry >= MAX_ATTEMPTS:\n",
            "    if False:\n",
            "tests/strategies/test_emulated_rules.py -k e20",
        ),
    ),
    Mutant(
        (
            "E6",
            "a trailing stop does not wait for its activation",
            "strategies/execution/emulated/trailing.py",
            "        if state.activation is not None and (state.activation - price) * sign < 0:\n",
            "        if False:\n",
            "tests/strategies/test_emulated_rules.py -k activation",
        ),
    ),
    Mutant(
        (
            "E20",
            "a trailing stop is moved to where the venue has no price",
            "strategies/execution/emulated/emulator.py",
            "keep_within=max(wide / 10, 2 * holding.instrument.price_increment(bid))",
            "keep_within=wide / 10",
            "tests/strategies/test_emulated.py -k few_ticks",
        ),
    ),
    Mutant(
        (
            "E18",
            "a group of the venue that does not act is waited for",
            "strategies/execution/emulated/bracket.py",
            "    if beyond_ns and (entry.live or seen.now_ns - beyond_ns >= GRACE_NS):\n",
            "    if False:\n",
            "tests/strategies/test_emulated_rules.py -k taken_over",
        ),
    ),
    Mutant(
        (
            "E1",
            "an order that was found on the book stays unknown",
            "strategies/execution/proof.py",
            "        if info.status in ON_BOOK and intent.state in (IntentState.PREPARED, IntentState.UNKNOWN):\n",
            "        if False:\n",
            "tests/strategies/test_desk.py -k e02",
        ),
    ),
)
