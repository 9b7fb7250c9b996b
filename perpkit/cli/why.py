"""`perpkit why`: everything that was decided and done about one pair, in the order it happened."""

from typing import Any

import msgspec

from database.journal import Journal
from database.records import DecisionRecord, FillRecord, IntentRecord, LedgerKind, PairRecord
from perpkit.cli.failure import Failure
from perpkit.cli.options import Store
from perpkit.cli.output import emit_json, emit_lines, iso, number


def why(pair: str | None = None, /, *, store: Store | None = None, json: bool = False) -> int:
    """The story of one pair: every decision with its inputs, every order, fill and payment.

    Parameters
    ----------
    pair:
        Id of the pair, or its beginning; the newest pair when left out.
    json:
        Print JSON.
    """
    journal = (store or Store()).read()
    try:
        found = find_pair(journal, pair)
        events = story(journal, found.pair_id)
    finally:
        journal.close()
    if json:
        emit_json({"pair": as_json(found), "events": events})
        return 0
    legs = f"long {found.long_venue}, short {found.short_venue}, {number(found.quantity)} wanted"
    title = f"{found.symbol} {found.pair_id}: {legs}, now {found.state}"
    emit_lines(title, [(str(event["time"]), event["what"], event["text"], event["detail"]) for event in events])
    return 0


def as_json(pair: PairRecord) -> dict[str, Any]:
    """The journal's record, its times and its plan readable."""
    told: dict[str, Any] = msgspec.to_builtins(pair)
    times = {name: iso(getattr(pair, name)) for name in ("created_at", "updated_at", "opened_at", "closed_at")}
    return {**told, **times, "plan": msgspec.json.decode(pair.plan or "{}")}


def find_pair(journal: Journal, pair: str | None) -> PairRecord:
    """The pair of that id or of that beginning of an id; the newest when None."""
    known = journal.pairs()
    if not known:
        raise Failure("the journal holds no pair yet", hint="`perpkit demo` makes one")
    found = [one for one in known if pair is None or one.pair_id.startswith(pair)]
    if not found:
        raise Failure(f"no pair {pair!r}", hint=f"the newest are {', '.join(one.pair_id for one in known[-3:])}")
    if pair is not None and len(found) > 1 and all(one.pair_id != pair for one in found):
        raise Failure(f"{pair!r} is the beginning of {len(found)} pairs", hint="write more of the id")
    return next((one for one in found if one.pair_id == pair), found[-1])


def story(journal: Journal, pair_id: str) -> list[dict[str, Any]]:
    """What happened, oldest first: {time, what, text, detail}; `detail` holds the inputs of decisions."""
    events: list[tuple[int, int, dict[str, Any]]] = []

    def add(ts_ns: int, rank: int, what: str, text: str, detail: dict[str, Any] | None = None) -> None:
        events.append((ts_ns, rank, {"time": iso(ts_ns), "what": what, "text": text, "detail": detail or {}}))

    for decision in journal.decisions(pair_id):
        add(decision.ts, 0, "decision", f"{decision.kind}: {decision.rule} -> {decision.outcome}", _inputs(decision))
    for intent in journal.intents(pair_id):
        add(intent.created_at, 1, "order", _order(intent))
    for fill in journal.fills(pair_id):
        add(fill.ts_venue, 2, "fill", _fill(fill))
    for payment in journal.funding(pair_id):
        rate = "" if payment.rate is None else f" at {payment.rate.normalize():f}"
        verb = "paid to" if payment.amount < 0 else "received from"
        add(payment.ts_venue, 3, "funding", f"{number(abs(payment.amount))} {verb} {payment.venue}{rate}")
    for line in journal.ledger(pair_id):
        if line.kind in (LedgerKind.FEE, LedgerKind.FUNDING):
            continue  # told with the fill or the payment
        note = f" ({line.note})" if line.note else ""
        add(line.ts, 4, "ledger", f"{line.kind} {number(line.amount)} {line.asset}".rstrip() + f" on {line.venue}{note}")
    return [event for _, _, event in sorted(events, key=lambda item: item[:2])]


def _inputs(decision: DecisionRecord) -> dict[str, Any]:
    return {
        name: msgspec.json.decode(text) for name in ("inputs", "thresholds", "ages") if (text := getattr(decision, name)) not in ("", "{}")
    }


def _order(intent: IntentRecord) -> str:
    price = "at market" if intent.limit_price is None else f"at {number(intent.limit_price)}"
    flags = " reduce-only" if intent.reduce_only else ""
    note = f", {intent.note}" if intent.note else ""
    return (
        f"{intent.purpose}: {intent.side} {number(intent.quantity)} {price} {intent.time_in_force}{flags} on {intent.venue} "
        f"(client id {intent.client_order_id}): {intent.state}{note}; {intent.reason}"
    )


def _fill(fill: FillRecord) -> str:
    cause = "" if fill.kind == "trade" else f" by {fill.kind}"
    return (
        f"{fill.side} {number(fill.quantity)} at {number(fill.price)} on {fill.venue}{cause}, {fill.liquidity}, "
        f"fee {number(fill.fee)} {fill.fee_asset} (trade {fill.trade_id})"
    )
