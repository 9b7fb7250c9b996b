"""Funding arbitrage broken on purpose: gates, exits, the settlement clock, history, the record of decisions."""

from tests.strategies.mutants import Mutant

FUNDING = "strategies/implementations/funding_arbitrage"
OPPORTUNITY = "funding_rate_service/opportunity"
ENTRY = "tests/strategies/test_funding_arbitrage_entry.py"
RULES = "tests/strategies/test_funding_arbitrage_rules.py"
STATISTICS = "tests/strategies/test_opportunity_statistics.py"
REPLAY = "tests/unit/cli/test_why_replay.py"

FUNDING_MUTANTS = (
    Mutant(
        "E21",
        "an entry right before a settlement that costs us",
        f"{FUNDING}/entry.py",
        '"settlement_clock", due >= 0',
        '"settlement_clock", True',
        ENTRY,
    ),
    Mutant(
        "E21",
        "the buffer need not be left after the trade",
        f"{FUNDING}/sizing.py",
        "(leg.available - leg.equity * buffer) / (1 / most + leg.fee)",
        "leg.available * most",
        f"{ENTRY} -k e21",
    ),
    Mutant(
        "E21",
        "a book does not grow old while the other venue is asked",
        f"{FUNDING}/entering.py",
        "            facts.append(answer.aged(now_ns))\n",
        "            facts.append(answer)\n",
        "tests/strategies/test_funding_arbitrage_held.py -k grew_old",
    ),
    Mutant(
        "E22",
        "a venue that cannot be read is passed over",
        f"{FUNDING}/entry.py",
        '        checks.append(Check("readable", False, view.unreadable))\n',
        "        pass\n",
        f"{ENTRY} -k unreadable",
    ),
    Mutant(
        "E22",
        "an absurd rate is believed",
        f"{OPPORTUNITY}/clock.py",
        "    if abs(rate) / hours > MAX_HOURLY:\n",
        "    if False:\n",
        f"{STATISTICS} -k pains_9",
    ),
    Mutant(
        "E24",
        "an entry leaves no more than the distance that forces the exit",
        f"{FUNDING}/sizing.py",
        'ENTRY_DISTANCE = Decimal("1.5")\n',
        'ENTRY_DISTANCE = Decimal("1")\n',
        f"{ENTRY} -k e24",
    ),
    Mutant(
        "E25",
        "the edge is that of the quotes, not of the size in the books",
        f"{FUNDING}/entry.py",
        "        net=edge.horizon.funding - costs.total,\n",
        "        net=edge.horizon.net,\n",
        f"{ENTRY} -k e25",
    ),
    Mutant(
        "E25",
        "history is read as if every settlement were hourly",
        f"{OPPORTUNITY}/persistence.py",
        "hours[hour - first] = sample.hourly_rate\n",
        "hours[hour - first] = sample.raw_rate\n",
        f"{STATISTICS} -k pains_7",
    ),
    Mutant(
        "E25",
        "erosion throws away what holding still earns back",
        f"{FUNDING}/exits.py",
        "view.pnl_if_closed < 0 <= view.pnl_if_closed + value",
        "False",
        f"{RULES} -k pains_11",
    ),
    Mutant(
        "E25",
        "a rotation forgets what leaving costs",
        f"{FUNDING}/exits.py",
        "    gain = edge.horizon.net - here - view.close_cost / view.notional_usd\n",
        "    gain = edge.horizon.net - here\n",
        f"{RULES} -k better_pair",
    ),
    Mutant(
        "E18",
        "what is severe waits for a better moment too",
        f"{FUNDING}/exits.py",
        "    if not due.critical:\n",
        "    if True:\n",
        f"{RULES} -k e18",
    ),
    Mutant(
        "E18",
        "continuous funding is waited for like a settlement",
        f"{OPPORTUNITY}/clock.py",
        "(count or 0)",
        "(1 if count is None else count)",
        f"{RULES} -k continuous",
    ),
    Mutant(
        "E18",
        "the announced end of a market is not looked at",
        f"{FUNDING}/exits.py",
        "        elif ends_ns is not None and",
        "        elif False and ends_ns is not None and",
        f"{RULES} -k each_rule",
    ),
    Mutant(
        "E20",
        "an exit waits for ever",
        f"{FUNDING}/exits.py",
        "since = view.now_ns if memory.due_ns is None else memory.due_ns\n",
        "since = view.now_ns\n",
        f"{RULES} -k bounded",
    ),
    Mutant(
        "E19",
        "a record does not hold what was judged",
        f"{FUNDING}/recorder.py",
        '"view": view}',
        '"view": msgspec.structs.replace(view, now_ns=0)}',
        REPLAY,
    ),
    Mutant(
        "E19",
        "a replay forgets what a held pair remembered",
        f"{FUNDING}/recorder.py",
        "                    before = carried[decision.pair_id][1]\n",
        "                    before = HoldMemory()\n",
        REPLAY,
    ),
)
