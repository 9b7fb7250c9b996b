"""Broken surroundings of a bot: ledger, reload, keys, messages."""

from tests.strategies.mutants import Mutant

BOT_MUTANTS = (
    Mutant(
        "E35",
        "the end of a run is not written down",
        "perpkit/bot/assemble.py",
        "            self._declare(bot)\n",
        "            pass\n",
        "tests/bot/test_runner.py -k e35",
    ),
    Mutant(
        "E39",
        "a looser limit counts for what is open",
        "strategies/reload.py",
        "        values[name] = before if why else after\n",
        "        values[name] = after\n",
        "tests/strategies/test_reload.py -k e39",
    ),
    Mutant(
        "E40",
        "the client that brings paper its prices has keys",
        "perpkit/bot/environments.py",
        "            live = venues.create_client(venue, settings, None, runtime=runtime)\n",
        "            from os import environ\n\n"
        "            known = Credentials.from_env(venues.get(venue).spec, environ=environ)\n"
        "            live = venues.create_client(venue, settings, known, runtime=runtime)\n",
        "tests/bot/test_environments.py -k e40",
    ),
    Mutant(
        "E27",
        "a fee that no price converts is added as it is",
        "strategies/execution/ledger/accounts.py",
        "    return None if price is None else -fill.fee * price\n",
        "    return -fill.fee if price is None else -fill.fee * price\n",
        "tests/strategies/test_ledger.py -k e27",
    ),
    Mutant(
        "E27",
        "each venue's own price is the reference of the hedge",
        "strategies/execution/ledger/accounts.py",
        "return own if near is None or abs(near[0] - ts_ns) > SAME_MOMENT_NS else (own + near[1]) / 2",
        "return own",
        "tests/strategies/test_ledger.py -k e27",
    ),
    Mutant(
        "E27",
        "who shares a market gets the whole payment",
        "strategies/execution/ledger/booking.py",
        "        amount *= own / whole\n",
        "        amount *= 1\n",
        "tests/strategies/test_ledger.py -k e27",
    ),
    Mutant(
        "E27",
        "what the records do not explain is booked as nothing (entry exists in mutants.py)",
        "strategies/execution/ledger/booking.py",
        "            amount = rest if abs(rest) >= SIGNIFICANT else ZERO\n",
        "            amount = ZERO\n",
        "tests/strategies/test_ledger.py -k e27",
    ),
    Mutant(
        "E39",
        "no limit counts as tighter",
        "strategies/reload.py",
        'why = "" if before == after else refusal(direction(field), before, after)',
        'why = "" if before == after or after is None else refusal(direction(field), before, after)',
        "tests/strategies/test_reload.py -k none_is_no_limit",
    ),
    Mutant(
        "E39",
        "a reload is compared with the last file, not with what an open pair was promised",
        "strategies/reload.py",
        "found = {owner_id: tighten(self.of(owner_id), new) for owner_id in open_owners}",
        "found = {owner_id: tighten(self.config, new) for owner_id in open_owners}",
        "tests/strategies/test_reload.py -k each_open",
    ),
    Mutant(
        "E41",
        "the delivering library may log addresses",
        "perpkit/bot/notify.py",
        "            logging.getLogger(chatty).disabled = True\n",
        "            pass\n",
        "tests/bot/test_notify.py -k e41",
    ),
    Mutant(
        "E41",
        "a refused key is logged",
        "perpkit/bot/control.py",
        'log.warning("control.refused path=%s remote=%s", request.path, request.remote)',
        'log.warning("control.refused path=%s key=%s", request.path, shown)',
        "tests/bot/test_control.py -k e41",
    ),
    Mutant(
        "E41",
        "keys are kept as they are",
        "perpkit/bot/apikeys.py",
        '    return hashlib.sha256(shown.encode(errors="surrogateescape")).hexdigest()\n',
        "    return shown\n",
        "tests/bot/test_control.py -k e41",
    ),
)
