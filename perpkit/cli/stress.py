"""`perpkit stress`: what a move of the price does to every account."""

import asyncio
import contextlib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from exchange_clients.errors import VenueError
from exchange_clients.model import InstrumentId
from perpkit.cli.clients import MAIN, opened
from perpkit.cli.failure import OK, UNPROVED, WRONG, Failure
from perpkit.cli.options import Store, Target
from perpkit.cli.output import emit_json, emit_table, number, percent, usd
from perpkit.cli.vault import account_keys

if TYPE_CHECKING:
    from perpkit.bot.accounts import AccountKeys
    from strategies.risk.margin import Account, Stress

EXAMPLE = (
    '[{"venue": "lighter", "equity": "5000", "positions": [{"instrument": "BTC-USDC-PERP.lighter", "quantity": "-0.1", "mark": "100000", '
    '"maintenance": "0.012"}]}]'
)


class FilePosition(msgspec.Struct, forbid_unknown_fields=True):
    """One position of --positions. `isolated`: what stands behind an isolated one; `tiers`: [notional, maintenance] pairs."""

    instrument: str
    quantity: Decimal
    mark: Decimal
    maintenance: Decimal
    tiers: list[tuple[Decimal, Decimal]] = []
    isolated: Decimal | None = None


class FileAccount(msgspec.Struct, forbid_unknown_fields=True):
    """One venue of --positions. `equity` behind cross positions."""

    venue: str
    equity: Decimal
    positions: list[FilePosition]
    available: Decimal = Decimal(0)


def stress(
    *,
    base: str | None = None,
    min_distance: Decimal = Decimal("0.12"),
    positions: Path | None = None,
    venue: list[str] | None = None,
    account_name: str = MAIN,
    store: Store | None = None,
    target: Target | None = None,
    database: str | None = None,
    json: bool = False,
) -> int:
    """Equity, maintenance and liquidation of every account under price moves from -50 % to +100 %, and which leg breaks first.

    Counts everything that the accounts hold, cross and isolated. Exit code 1 when a position is nearer to liquidation than --min-distance,
    5 when a figure is missing.

    Parameters
    ----------
    base:
        Only this asset moves, for example BTC; default: everything moves together.
    min_distance:
        Fraction of the price.
    positions:
        JSON file with accounts and positions instead of asking venues.
    venue:
        Ask these instead of the venues of the journal's open pairs and holdings. May be repeated.
    account_name:
        Whose account is asked at the venues named.
    database:
        Where accounts are, as a file or URL; default $PERPKIT_DATABASE, else perpkit.db in the state folder.
    json:
        Print JSON.
    """
    from strategies.risk.margin import Missing
    from strategies.risk.margin import stress as table

    where, place = target or Target(), store or Store()
    try:
        if positions is not None:
            accounts = _from_file(positions)
        else:
            asked = {(account_name, name): None for name in venue} if venue else _places(place, where)
            with account_keys(place.home, database) as keys:
                accounts = asyncio.run(_ask(asked, where, keys))
    except Missing as e:
        raise Failure(f"no forecast without every figure: {e}", code=UNPROVED, kind="unproved") from e
    if not any(one.held for one in accounts):
        if json:
            emit_json({"base": base, "legs": [], "rows": [], "breaks_first": None})
        else:
            print("nothing is held")
        return OK
    found = table(accounts, base)
    if base is not None and not found.legs:
        raise Failure(f"nothing is held in {base}", hint=f"held: {', '.join(sorted({h.base for one in accounts for h in one.held}))}")
    if json:
        emit_json(_as_json(found))
    else:
        _print(found)
    return WRONG if any(leg.nearest is not None and leg.nearest < min_distance for leg in found.legs) else OK


def _from_file(path: Path) -> "list[Account]":
    from strategies.risk.margin import Account, Held, Tier

    try:
        given = msgspec.json.decode(path.read_bytes(), type=list[FileAccount])
        return [
            Account(
                venue=one.venue,
                equity=one.equity,
                available=one.available,
                held=tuple(
                    Held(
                        venue=one.venue,
                        instrument=p.instrument,
                        base=InstrumentId.parse(p.instrument).base,
                        quantity=p.quantity,
                        mark=p.mark,
                        tiers=tuple(Tier(*tier) for tier in sorted(p.tiers)) or (Tier(Decimal(0), p.maintenance),),
                        equity=p.isolated,
                    )
                    for p in one.positions
                    if p.quantity
                ),
            )
            for one in given
        ]
    except (msgspec.DecodeError, ValueError) as e:
        raise Failure(f"{path} is not what --positions wants: {e}", hint=f"for example {EXAMPLE}") from e


def _places(store: Store, target: Target) -> Mapping[tuple[str, str], str | None]:
    """(account, venue) of what is open -> its environment, as far as the journal knows it."""
    from perpkit.bot.closing import NotReal, check_real, open_owners
    from perpkit.cli.clients import worlds_of
    from strategies.execution.ledger.owners import markets

    journal = store.read()
    try:
        owners = open_owners(journal)
        check_real(journal, owners)
        worlds = worlds_of(journal, owners, target)
    except NotReal as e:
        raise Failure(str(e), hint="no venue knows it: write its positions into a file and give it as --positions FILE") from None
    finally:
        journal.close()
    return {(owner.account, market.venue): worlds.get(market.venue) for owner in owners for market in markets(owner)}


async def _ask(places: Mapping[tuple[str, str], str | None], target: Target, keys: "AccountKeys") -> "list[Account]":
    """Every venue about these accounts; several on one venue are told apart by their names. Raises Missing."""
    from strategies.risk.margin import Account, account

    target.check({venue for _, venue in places})
    names = [venue for _, venue in places]

    async def one(name: str, venue: str) -> Account:
        async with opened(venue, target, signed=keys, account=name, world=places[name, venue]) as client:
            state = await client.account_manager.fetch_account()
            held = await client.position_manager.open_positions()
            leverage, marks = {}, {}
            for position in held:
                instrument = client.instruments.get(position.instrument)
                with contextlib.suppress(VenueError):  # without its tiers a market has the one maintenance fraction that the venue lists
                    leverage[str(instrument.id)] = await client.account_manager.fetch_leverage(instrument)
                if position.mark_price is None:
                    marks[str(instrument.id)] = await client.fetch_mark_price(instrument.id)
            label = venue if names.count(venue) == 1 else f"{venue} ({name})"
            return account(label, state, held, lambda p: client.instruments.get(p.instrument), leverage, marks.get)

    return list(await asyncio.gather(*(one(*place) for place in sorted(places, key=lambda place: place[::-1]))))


def _as_json(found: "Stress") -> dict[str, Any]:
    first = found.breaks_first
    return {
        "base": found.base,
        "breaks_first": None if first is None else {"venue": first.venue, "instrument": first.instrument, "distance": first.nearest},
        "legs": [{**msgspec.structs.asdict(leg), "nearest": leg.nearest, "liquidation_price": leg.price} for leg in found.legs],
        "rows": [{"move": row.move, "total": row.total, "venues": [msgspec.structs.asdict(v) for v in row.venues]} for row in found.rows],
    }


def _print(found: "Stress") -> None:
    first = found.breaks_first
    emit_table(
        "Liquidation",
        ("venue", "market", ">quantity", ">mark", ">liquidated at", ">down", ">up", ">venue says", ""),
        [
            (
                leg.venue,
                leg.instrument,
                number(leg.quantity),
                number(leg.mark),
                "not in reach" if leg.price is None else number(leg.price.quantize(Decimal("0.01")) if leg.price > 1 else leg.price),
                "-" if leg.down is None else percent(-leg.down, 1),
                percent(leg.up, 1),
                number(leg.venue_price),
                "breaks first" if leg is first else "",
            )
            for leg in found.legs
        ],
    )
    names = [outcome.venue for outcome in found.rows[0].venues]
    emit_table(
        f"Equity (maintenance), USD, when {found.base or 'everything'} moves",
        (">move", *(f">{name}" for name in names), ">together", "liquidated"),
        [
            (
                percent(row.move, 0),
                *(f"{usd(v.equity)} ({usd(v.maintenance)})" for v in row.venues),
                usd(row.total),
                ", ".join(name for v in row.venues for name in v.liquidated) or "-",
            )
            for row in found.rows
        ],
        notes=["at the marks of now; equity of a liquidated account is what it would be without the liquidation"],
    )
