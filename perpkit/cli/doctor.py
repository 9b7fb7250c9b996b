"""`perpkit doctor`: what works, what does not, and what to do about it. Reads only; sends no order."""

import asyncio
import statistics
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from importlib.util import find_spec
from typing import Any

from database.keys import VaultError
from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.errors import AuthError, ConfigError, ConnectFailed, MissingCredentials, RateLimited, VenueError
from exchange_clients.model import NS_PER_HOUR, Instrument, PositionMode
from exchange_clients.venues import get, names
from perpkit.bot.accounts import AccountKeys, nobody
from perpkit.cli.clients import MAIN, make, named
from perpkit.cli.failure import OK, WRONG
from perpkit.cli.options import Store, Target
from perpkit.cli.output import emit_json, emit_table, number
from perpkit.cli.vault import account_keys

SKEW_LIMIT_S = 0.5
SKEW_FAIL_S = 1.0  # a venue without a clock of its own is measured by whole seconds
SLOW_S = 1.0
LAG_LIMIT_S = 0.1
LOW_HEADROOM = 0.3
SHORT_KEY_H = 24 * 7  # the longest hold of a strategy by default


class Verdict(StrEnum):
    OK = "ok"
    NOTE = "note"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `step` is what to do about it."""

    check: str
    verdict: Verdict
    text: str
    step: str = ""


@dataclass(slots=True)
class Report:
    """The findings of one venue (or of this machine)."""

    name: str
    findings: list[Finding] = field(default_factory=list)

    def add(self, check: str, verdict: Verdict, text: str, step: str = "") -> None:
        self.findings.append(Finding(check, verdict, text, step))

    @property
    def failed(self) -> bool:
        return any(finding.verdict is Verdict.FAIL for finding in self.findings)


def doctor(
    *venue: str,
    account_name: str = MAIN,
    target: Target | None = None,
    store: Store | None = None,
    database: str | None = None,
    json: bool = False,
) -> int:
    """Check keys, clock, latency, streams, account and limits; sends no order. Exit code 1 when something is wrong.

    Parameters
    ----------
    venue:
        The venues to check; all of them when left out.
    account_name:
        Whose keys and proxy: an account of the vault, else the variables of the environment.
    database:
        Where accounts are, as a file or URL; default $PERPKIT_DATABASE, else perpkit.db in the state folder.
    json:
        Print JSON.
    """
    wanted = venue or names()
    for name in wanted:
        get(name)
    (target or Target()).check(wanted)
    place = store or Store()
    with account_keys(place.home, database) as keys:
        keys.tell = nobody
        reports = [machine(place), *asyncio.run(_all(wanted, target or Target(), keys, account_name))]
    if json:
        emit_json({report.name: report.findings for report in reports})
    else:
        rows = [(report.name, f.check, _mark(f.verdict), f.text, f.step) for report in reports for f in report.findings]
        emit_table("Doctor", ("where", "check", "", "finding", "next step"), rows)
    return WRONG if any(report.failed for report in reports) else OK


def _mark(verdict: Verdict) -> str:
    return {Verdict.OK: "\x1b[32mok\x1b[0m", Verdict.NOTE: "\x1b[33mnote\x1b[0m", Verdict.FAIL: "\x1b[31mFAIL\x1b[0m"}[verdict]


def machine(store: Store) -> Report:
    """Interpreter, optional fast parts, the state folder."""
    report = Report("this machine")
    report.add("python", Verdict.OK, sys.version.split()[0])
    if find_spec("eth_account") is None:
        report.add("signing", Verdict.NOTE, "eth-account is missing: EVM venues are read-only", 'pip install "perpkit[evm]"')
    elif find_spec("coincurve") is None:
        report.add(
            "signing", Verdict.NOTE, "coincurve is missing: signing an order takes thirty times longer", 'pip install "perpkit[evm]"'
        )
    else:
        report.add("signing", Verdict.OK, "fast curve library present")
    folder = store.folder()
    if folder.exists():
        report.add("state", Verdict.OK, f"state folder {folder}")
    else:
        report.add("state", Verdict.NOTE, f"no state folder yet at {folder}", "made on first use; PERPKIT_HOME chooses another")
    return report


async def _all(wanted: tuple[str, ...], target: Target, keys: AccountKeys, account: str) -> list[Report]:
    return await asyncio.gather(*(examine(name, target, keys, account) for name in wanted))


async def examine(venue: str, target: Target, keys: AccountKeys, account: str = MAIN) -> Report:
    """Everything about one venue. A failed check ends those that stand on it."""
    report = Report(venue)
    problem, source = _own(report, venue, target, keys, account)
    async with _closing(make(venue, target, signed=None if problem else keys, account=account)) as client:
        if not await _step(report, "reach", lambda: _reach(report, client)):
            return report
        instrument = _favourite(client)
        await _step(report, "latency", lambda: _latency(report, client, instrument))
        _clock(report, client)
        if problem is not None:
            report.add("keys", Verdict.NOTE, f"read-only: {problem}", "needed for orders only")
        if not await _step(report, "keys" if problem is None else "streams", lambda: _connect(report, client, source)):
            return report
        await _step(report, "book", lambda: _book(report, client, instrument))
        if problem is None:
            await _step(report, "key", lambda: _key(report, client))
            await _step(report, "account", lambda: _account(report, client, instrument))
        _limits(report, client)
    return report


def _own(report: Report, venue: str, target: Target, keys: AccountKeys, account: str) -> tuple[str | None, str]:
    """(what keeps the account's keys from being used, where they are from)."""
    spec = get(venue).spec
    environment = named(target.settings(spec))
    try:
        return keys.keys(spec, environment, account).problem(spec, environment), f"from the {keys.source(account)}"
    except MissingCredentials as e:
        return e.message, ""
    except VaultError as e:
        report.add("vault", Verdict.FAIL, str(e), "what follows is looked at without keys")
        return "the vault cannot be opened", ""


@asynccontextmanager
async def _closing(client: BaseExchangeClient) -> AsyncIterator[BaseExchangeClient]:
    try:
        yield client
    finally:
        await client.disconnect()


async def _step(report: Report, check: str, look: Callable[[], Awaitable[None]]) -> bool:
    """Run one check; a venue's error becomes a finding with its next step. A key that is refused is the key's fault, whatever was asked."""
    try:
        await look()
    except VenueError as e:
        check = "keys" if isinstance(e, AuthError) else check
        report.add(check, Verdict.FAIL, f"{type(e).__name__}: {e.message}" + (f" [{e.code}]" if e.code else ""), _advice(e))
        return False
    return True


def _advice(error: VenueError) -> str:
    match error:
        case MissingCredentials():
            return "`perpkit venues VENUE` lists the variables to set"
        case AuthError():
            return "the venue does not accept this key for this account: check both, and the key's expiry"
        case ConnectFailed():
            return "check network, proxy and --endpoint"
        case RateLimited():
            return "wait, or run fewer processes on this address"
        case ConfigError():
            return "check the settings"
    return "try again later; look at the venue's status page"


def _favourite(client: BaseExchangeClient) -> Instrument:
    """BTC where it trades, else the first market that does."""
    tradable = [one for one in client.instruments.all() if one.tradable]
    return next((one for one in tradable if one.id.base == "BTC" and one.id.dex == client.spec.default_dex), tradable[0])


async def _reach(report: Report, client: BaseExchangeClient) -> None:
    found = await client.instruments.load_all()
    tradable = sum(one.tradable for one in found)
    if not tradable:
        report.add("reach", Verdict.FAIL, f"{len(found)} markets listed, none tradable", "look at the venue's status page")
        return
    report.add("reach", Verdict.OK, f"{tradable} of {len(found)} markets tradable at {client.context.endpoints.rest}")


async def _latency(report: Report, client: BaseExchangeClient, instrument: Instrument) -> None:
    clock = client.context.runtime.clock
    times = []
    for _ in range(3):
        before = clock.monotonic()
        await client.market_data.fetch_book(instrument, depth=1)
        times.append(clock.monotonic() - before)
    median = statistics.median(times)
    slow = median > SLOW_S
    report.add(
        "latency",
        Verdict.NOTE if slow else Verdict.OK,
        f"{median * 1000:.0f} ms per request (median of 3)",
        "a machine nearer to the venue" if slow else "",
    )
    await client.measure_clock_offset()


def _clock(report: Report, client: BaseExchangeClient) -> None:
    offset_ns = client.context.venue_time.offset_ns
    if offset_ns is None:
        report.add("clock", Verdict.NOTE, "the venue tells no time: the offset is not known", "keep NTP running")
        return
    skew_s = abs(offset_ns) / 1e9
    verdict = Verdict.FAIL if skew_s > SKEW_FAIL_S else Verdict.NOTE if skew_s > SKEW_LIMIT_S else Verdict.OK
    step = "set this machine's clock (NTP): strategies refuse entries above 0.5 s" if verdict is not Verdict.OK else ""
    report.add("clock", verdict, f"venue is {offset_ns / 1e9:+.3f} s from this machine", step)


async def _connect(report: Report, client: BaseExchangeClient, source: str) -> None:
    clock = client.context.runtime.clock
    before = clock.monotonic()
    await client.connect()
    took = clock.monotonic() - before
    if client.context.signer is not None:
        report.add("keys", Verdict.OK, f"the venue accepts the key for this account ({source})")
    report.add("streams", Verdict.OK, f"connected in {took:.2f} s, {client.ws_manager.subscription_count} confirmed subscriptions")


async def _book(report: Report, client: BaseExchangeClient, instrument: Instrument) -> None:
    clock = client.context.runtime.clock
    before = clock.monotonic()
    await client.ws_manager.prepare_market_feed(instrument)
    took = clock.monotonic() - before
    found = client.ws_manager.get_order_book(instrument)
    client.ws_manager.release_market_feed(instrument)
    report.add("book", Verdict.OK, f"{instrument.id} ready after {took:.2f} s, {len(found.bids)}+{len(found.asks)} levels")
    lag = client.loop_lag.worst_s
    if lag > LAG_LIMIT_S:
        report.add("loop lag", Verdict.NOTE, f"{lag * 1000:.0f} ms", "this machine is busy: entries are refused above 100 ms")


async def _key(report: Report, client: BaseExchangeClient) -> None:
    """What the key may do, until when, and whether the account nets positions."""
    if not client.capabilities.key_info:
        report.add("key", Verdict.NOTE, "the venue does not say what the key may do, nor until when")
        return
    key = await client.get_key_info()
    if key.can_trade is False:
        report.add("key", Verdict.FAIL, "the key may not trade", "give it the right to trade, or make another")
    if key.can_withdraw:
        report.add("key", Verdict.NOTE, "THE KEY CAN WITHDRAW", "make one that only trades: a stolen key is then not a stolen account")
    left_h = None if key.expires_ns is None else (key.expires_ns - client.context.venue_time.now_ns()) / NS_PER_HOUR
    if left_h is None:
        report.add("key", Verdict.OK, "no end that the venue knows of")
    else:
        short = left_h < SHORT_KEY_H
        step = "renew it: strategies refuse entries whose longest hold it does not outlive" if short else ""
        report.add("key", Verdict.NOTE if short else Verdict.OK, f"valid for {left_h / 24:.1f} days", step)
    if key.position_mode is PositionMode.HEDGE:
        report.add("position mode", Verdict.FAIL, "hedge: long and short side by side", "switch the account to one-way")
    elif key.position_mode is not None:
        report.add("position mode", Verdict.OK, "one-way")


async def _account(report: Report, client: BaseExchangeClient, instrument: Instrument) -> None:
    state = await client.account_manager.fetch_account()
    figures = f"{number(state.available)} {state.asset} available, equity {number(state.equity)}"
    empty = state.available is not None and state.available <= 0
    report.add("account", Verdict.NOTE if empty else Verdict.OK, figures, "deposit before trading" if empty else "")
    positions, orders = await client.get_open_positions(), await client.get_active_orders()
    report.add("account", Verdict.OK, f"{len(positions)} positions, {len(orders)} open orders")
    leverage = await client.get_leverage_info(instrument.id)
    if leverage["error"] is None:
        report.add(
            "leverage", Verdict.OK, f"{instrument.id}: {_say(leverage['account_leverage'])}x of at most {_say(leverage['max_leverage'])}x"
        )
    else:
        report.add("leverage", Verdict.NOTE, str(leverage["error"]))


def _say(value: Any) -> str:
    return number(value) if isinstance(value, Decimal) else "unknown "


def _limits(report: Report, client: BaseExchangeClient) -> None:
    for name in client.spec.pools:
        left = client.context.limiter.headroom(name) / client.context.limiter.limit(name)
        report.add(
            "limits",
            Verdict.NOTE if left < LOW_HEADROOM else Verdict.OK,
            f"{left:.0%} of pool {name!r} left",
            "fewer requests, or a share of the limits per process" if left < LOW_HEADROOM else "",
        )
