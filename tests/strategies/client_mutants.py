"""Broken clients: the invariants that the engine stands on but does not keep itself."""

from tests.strategies.mutants import Mutant

CLIENT_MUTANTS = (
    Mutant(
        "E6",
        "a client id that somebody uses again names the order it named first",
        "exchange_clients/orders.py",
        "    return named and (not order.external or None in (fill.order_id, order.order_id))\n",
        "    return named\n",
        "tests/venues/paradex/test_client.py -k one_client_id",
    ),
    Mutant(
        "E26",
        "a number from the wire may be no number",
        "exchange_clients/numbers.py",
        "        if value is None or not value.is_finite() or (value and abs(value.adjusted()) > MAX_EXPONENT):\n",
        "        if value is None:\n",
        "tests/unit/test_numbers.py -k e26",
    ),
    Mutant(
        "E28",
        "a payment has the other sign",
        "exchange_clients/hyperliquid/client/utils/converters.py",
        '        amount=number(data.usdc, "usdc"),\n',
        '        amount=-number(data.usdc, "usdc"),\n',
        "tests/venues/hyperliquid/test_converters.py -k payment",
    ),
    Mutant(
        "E29",
        "every rate counts as if it were paid every eight hours",
        "exchange_clients/model.py",
        "        return self.raw_rate * HOURS_PER_YEAR / self.interval_hours\n",
        "        return self.raw_rate * HOURS_PER_YEAR / CANONICAL_INTERVAL_HOURS\n",
        "tests/unit/test_funding_sample.py -k e29",
    ),
    Mutant(
        "E31",
        "a gap in the sequence is read over",
        "exchange_clients/book.py",
        "        stale = final <= last if self.source is SnapshotSource.REST and not state.joined else final == last\n"
        "        return Step.SKIP if stale else Step.GAP\n",
        "        stale = final <= last if self.source is SnapshotSource.REST and not state.joined else final == last\n"
        "        return Step.SKIP if stale else Step.APPLY\n",
        "tests/unit/test_book.py -k e31",
    ),
    Mutant(
        "E32",
        "a subscription that nobody confirmed is never missed",
        "exchange_clients/subscriptions.py",
        "        return [t for t, e in self._entries.items() if e.state is not TopicState.CONFIRMED and now - e.since > after_s]\n",
        "        return []\n",
        "tests/unit/test_subscriptions.py -k e32",
    ),
    Mutant(
        "E33",
        "a client has a current market",
        "exchange_clients/base_client.py",
        "        return self.instruments.get(symbol)\n",
        '        self.__dict__.setdefault("_current", self.instruments.get(symbol))\n'
        '        found: Instrument = self.__dict__["_current"]\n'
        "        return found\n",
        "exchange_simulator/conformance/test_account.py -k 'several_markets and hyperliquid'",
    ),
    Mutant(
        "E34",
        "the counter goes on although nobody knows what became of the last nonce",
        "exchange_clients/signing.py",
        "                elif lease.verdict is NonceVerdict.UNKNOWN:\n                    self._next = None\n",
        "",
        "tests/unit/test_base_client.py -k e34",
    ),
    Mutant(
        "E36",
        "slow work is done on the event loop",
        "exchange_clients/transport/offload.py",
        "            return await asyncio.wrap_future(self._pool.submit(fn, *args))\n",
        "            return fn(*args)\n",
        "tests/unit/test_clock_and_offload.py -k e36",
    ),
    Mutant(
        "E27",
        "a trade is told without its fee where nobody says it yet",
        "exchange_clients/dydx/client/managers/websocket_handlers.py",
        "                    elif fill.kind is FillKind.TRADE or tries[fill.trade_id] < FORCED_TRIES:\n",
        "                    elif tries[fill.trade_id] < FORCED_TRIES:\n",
        "tests/venues/dydx/test_client.py -k without_its_fee",
    ),
    Mutant(
        "E37",
        "an overflowing queue forgets in silence",
        "exchange_clients/events.py",
        "            self._queue.append(self._on_overflow())\n",
        "            self._queue.append(event)\n",
        "tests/unit/test_base_client.py -k e37",
    ),
    Mutant(
        "E38",
        "entries may use what is reserved for exits",
        "exchange_clients/ratelimit.py",
        "        return self.limit * (1 - RESERVE) if lane in _RESTRAINED else self.limit\n",
        "        return self.limit\n",
        "tests/unit/test_ratelimit.py -k e38",
    ),
    Mutant(
        "E41",
        "credentials show themselves",
        "exchange_clients/signing.py",
        "        return f\"Credentials({self.venue}: {', '.join(sorted(self._values)) or 'none'})\"\n",
        '        return f"Credentials({self.venue}: {[value.reveal() for value in self._values.values()]})"\n',
        "tests/e2e/test_secrets.py -k e41",
    ),
)
