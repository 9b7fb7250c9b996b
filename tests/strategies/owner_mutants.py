"""Engines broken where several owners meet, where a plan bounds what is paid, and where a venue pauses or goes."""

from tests.strategies.mutants import EXECUTION, Mutant

OWNERS = "tests/strategies/test_ownership.py"
MODES = "tests/strategies/test_modes.py"
OFFLINE = "tests/strategies/test_offline.py"
SHRINK = "tests/strategies/test_shrink.py"
EVIDENCE = "tests/strategies/test_evidence.py"
GUARD = "tests/strategies/test_guard.py"

OWNER_MUTANTS = (
    Mutant(
        "E9",
        "to what both legs are to shrink is not on record",
        f"{EXECUTION}/pair.py",
        "            if self.plan.keep is not None or self.plan.closing is not None:\n",
        "            if self.plan.closing is not None:\n",
        f"{SHRINK} -k killed",
    ),
    Mutant(
        "E9",
        "what a dying process did not share out of a fill is forgotten",
        f"{EXECUTION}/market.py",
        "            self._orphans[key] = msgspec.structs.replace(fill, quantity=fill.quantity - booked)\n",
        "            pass\n",
        f"{OWNERS} -k cut_in_half",
    ),
    Mutant(
        "E11",
        "an owner counts as foreign what the others hold",
        f"{EXECUTION}/market.py",
        "        return self._foreign + sum((share.own for share in self.shares), ZERO)\n",
        "        return self._foreign + sum((share.own for share in self.shares[:1]), ZERO)\n",
        f"{OWNERS} -k 'open_together or two_engines'",
    ),
    Mutant(
        "E11",
        "the opposite direction of another owner is not refused",
        f"{EXECUTION}/market.py",
        "            if share.owner != owner and (share.sign == 0 or share.sign != sign):\n",
        "            if False:\n",
        f"{OWNERS} -k opposite",
    ),
    Mutant(
        "E11",
        "after a restart only who runs owns something",
        f"{EXECUTION}/ownership.py",
        "        owners = sorted(self._owners(account, str(instrument.id)), key=lambda owner: owner.updated_ns)\n",
        "        owners: list[Owner] = []\n",
        f"{OWNERS} -k does_not_run",
    ),
    Mutant(
        "E12",
        "a forced close of a shared position stops at the first owner",
        f"{EXECUTION}/market.py",
        "        for share in self.live:\n            part = ",
        "        for share in self.live[:1]:\n            part = ",
        f"{OWNERS} -k forced",
    ),
    Mutant(
        "E12",
        "the strategy's own figure of the naked part is believed",
        f"{EXECUTION}/engine.py",
        "        worst = plan.slice_quantity * max(prices.values())\n",
        "        worst = plan.worst_naked_usd\n",
        f"{MODES} -k plan_on_record",
    ),
    Mutant(
        "E12",
        "both legs shrink in one piece",
        f"{EXECUTION}/decide.py",
        "    return _reduce(view, lead, even if even > 0 else min(more, view.slice_quantity), Purpose.CLOSE)\n",
        "    return _reduce(view, lead, more, Purpose.CLOSE)\n",
        f"{SHRINK} -k 'slice_by_slice'",
    ),
    Mutant(
        "E14",
        "a change by hand is repaired although a human is to look first",
        f"{EXECUTION}/decide.py",
        "        if view.changed and view.limits.external_policy is ExternalPolicy.ALERT:\n",
        "        if False:\n",
        f"{EVIDENCE} -k by_hand",
    ),
    Mutant(
        "E18",
        "a guard may stop an exit",
        f"{EXECUTION}/leg.py",
        "        if not step.reduce and (block := ",
        "        if (block := ",
        f"{GUARD} -k e18",
    ),
    Mutant(
        "E18",
        "a paused venue spends the tries of an exit",
        f"{EXECUTION}/leg.py",
        "        if self.market.paused or (step.reduce and not self.venue_up):\n",
        "        if False:\n",
        f"{OFFLINE} -k paused",
    ),
    Mutant(
        "E18",
        "the leg that is left is reduced whatever the policy",
        f"{EXECUTION}/decide.py",
        "    if view.limits.offline_policy is not OfflinePolicy.REDUCE:\n        return None\n",
        "",
        f"{OFFLINE} -k 'policy or rules'",
    ),
    Mutant(
        "E20",
        "limit_only takes in the end",
        f"{EXECUTION}/plan.py",
        "    Mode.LIMIT_ONLY: (Tactic.TOUCH, Tactic.TOUCH, Tactic.TOUCH),\n",
        "    Mode.LIMIT_ONLY: (Tactic.TOUCH, Tactic.TOUCH, Tactic.CROSS),\n",
        f"{MODES} -k nobody_trades",
    ),
    Mutant(
        "E21",
        "a pair is planned that the guard does not admit",
        f"{EXECUTION}/engine.py",
        '            raise EntryRefused("guard", block)\n',
        "            pass\n",
        f"{GUARD} -k e21",
    ),
    Mutant(
        "E25",
        "the first leg may cost more than the plan's break-even",
        f"{EXECUTION}/pair.py",
        "            return None if self._hedge_quote is None else worst_lead(side, self._hedge_quote, cost)\n",
        "            return None\n",
        f"{MODES} -k break_even",
    ),
    Mutant(
        "E25",
        "a hedge is bought at any price of its ladder",
        f"{EXECUTION}/pair.py",
        "        return None if paid is None else worst_hedge(side, paid, cost, self.plan.limits.hedge_overrun_bps)\n",
        "        return None\n",
        f"{MODES} -k budget",
    ),
    Mutant(
        "E4",
        "a resting order is only heard of through the stream",
        f"{EXECUTION}/proof.py",
        "            pause = FIRST_LOOK_S if self.cancel_wanted else self._look_s\n",
        "            pause = 1e9\n",
        f"{EVIDENCE} -k nobody_speaks",
    ),
)
