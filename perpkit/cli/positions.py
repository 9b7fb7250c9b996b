"""`perpkit positions`: what the journal says is open, beside what the venues prove."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from database.journal import Journal
from database.records import Leg, PairRecord, PairState
from exchange_clients.errors import VenueError
from perpkit.cli.failure import OK, WRONG
from perpkit.cli.options import Store, Target
from perpkit.cli.output import emit_json, emit_table, iso, number, usd

OPEN = tuple(state for state in PairState if state is not PairState.CLOSED)


def positions(*, store: Store | None = None, target: Target | None = None, offline: bool = False, json: bool = False) -> int:
    """What the journal says is open, beside what the venues prove.

    Exit code 1 when a venue disagrees or could not be asked.

    Parameters
    ----------
    offline:
        Show the journal only; ask no venue.
    json:
        Print JSON.
    """
    journal = (store or Store()).read()
    try:
        legs = [leg for pair in journal.pairs(*OPEN) for leg in legs_of(journal, pair)]
    finally:
        journal.close()
    if not offline:
        asyncio.run(prove(legs, target or Target()))
    if json:
        emit_json({"legs": [leg.as_json() for leg in legs]})
    elif not legs:
        print("nothing is open")
    else:
        columns = ("pair", "state", "market", "leg", ">journal", ">venue", ">entry", ">mark", ">unrealised", ">liquidation", "note")
        emit_table(
            "Positions",
            columns,
            [leg.row() for leg in legs],
            notes=["quantities in base units; journal = own share + what was there before"],
        )
    return OK if offline or all(leg.agrees for leg in legs) else WRONG


@dataclass(slots=True)
class LegReport:
    """One leg of an open pair: expected from the journal, and what its venue proves."""

    pair: PairRecord
    leg: Leg
    expected: Decimal
    proved: Decimal | None = None
    entry_price: Decimal | None = None
    mark_price: Decimal | None = None
    unrealized_pnl: Decimal | None = None
    liquidation_price: Decimal | None = None
    note: str = ""

    @property
    def instrument(self) -> str:
        return self.pair.instrument(self.leg)

    @property
    def agrees(self) -> bool:
        """The venue proved exactly what the journal expects."""
        return self.proved is not None and self.proved == self.expected

    def row(self) -> Sequence[str]:
        note = self.note or ("" if self.proved is None or self.agrees else "differs: run perpkit recover")
        figures = (self.entry_price, self.mark_price)
        return (
            self.pair.pair_id,
            str(self.pair.state),
            self.instrument,
            str(self.leg),
            number(self.expected),
            number(self.proved),
            *(number(figure) for figure in figures),
            usd(self.unrealized_pnl),
            number(self.liquidation_price),
            note,
        )

    def as_json(self) -> dict[str, Any]:
        figures = ("expected", "proved", "entry_price", "mark_price", "unrealized_pnl", "liquidation_price", "note", "agrees")
        return {
            "pair_id": self.pair.pair_id,
            "state": self.pair.state,
            "symbol": self.pair.symbol,
            "venue": self.pair.venue(self.leg),
            "instrument": self.instrument,
            "leg": self.leg,
            "opened_at": iso(self.pair.opened_at),
            **{name: getattr(self, name) for name in figures},
        }


def legs_of(journal: Journal, pair: PairRecord) -> list[LegReport]:
    """Both legs with the signed position that the journal expects at the venue: own fills on top of what was there before."""
    fills = journal.fills(pair.pair_id)
    return [LegReport(pair, leg, pair.foreign(leg) + sum((fill.signed for fill in fills if fill.leg is leg), Decimal(0))) for leg in Leg]


async def prove(legs: Sequence[LegReport], target: Target) -> None:
    """Ask each venue for each leg; what cannot be proved stays None, with the reason in the note."""
    from perpkit.cli.clients import opened

    venues = {leg.pair.venue(leg.leg) for leg in legs}
    target.check(venues)

    async def ask(venue: str) -> None:
        mine = [leg for leg in legs if leg.pair.venue(leg.leg) == venue]
        try:
            async with opened(venue, target, signed=True) as client:
                for leg in mine:
                    snapshot = await client.get_position_snapshot(leg.instrument)
                    leg.proved = Decimal(0) if snapshot is None else snapshot.quantity
                    if snapshot is not None:
                        leg.entry_price, leg.mark_price = snapshot.entry_price, snapshot.mark_price
                        leg.unrealized_pnl, leg.liquidation_price = snapshot.unrealized_pnl, snapshot.liquidation_price
        except VenueError as e:
            for leg in mine:
                if leg.proved is None:
                    leg.note = f"not proved: {e}"

    await asyncio.gather(*(ask(venue) for venue in sorted(venues)))
