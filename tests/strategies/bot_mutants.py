"""Broken surroundings of a bot."""

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
        "            client = venues.create_client(venue, settings, None, runtime=runtime)\n",
        "            from os import environ\n\n"
        "            known = Credentials.from_env(venues.get(venue).spec, environ=environ)\n"
        "            client = venues.create_client(venue, settings, known, runtime=runtime)\n",
        "tests/bot/test_environments.py -k e40",
    ),
)
