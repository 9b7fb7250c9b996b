"""`perpkit accounts`: credentials in the vault, encrypted, by account name."""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from database.keys import Source
from exchange_clients.errors import ConfigError, MissingCredentials
from exchange_clients.secret import Secret
from exchange_clients.signing import Credentials
from exchange_clients.spec import VenueSpec
from exchange_clients.venues import get, names
from perpkit.cli import entering
from perpkit.cli.clients import MAIN, named
from perpkit.cli.failure import CREDENTIALS, OK, Failure
from perpkit.cli.options import DatabaseOption, Target
from perpkit.cli.output import emit_json, emit_table, iso
from perpkit.cli.vault import ask_hidden, vault
from perpkit.cli.verifying import Asked, Verdict, ask_all, told

if TYPE_CHECKING:
    from database.accounts import Accounts, Opened

accounts = App(name="accounts", help="Keys of venues, encrypted in the database, by account name: add, list, verify, remove, rotate.")
TESTNET = "testnet"


@accounts.command
def add(
    *,
    account_name: str = MAIN,
    exchanges: list[str] | None = None,
    from_env: bool = False,
    env_file: Path | None = None,
    interactive: bool = False,
    testnet: bool = False,
    proxy: list[str] | None = None,
    verify: bool = False,
    allow_withdraw_keys: bool = False,
    key: Source | None = None,
    target: Target | None = None,
    where: DatabaseOption | None = None,
    json: bool = False,
) -> int:
    """Add an account, or change what is given of it; the rest stays. Asks for what each venue's spec declares, with hidden input.

    Nothing secret is taken from the command line, which the shell keeps. Where a field cannot be used, nothing is stored. The first account
    makes the vault's key: in vault.key of the state folder, unless $PERPKIT_VAULT_KEY or $PERPKIT_VAULT_PASSPHRASE is set, or --key says
    otherwise.

    Parameters
    ----------
    account_name:
        As `account` in the files of bots.
    exchanges:
        Venues, with commas between them. Left out: those that the variables have something for, or as asked.
    from_env:
        Take the fields from environment variables (`perpkit venues VENUE` lists them).
    env_file:
        Take them from a file of NAME=VALUE lines that only you may read.
    interactive:
        Ask for what is not given otherwise; so it is in a terminal when neither --from-env nor --env-file is there.
    testnet:
        Short for --environment testnet.
    proxy:
        http://HOST:PORT or http://USER@HOST:PORT (the password is asked for, or in $PERPKIT_PROXY_PASSWORD), or VENUE=... for one venue;
        none takes it out. Reaches this account's clients alone. May be repeated.
    verify:
        Ask the venues first, and store nothing that one of them refuses or cannot be asked about.
    allow_withdraw_keys:
        With --verify: also store keys that the venue says can withdraw.
    key:
        Where a first key of the vault goes: file, keyring, environment or passphrase.
    json:
        Print JSON.
    """
    place, option = _target(target, testnet), where or DatabaseOption()
    given = _Given(from_env, env_file, interactive, venues=_split(exchanges), proxies=tuple(proxy or ()))
    with vault(option) as held_by:
        held = held_by.open(account_name)
        specs = given.specs(place, proxy_only=bool(proxy))
        place.check([spec.name for spec in specs])
        new = {spec.name: given.values(spec, _world(place, spec), _held(held, spec, _world(place, spec))) for spec in specs}
        proxies = entering.proxies_of(given.proxies, given.surroundings, given.ask)
        _known({venue for venue in proxies if venue})
        asked = [_asked(account_name, spec, place, held, new[spec.name], proxies) for spec in specs]
        _refuse([problem for one in asked for problem in entering.check(one.spec, one.environment, one.credentials)])
        _refuse(asyncio.run(_signers(asked)))
        verdicts = asyncio.run(ask_all(asked)) if verify else []
        _only_good(verdicts, allow_withdraw_keys)
        _store(held_by, account_name, asked, new, proxies, key)
    rows = [row for one in asked for row in _rows(one, new[one.spec.name])]
    shown = {venue or "all": "none" if address is None else _without_password(address) for venue, address in proxies.items()}
    if json:
        fields = ("account", "venue", "environment", "field", "what", "value")
        stored = [dict(zip(fields, (account_name, *row), strict=True)) for row in rows]
        emit_json({"account": account_name, "stored": stored, "proxies": shown, "verified": [told(one) for one in verdicts]})
    else:
        notes = [f"proxy of {venue}: {address}" for venue, address in shown.items()]
        notes += [f"{one.venue} {one.environment}: {one.text}" for one in verdicts]
        _warn(verdicts)
        if rows:
            emit_table(f"Account {account_name}", ("venue", "environment", "field", "", "value"), rows, notes=notes)
        else:
            print("\n".join([f"account {account_name}", *notes]))
    return OK


@accounts.command(name="list")
def listed(*, where: DatabaseOption | None = None, json: bool = False) -> int:
    """Every account with the names of what it holds; needs no key, and shows no value.

    Parameters
    ----------
    json:
        Print JSON.
    """
    with vault(where or DatabaseOption()) as held_by:
        views = held_by.views()
    if json:
        told_views = [
            {
                "name": view.name,
                "created_at": iso(view.created_at),
                "updated_at": iso(view.updated_at),
                "key_id": view.key_id,
                "venues": [{"venue": v.venue, "environment": v.environment, "fields": v.fields} for v in view.venues],
                "proxies": [{"venue": p.venue or "all", "address": p.address} for p in view.proxies],
            }
            for view in views
        ]
        emit_json({"accounts": told_views})
    elif not views:
        print("there is no account; perpkit accounts add makes one")
    else:
        rows = [(view.name, v.venue, v.environment, ", ".join(v.fields), iso(v.updated_at) or "") for view in views for v in view.venues]
        rows += [(view.name, p.venue or "all venues", "", f"proxy {p.address}", "") for view in views for p in view.proxies]
        emit_table("Accounts", ("account", "venue", "environment", "holds", "changed"), sorted(rows, key=lambda row: row[0]))
    return OK


@accounts.command
def verify(
    *,
    account_name: str | None = None,
    exchanges: list[str] | None = None,
    testnet: bool = False,
    allow_withdraw_keys: bool = False,
    target: Target | None = None,
    where: DatabaseOption | None = None,
    json: bool = False,
) -> int:
    """Ask the venues whether the stored keys work, and what they may do. Sends no order.

    Exit code 3 when a venue refuses a key, 4 when one cannot be asked, 1 when a key can withdraw.

    Parameters
    ----------
    account_name:
        Left out: every account.
    exchanges:
        Venues, with commas between them. Left out: all that the accounts have.
    testnet:
        Short for --environment testnet. Without an environment: every one that is stored.
    allow_withdraw_keys:
        Keys that can withdraw are meant.
    json:
        Print JSON.
    """
    place, wanted = _target(target, testnet), set(_split(exchanges))
    _known(wanted)
    with vault(where or DatabaseOption()) as held_by:
        found = [name for name in ([account_name] if account_name else [view.name for view in held_by.views()])]
        opened = {name: held_by.open(name) for name in found}
    asked = []
    for name, held in opened.items():
        if held is None:
            raise Failure(f"there is no account {name!r}", hint="perpkit accounts list shows them")
        for venue, environment in sorted(held.credentials):
            if (not wanted or venue in wanted) and place.environment in (None, environment):
                asked.append(_asked(name, get(venue).spec, replace(place, environment=environment), held, {}, {}))
    if not asked:
        raise Failure("nothing of that is stored", hint="perpkit accounts list shows what is")
    place.check({one.spec.name for one in asked})
    verdicts = asyncio.run(ask_all(asked))
    if json:
        emit_json({"verified": [told(one) for one in verdicts]})
    else:
        _warn(verdicts)
        rows = [(one.account, one.venue, one.environment, one.word, one.text) for one in verdicts]
        emit_table("Keys", ("account", "venue", "environment", "", "the venue says"), rows)
    return max((one.code(allow_withdraw_keys) for one in verdicts), key=lambda code: (code in (CREDENTIALS,), code))


@accounts.command
def remove(
    *,
    account_name: str | None = None,
    exchanges: list[str] | None = None,
    testnet: bool = False,
    environment: str | None = None,
    lost_key: bool = False,
    yes: bool = False,
    where: DatabaseOption | None = None,
    json: bool = False,
) -> int:
    """Forget an account, or its keys of some venues. Keys stay valid at the venues: take them back there.

    Parameters
    ----------
    account_name:
        Which one.
    exchanges:
        Only these venues, with commas between them.
    testnet:
        Short for --environment testnet.
    environment:
        Only keys of this environment.
    lost_key:
        The vault's key is gone for good: empty the whole vault, so that accounts can be added again.
    yes:
        Do not ask.
    json:
        Print JSON.
    """
    world, wanted = TESTNET if testnet else environment, _split(exchanges)
    if lost_key == (account_name is not None):
        raise Failure("say which account", hint="--account-name NAME, or --lost-key alone for the whole vault")
    what = "all accounts and the vault's key" if lost_key else f"account {account_name}"
    what += f", {', '.join(wanted) or 'all venues'}{f' {world}' if world else ''}" if wanted or world else ""
    if not yes:
        if not sys.stdin.isatty():
            raise Failure(f"this forgets {what}", hint="say --yes where nobody can be asked")
        if input(f"This forgets {what}. Type yes to go on: ").strip().lower() != "yes":
            raise Failure("not confirmed, nothing was removed")
    with vault(where or DatabaseOption()) as held_by:
        gone = held_by.empty() if lost_key else held_by.remove(account_name or "", wanted, world)
    if json:
        emit_json({"removed": what, "accounts": int(gone)})
    else:
        print(f"forgotten: {what}")
    return OK


@accounts.command
def rotate(*, key: Source | None = None, keep_old: bool = False, where: DatabaseOption | None = None, json: bool = False) -> int:
    """Make a new key of the vault and lock everything anew with it, all or nothing; then forget the old one.

    A copy of the database from before needs the old key: --keep-old keeps it. Stop nothing: bots that run have their keys already.

    Parameters
    ----------
    key:
        Where the new key goes: file, keyring, environment ($PERPKIT_VAULT_NEW_KEY) or passphrase ($PERPKIT_VAULT_NEW_PASSPHRASE, or asked
        for). Left out: where the old one is.
    keep_old:
        Leave the old key where it is.
    json:
        Print JSON.
    """
    with vault(where or DatabaseOption()) as held_by:
        old, new, count = held_by.rotate(key, keep_old=keep_old)
        source = held_by.source
    if json:
        emit_json({"from": old, "to": new, "secrets": count, "source": source})
        return OK
    print(f"{count} secrets are locked with key {new} now; key {old} is {'kept' if keep_old else 'not needed any more'}")
    if source is Source.ENVIRONMENT:
        print("put what is in PERPKIT_VAULT_NEW_KEY into PERPKIT_VAULT_KEY, everywhere perpkit runs")
    if source is Source.PASSPHRASE:
        print("the new passphrase opens the vault from now on (PERPKIT_VAULT_PASSPHRASE, or typed)")
    return OK


# ---- parts of add


class _Given:
    """Where the values come from."""

    def __init__(self, from_env: bool, file: Path | None, interactive: bool, *, venues: Sequence[str], proxies: Sequence[str]) -> None:
        self.from_variables = from_env or file is not None
        self.interactive = interactive or not (self.from_variables or proxies)
        if self.interactive and not sys.stdin.isatty():
            hint = "--from-env or --env-file FILE where nobody can be asked"
            raise Failure("there is no terminal to ask in", hint=hint, code=CREDENTIALS, kind="credentials")
        real = entering.Variables.of(os.environ)
        told_file = entering.env_file(file) if file is not None else entering.Variables({})
        self.environ = (real if from_env else entering.Variables({})).below(told_file)
        self.surroundings = real.below(told_file)
        self.ask = ask_hidden if sys.stdin.isatty() else None
        self.venues = venues
        self.proxies = proxies

    def specs(self, place: Target, *, proxy_only: bool) -> list[VenueSpec]:
        """Of the venues meant."""
        wanted = list(self.venues)
        if not wanted and self.from_variables:
            wanted = [
                name
                for name in names()
                if entering.from_variables(get(name).spec, _world(place, get(name).spec, strict=False), self.environ)
            ]
            if not wanted and not proxy_only:
                raise Failure(
                    "the variables hold nothing that a venue wants",
                    hint="`perpkit venues VENUE` lists their names; a testnet's have _TESTNET in them (--testnet)",
                    code=CREDENTIALS,
                    kind="credentials",
                )
        if not wanted and self.interactive:
            wanted = _split([input(f"Venues, with commas between them ({', '.join(names())}): ")])
            if not wanted:
                raise Failure("no venue was named, nothing was stored")
        return [get(name).spec for name in dict.fromkeys(wanted)]

    def values(self, spec: VenueSpec, environment: str, held: Credentials) -> dict[str, Secret]:
        """New ones for one venue."""
        found = entering.from_variables(spec, environment, self.environ) if self.from_variables else {}
        if self.interactive:
            missing = [item.name for item in spec.credentials if item.name not in found]
            found |= entering.from_human(spec, environment, held.merged(found), ask_hidden, print, missing)
        if not found and not held.names:
            wanted = ", ".join(entering.variables_of(spec, environment))
            raise Failure(f"nothing is given for {spec.name} {environment}", hint=f"set {wanted}", code=CREDENTIALS, kind="credentials")
        return found


def _target(target: Target | None, testnet: bool) -> Target:
    found = target or Target()
    if testnet and found.environment not in (None, TESTNET):
        raise Failure(f"--testnet and --environment {found.environment} contradict each other", hint="give one of them")
    return replace(found, environment=TESTNET) if testnet else found


def _split(given: Sequence[str] | None) -> list[str]:
    return [name.strip() for entry in given or () for name in entry.split(",") if name.strip()]


def _known(venues: set[str]) -> None:
    for name in sorted(venues):
        get(name)


def _world(place: Target, spec: VenueSpec, *, strict: bool = True) -> str:
    """The environment meant; a venue that has none of that name is passed over where it was not named itself."""
    try:
        return named(place.settings(spec))
    except Failure:
        if strict:
            raise
        return place.environment or "mainnet"


def _held(held: "Opened | None", spec: VenueSpec, environment: str) -> Credentials:
    nothing = Credentials(spec.name, {})
    return nothing if held is None else held.credentials.get((spec.name, environment), nothing)


def _asked(
    account: str, spec: VenueSpec, place: Target, held: "Opened | None", new: Mapping[str, Secret], proxies: Mapping[str, Secret | None]
) -> Asked:
    """A venue with the credentials as they will be, and the way there."""
    environment = _world(place, spec)
    merged = {**(held.proxies if held is not None else {}), **proxies}
    way = merged.get(spec.name) or merged.get("")
    return Asked(account, spec, environment, _held(held, spec, environment).merged(new), place.settings(spec), way)


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise Failure("; ".join(problems), hint="nothing was stored", code=CREDENTIALS, kind="credentials")


async def _signers(asked: Sequence[Asked]) -> list[str]:
    """What each venue's signer says of its keys; nothing is sent."""
    problems = []
    for one in asked:
        try:
            await one.client().disconnect()
        except (MissingCredentials, ConfigError) as e:
            problems.append(f"{one.spec.name} {one.environment}: {e.message}")
    return problems


def _only_good(verdicts: Sequence[Verdict], allow_withdraw_keys: bool) -> None:
    """Raises where a venue does not stand behind what would be stored."""
    _warn(verdicts)
    bad = [one for one in verdicts if one.code(allow_withdraw_keys) != OK]
    if bad:
        words = "; ".join(f"{one.venue} {one.environment}: {one.text}" for one in bad)
        hint = "nothing was stored" + ("; --allow-withdraw-keys if that is meant" if all(one.word == "withdraws" for one in bad) else "")
        raise Failure(words, hint=hint, code=max(one.code(allow_withdraw_keys) for one in bad), kind="credentials")


def _warn(verdicts: Sequence[Verdict]) -> None:
    """Loudly: a stolen key that can withdraw is a stolen account."""
    for one in verdicts:
        if one.can_withdraw:
            print(f"WARNING: {one.account}: THE KEY OF {one.venue.upper()} CAN WITHDRAW; make one that only trades", file=sys.stderr)


def _store(
    held_by: "Accounts",
    account: str,
    asked: Sequence[Asked],
    new: Mapping[str, Mapping[str, Secret]],
    proxies: Mapping[str, Secret | None],
    key: Source | None,
) -> None:
    from database.accounts import Change

    changes = [Change(one.spec.name, one.environment, new[one.spec.name]) for one in asked if new[one.spec.name]]
    if not changes and not proxies:
        raise Failure("nothing was given, nothing was changed")
    held_by.update(account, changes, proxies, source=key)


def _rows(one: Asked, new: Mapping[str, Secret]) -> list[tuple[str, str, str, str, str]]:
    """Field by field what is stored now; a value only where it is no secret."""
    rows: list[tuple[str, str, str, str, str]] = []
    for item in one.spec.credentials:
        if item.name in one.credentials:
            value = "***" if item.secret else _short(one.credentials[item.name])
            rows.append((one.spec.name, one.environment, item.name, "stored" if item.name in new else "kept", value))
    return rows


def _short(value: str) -> str:
    return value if len(value) <= 14 else f"{value[:6]}...{value[-4:]}"


def _without_password(address: Secret) -> str:
    from database.accounts import without_password

    return without_password(address)
