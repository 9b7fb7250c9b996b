"""Nobody acts for a bot with keys of another account: it would find nothing held on one venue and reduce the other leg."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from database.connect import sqlite_url
from database.journal import Journal
from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.errors import ConfigError
from perpkit.bot.closing import close_here, open_owners, taken_over
from strategies.execution.ownership import Ownership
from strategies.risk import takeover
from strategies.risk.fence import Fence, Heartbeat
from strategies.risk.identity import WrongAccount, expect_same, identities
from tests.risk.scene import LONG, SHORT, Scene, run_scene
from tests.risk.test_watchdog import Dog, naked
from tests.strategies.stack import Stack, run_stack

D = Decimal
VENUES = ("aster", "backpack", "dydx", "hyperliquid", "lighter", "okx", "paradex")


@asynccontextmanager
async def strangers(s: Scene, venue: str) -> AsyncIterator[dict[str, BaseExchangeClient]]:
    """Connected clients, on one venue with keys of an account that is not the bot's."""
    made: dict[str, BaseExchangeClient] = {}
    try:
        for name, truth in s.stack.venues.items():
            account = truth.ready.dialect.open_account(D(100_000)) if name == venue else None
            made[name] = truth.ready.client(account=account, runtime=s.stack.runtime)
            await made[name].connect()
        yield made
    finally:
        for client in made.values():
            await client.disconnect()


def commands(s: Scene) -> dict[str, int]:
    return {name: venue.commands() for name, venue in s.stack.venues.items()}


@pytest.mark.parametrize("venue", [LONG, SHORT])
def test_a_watchdog_with_keys_of_another_account_refuses_and_sends_nothing(tmp_path: Path, venue: str) -> None:
    async def main(s: Scene) -> None:
        await s.stack.open()
        await s.die()
        await asyncio.sleep(12)
        before, held = commands(s), s.stack.positions()
        dog = Dog(s.stack, tmp_path)

        @asynccontextmanager
        async def wrong(account: str, venues: set[str]) -> AsyncIterator[Mapping[str, BaseExchangeClient]]:
            async with strangers(s, venue) as made:
                yield made

        dog.dog._clients = wrong
        (told,) = await dog.dog.look()
        assert f"{venue}: these keys are of" in told
        assert "test:main trades" in told
        assert list(dog.dog.refused.values()) == [told]
        assert [event for event, _ in dog.told] == ["watchdog.acts", "watchdog.refused"]
        assert (commands(s), s.stack.positions()) == (before, held)
        assert takeover.read(tmp_path) == []
        assert Fence(tmp_path).held() is None
        await asyncio.sleep(30)
        assert await dog.dog.look() == [], "keys do not change by themselves: the folder is not fenced in for that"
        assert list(dog.dog.refused.values()) == [told]

    run_scene(tmp_path, main)


def test_a_watchdog_refuses_where_the_bot_never_said_which_account_it_trades(tmp_path: Path) -> None:
    async def main(s: Scene) -> None:
        await naked(s)
        beat = Heartbeat(tmp_path, "test", "main").read()
        assert beat is not None
        Heartbeat(tmp_path, "test", "main").beat(beat.at, beat.pid, accounts={LONG: beat.accounts[LONG]})
        await asyncio.sleep(12)
        before = commands(s)
        dog = Dog(s.stack, tmp_path)
        (told,) = await dog.dog.look()
        assert f"{SHORT}: test:main never said which account it trades there" in told
        assert list(dog.dog.refused.values()) == [told]
        assert commands(s) == before

    run_scene(tmp_path, main)


def test_recover_and_close_without_a_bot_refuse_keys_of_another_account(tmp_path: Path) -> None:
    async def main(s: Scene) -> None:
        await s.stack.open()
        await s.down()
        before, held = commands(s), s.stack.positions()
        journal = Journal.open(sqlite_url(s.stack.folder / "journal.db"))
        async with strangers(s, SHORT) as clients:
            with pytest.raises(WrongAccount, match=f"{SHORT}: these keys are of .* but test:main trades"):
                async with taken_over(journal, clients, s.stack.runtime, Ownership(journal), "test", "main", tmp_path):
                    pass

            def make(venue: str, account: str) -> BaseExchangeClient:
                return clients[venue]

            with pytest.raises(WrongAccount):
                await close_here(journal, open_owners(journal), "x", "me", make=make, runtime=s.stack.runtime, wait_s=60, folder=tmp_path)
        assert (commands(s), s.stack.positions()) == (before, held)
        journal.close()

    run_scene(tmp_path, main)


def test_a_bot_that_comes_back_with_other_keys_over_what_is_open_refuses(tmp_path: Path) -> None:
    async def main(s: Scene) -> None:
        await s.stack.open()
        await s.down()
        kept = Heartbeat(tmp_path, "test", "main").path.read_bytes()
        mine = s.stack.venues[SHORT].ready.account
        s.stack.venues[SHORT].ready.account = s.stack.venues[SHORT].ready.dialect.open_account(D(100_000))
        before = commands(s)
        with pytest.raises(WrongAccount, match="these keys are of"):
            await s.up()
        assert commands(s) == before
        assert Heartbeat(tmp_path, "test", "main").path.read_bytes() == kept
        await s.die()
        s.stack.venues[SHORT].ready.account = mine
        await s.up()

    run_scene(tmp_path, main)


def test_a_venue_that_answers_only_later_must_still_show_the_bots_account(tmp_path: Path) -> None:
    """Its account is known only once it answered: until then nothing is refused, and nothing is forgotten."""

    async def main(s: Stack) -> None:
        truth = s.venues["okx"].ready
        heart = Heartbeat(tmp_path, "test", "main")
        for account, fits in ((truth.dialect.open_account(D(1_000)), False), (None, True)):
            known = truth.client(runtime=s.runtime)
            await known.connect()
            accounts = identities({"okx": known})
            await known.disconnect()
            late = truth.client(account=account, runtime=s.runtime)
            assert identities({"okx": late}) == {}
            expect_same(heart, accounts, {"okx": late})
            if fits:
                await late.connect()
                assert identities({"okx": late}) == accounts
            else:
                with pytest.raises(ConfigError, match=r"okx: these keys are of mainnet:.*, not of mainnet:"):
                    await late.connect()
                assert not late.is_connected
            await late.disconnect()

    run_stack(tmp_path, main, names=("okx",), start=False)


@pytest.mark.parametrize("name", VENUES)
def test_every_venue_names_the_account_and_shows_no_secret(tmp_path: Path, name: str) -> None:
    async def main(s: Stack) -> None:
        truth = s.venues[name]
        other = truth.ready.dialect.open_account(D(1_000))
        found = []
        for account in (None, None, other):
            client = truth.ready.client(account=account, runtime=truth.ready.runtime)
            await client.connect()
            found.append(client.account_identity)
            await client.disconnect()
            environ = (account or truth.ready.account).environ
            public = {item.variable.format(env="") for item in truth.ready.spec.credentials if not item.secret}
            secrets = [value for variable, value in environ.items() if variable not in public]
            assert not [value for value in secrets if len(value) > 3 and value in found[-1]]
        assert found[0].startswith(f"{truth.ready.environment}:")
        assert found[0] == found[1] != found[2]
        reader = truth.ready.client(signed=False, runtime=truth.ready.runtime)
        assert reader.account_identity == ""
        await reader.disconnect()

    run_stack(tmp_path, main, names=(name,), start=False)
