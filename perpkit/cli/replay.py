"""`perpkit replay`: a recording, heard again by the venue's real client code."""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, validators

from exchange_clients.errors import NotReady
from exchange_clients.model import NS_PER_S, Gap, Trade
from perpkit.cli.failure import OK, WRONG, Failure
from perpkit.cli.output import counted, emit_json, emit_json_line, emit_table, iso, number, terminal

if TYPE_CHECKING:
    from exchange_simulator.world.playback import Playback, Step

LEVELS = 10
LOOK_EVERY_S = 0.1
SPREADS = 60


def replay(
    recording: Path,
    /,
    *,
    speed: Annotated[float | None, Parameter(validator=validators.Number(gt=0))] = None,
    table: bool = False,
    events: bool = False,
    levels: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=1000))] = LEVELS,
    symbol: str | None = None,
    json: bool = False,
) -> int:
    """Feed a recording through the venue's own decoder, books and sequence rules, and tell what a client would have seen.

    Exit code 1 when the recording holds gaps or frames that did not decode.

    Parameters
    ----------
    recording:
        A file of `perpkit record`, or the folder of one recording's parts.
    speed:
        1 plays as fast as it came, 10 ten times as fast; without it as fast as this machine can.
    table:
        Show the book and the trades while it plays (at real speed unless --speed says otherwise).
    events:
        Print every change of a book, trade, rate and gap as one JSON document per line.
    levels:
        Levels per side in --table and --events.
    symbol:
        Only this market: its base or the venue's own name.
    json:
        Print the statistics as JSON.
    """
    from exchange_simulator.world.playback import play
    from exchange_simulator.world.wire import WireError

    if table and (events or json):
        raise Failure("--table is for people and --events and --json for machines", hint="leave one of them out")
    if table and speed is None:
        speed = 1.0
    found = Statistics()
    try:
        steps = _paced(play(recording), speed)
        if symbol is not None:
            steps = _of(steps, symbol)
        with suppress(KeyboardInterrupt):  # the usual end of watching
            if table:
                _show(steps, found, levels)
            else:
                for playback, step in steps:
                    found.take(playback, step)
                    if events:
                        _print_events(playback, step, levels)
    except WireError as e:
        raise Failure(str(e), hint="give a file that `perpkit record` made, or the folder of one recording", kind="recording") from e
    if json:
        emit_json(found.as_json())
    elif not events:
        found.show()
    return WRONG if found.gaps or found.undecoded else OK


@dataclass(slots=True)
class Market:
    """What one market showed."""

    books: int = 0
    trades: int = 0
    volume: Decimal = Decimal(0)
    bbos: int = 0
    rates: int = 0
    gaps: int = 0
    ready_ns: int = 0
    spreads: list[Decimal] = field(default_factory=list)
    """In bps, at every change of the book."""
    last: tuple[Decimal | None, Decimal | None] = (None, None)
    crossed: int = 0


@dataclass(slots=True)
class Statistics:
    """What a client would have seen over the whole recording."""

    venue: str = ""
    session: str = ""
    markets: dict[str, Market] = field(default_factory=dict)
    first_ns: int = 0
    last_ns: int = 0
    frames: int = 0
    bytes: int = 0
    gaps: list[dict[str, Any]] = field(default_factory=list)
    undecoded: int = 0
    unknown: int = 0
    different: int = 0
    parts: int = 0
    quiet_ns: int = 0
    """The longest time without a frame."""
    _current: "Playback | None" = None

    def take(self, playback: "Playback", step: "Step") -> None:
        from exchange_simulator.world.wire import Kind

        if playback is not self._current:
            self._add_part(playback)
        elapsed = step.t_ns - self.last_ns if self.last_ns else 0
        for instrument in playback.instruments:
            if elapsed > 0 and playback.client.ws_manager.order_book_ready(instrument):
                self._market(str(instrument.id)).ready_ns += elapsed
        self.first_ns = self.first_ns or step.t_ns
        if step.line.kind is Kind.WS_RECV:
            self.frames += 1
            self.bytes += len(step.line.msg) or len(step.line.body)
            self.quiet_ns = max(self.quiet_ns, elapsed)
        self.last_ns = max(self.last_ns, step.t_ns)
        for change in step.books:
            market = self._market(str(change.instrument))
            market.books += 1
            if (feed := playback.client.ws_manager.feed_of(playback.client.instruments.get(change.instrument).contract_id)) is None:
                continue
            with suppress(NotReady):
                bid, ask = feed.book.best_bid(), feed.book.best_ask()
                market.last = (bid.price if bid else None, ask.price if ask else None)
                if bid and ask and change.best_changed:
                    market.spreads.append((ask.price - bid.price) / (ask.price + bid.price) * 20_000)
        for trade in step.trades:
            market = self._market(str(trade.instrument))
            market.trades += 1
            market.volume += trade.quantity * trade.price
        for bbo in step.bbos:
            self._market(str(bbo.instrument)).bbos += 1
        for instrument_id, _ in step.rates:
            self._market(str(instrument_id)).rates += 1
        for gap in step.gaps:
            self._gap(gap)

    def _gap(self, gap: Gap) -> None:
        told = {"time": iso(gap.ts_ns), "reason": gap.reason, "instrument": str(gap.instrument) if gap.instrument else None}
        if told not in self.gaps:
            self.gaps.append(told)
        for name, market in self.markets.items():
            if gap.instrument is None or str(gap.instrument) == name:
                market.gaps += 1

    def _add_part(self, playback: "Playback") -> None:
        self.end()
        self._current = playback
        self.parts += 1
        self.venue, self.session = playback.header.venue, playback.header.session
        for name in playback.header.instruments:
            self._market(name)

    def end(self) -> None:
        """Take what the part counted itself."""
        if self._current is not None:
            handler = self._current.client.ws_manager.handler
            self.undecoded += handler.undecoded
            self.unknown += handler.unknown
            self.different += self._current.different
            self._current = None

    def _market(self, name: str) -> Market:
        return self.markets.setdefault(name, Market())

    @property
    def seconds(self) -> float:
        return (self.last_ns - self.first_ns) / NS_PER_S

    def as_json(self) -> dict[str, Any]:
        self.end()
        seconds = self.seconds
        return {
            "venue": self.venue,
            "session": self.session,
            "parts": self.parts,
            "from": iso(self.first_ns),
            "to": iso(self.last_ns),
            "seconds": round(seconds, 3),
            "frames": self.frames,
            "bytes": self.bytes,
            "longest_silence_s": round(self.quiet_ns / NS_PER_S, 3),
            "undecoded": self.undecoded,
            "unknown": self.unknown,
            "sent_differently": self.different,
            "gaps": self.gaps,
            "markets": {
                name: {
                    "books": m.books,
                    "trades": m.trades,
                    "volume_usd": m.volume,
                    "bbos": m.bbos,
                    "rates": m.rates,
                    "gaps": m.gaps,
                    "book_ready_share": round(m.ready_ns / (self.last_ns - self.first_ns), 6) if seconds else None,
                    "spread_bps_median": _median(m.spreads),
                    "bid": m.last[0],
                    "ask": m.last[1],
                }
                for name, m in self.markets.items()
            },
        }

    def show(self) -> None:
        self.end()
        if not self.parts:
            return
        columns = ("market", ">books", ">trades", ">volume", ">bbos", ">rates", ">gaps", ">book ready", ">median spread", ">bid", ">ask")
        whole = max(1, self.last_ns - self.first_ns)
        rows = []
        for name, m in self.markets.items():
            spread = _median(m.spreads)
            rows.append(
                (
                    name,
                    f"{m.books:,}",
                    f"{m.trades:,}",
                    f"{m.volume:,.0f}",
                    f"{m.bbos:,}",
                    f"{m.rates:,}",
                    str(m.gaps),
                    f"{m.ready_ns / whole:.2%}",
                    "-" if spread is None else f"{spread:.2f} bps",
                    number(m.last[0]),
                    number(m.last[1]),
                )
            )
        notes = [f"gap {gap['time']} {gap['instrument'] or 'all markets'}: {gap['reason']}" for gap in self.gaps[:20]]
        if len(self.gaps) > 20:
            notes.append(f"and {len(self.gaps) - 20} more gaps (--json lists all)")
        if self.undecoded:
            notes.append(f"{counted(self.undecoded, 'frame')} did not decode")
        if self.different:
            notes.append(f"{self.different} messages would be sent differently by this version: it was recorded by another")
        rate = f"{self.frames / self.seconds:,.1f} a second, " if self.seconds else ""
        notes.append(f"{self.frames:,} frames, {rate}longest silence {self.quiet_ns / NS_PER_S:.1f} s; volume in quote currency")
        title = f"{self.venue} {iso(self.first_ns)} to {iso(self.last_ns)}, {self.seconds:,.1f} s, {counted(self.parts, 'part')}"
        emit_table(title, columns, rows, notes=notes)


def _median(values: list[Decimal]) -> Decimal | None:
    return sorted(values)[len(values) // 2] if values else None


def _paced(steps: "Iterator[tuple[Playback, Step]]", speed: float | None) -> "Iterator[tuple[Playback, Step]]":
    """At the recording's own pace times `speed`."""
    if speed is None:
        yield from steps
        return
    first_ns: int | None = None
    began = time.monotonic()
    for playback, step in steps:
        first_ns = step.t_ns if first_ns is None else first_ns
        ahead = (step.t_ns - first_ns) / NS_PER_S / speed - (time.monotonic() - began)
        if ahead > 0:
            time.sleep(ahead)
        yield playback, step


def _of(steps: "Iterator[tuple[Playback, Step]]", symbol: str) -> "Iterator[tuple[Playback, Step]]":
    """Only what concerns one market, and gaps of all.

    Raises:
        Failure: the recording does not have it.
    """
    wanted: str | None = None
    for playback, step in steps:
        if wanted is None and playback.instruments:
            names = {str(i.id): (i.id.base, i.venue_symbol, i.contract_id, str(i.id)) for i in playback.instruments}
            wanted = next((name for name, known in names.items() if symbol in known), None)
            if wanted is None:
                raise Failure(f"the recording has no market {symbol!r}", hint=f"it has {', '.join(names)}", kind="symbol")
            playback.instruments = [i for i in playback.instruments if str(i.id) == wanted]
        step.books = [c for c in step.books if str(c.instrument) == wanted]
        step.trades = [t for t in step.trades if str(t.instrument) == wanted]
        step.bbos = [b for b in step.bbos if str(b.instrument) == wanted]
        step.rates = [r for r in step.rates if str(r[0]) == wanted]
        yield playback, step


def _print_events(playback: "Playback", step: "Step", levels: int) -> None:
    manager, instruments = playback.client.ws_manager, playback.client.instruments
    for gap in step.gaps:
        emit_json_line({"event": "gap", "time": iso(gap.ts_ns), "reason": gap.reason, "instrument": gap.instrument and str(gap.instrument)})
    for change in step.books:
        with suppress(NotReady):
            book = manager.get_order_book(instruments.get(change.instrument), levels)
            told: dict[str, Any] = {"event": "book", "received_ns": change.ts_recv_ns, "instrument": str(change.instrument)}
            told |= {"time": iso(change.ts_venue_ns), "sequence": change.sequence}
            told |= {"bids": [[level.price, level.size] for level in book.bids], "asks": [[level.price, level.size] for level in book.asks]}
            emit_json_line(told)
    for trade in step.trades:
        emit_json_line({"event": "trade", **_trade(trade)})
    for bbo in step.bbos:
        prices = {"bid": bbo.bid, "bid_size": bbo.bid_size, "ask": bbo.ask, "ask_size": bbo.ask_size}
        emit_json_line({"event": "bbo", "received_ns": bbo.ts_recv_ns, "instrument": str(bbo.instrument), **prices})
    for instrument_id, rate in step.rates:
        told = {"rate": rate.raw_rate, "interval_hours": rate.interval_hours, "kind": rate.kind, "next": iso(rate.next_funding_time)}
        emit_json_line({"event": "funding", "received_ns": step.t_ns, "instrument": str(instrument_id), **told})


def _trade(trade: Trade) -> dict[str, Any]:
    return {
        "time": iso(trade.ts_venue_ns),
        "instrument": str(trade.instrument),
        "side": trade.side,
        "price": trade.price,
        "quantity": trade.quantity,
        "trade_id": trade.trade_id,
    }


def _show(steps: "Iterator[tuple[Playback, Step]]", found: Statistics, levels: int) -> None:
    """The books side by side with the last trades, as they were."""
    from rich.live import Live

    console = terminal()
    tape: list[Trade] = []
    painted = 0.0
    with Live(console=console, refresh_per_second=10, transient=True) as live:
        for playback, step in steps:
            found.take(playback, step)
            tape = [*step.trades[::-1], *tape][: 2 * levels]
            if time.monotonic() - painted > LOOK_EVERY_S:
                painted = time.monotonic()
                live.update(_picture(playback, step, tape, levels))


def _picture(playback: "Playback", step: "Step", tape: list[Trade], levels: int) -> Any:
    from rich.columns import Columns
    from rich.console import Group
    from rich.text import Text

    from perpkit.cli.book import render

    shown: list[Any] = []
    for instrument in playback.instruments:
        try:
            shown.append(render(playback.client.ws_manager.get_order_book(instrument, levels), instrument))
        except NotReady as e:
            shown.append(Text(f"{instrument.id} not ready: {e.message}", style="yellow"))
    styles = {"buy": "green", "sell": "red"}
    trades = Text("\n").join(
        Text(f"{iso(t.ts_venue_ns)}  {t.instrument.base:<8}{t.side:<5}{number(t.price):>14}{number(t.quantity):>14}", style=styles[t.side])
        for t in tape
    )
    return Group(Text(iso(step.t_ns) or "", style="bold"), Columns(shown, padding=(0, 4)), Text("trades", style="bold"), trades)
