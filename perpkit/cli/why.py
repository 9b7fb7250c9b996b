"""`perpkit why`: everything that was decided and done about one pair or holding, and what another configuration would have decided."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from database.journal import Journal
from database.records import DecisionRecord, FillRecord, HoldingRecord, IntentRecord, LedgerKind, PairRecord
from perpkit.cli.failure import Failure
from perpkit.cli.options import Store
from perpkit.cli.output import emit_json, emit_lines, emit_table, iso, number
from strategies.replay import Rejudged, Replayable, figures

if TYPE_CHECKING:
    from pydantic import BaseModel

Owner = PairRecord | HoldingRecord


def why(
    about: str | None = None,
    /,
    *,
    decision: str | None = None,
    config: Path | None = None,
    store: Store | None = None,
    json: bool = False,
) -> int:
    """The story of one pair or holding: every decision with its inputs, every order, fill and payment.

    Parameters
    ----------
    about:
        Id of the pair or holding, or its beginning; or an asset (BTC): what was decided about it, passed over too. The newest pair when
        left out.
    decision:
        Id of one decision: everything that it looked at.
    config:
        YAML of a bot, or of a strategy's parameters: judge the recorded decisions again as it would have, and show what comes out
        differently.
    json:
        Print JSON.
    """
    journal = (store or Store()).read()
    try:
        if decision is not None:
            return _one(journal, decision, json=json)
        found = find(journal, about)
        decisions = _decisions(journal, found)
        events = story(journal, owner_id(found)) if not isinstance(found, str) else told(decisions)
    finally:
        journal.close()
    if config is not None:
        return _replay(_title(found), decisions, config, json=json)
    if json:
        subject = {"asset": found} if isinstance(found, str) else {_kind(found): as_json(found)}
        emit_json({**subject, "events": events})
        return 0
    emit_lines(_title(found), [(str(event["time"]), event["what"], event["text"], event["detail"]) for event in events])
    return 0


# ---- who is meant


def owner_id(owner: Owner) -> str:
    """Id of a pair or holding."""
    return owner.holding_id if isinstance(owner, HoldingRecord) else owner.pair_id


def _kind(owner: Owner) -> str:
    return "holding" if isinstance(owner, HoldingRecord) else "pair"


def _title(found: Owner | str) -> str:
    match found:
        case str():
            return f"{found}: what was decided"
        case HoldingRecord():
            return f"{found.instrument} {found.holding_id}: {found.strategy}, now {found.state}"
        case PairRecord():
            legs = f"long {found.long_venue}, short {found.short_venue}, {number(found.quantity)} wanted"
            return f"{found.symbol} {found.pair_id}: {legs}, now {found.state}"


def as_json(owner: Owner) -> dict[str, Any]:
    """The journal's record, its times and its plan readable."""
    record: dict[str, Any] = msgspec.to_builtins(owner)
    times: dict[str, Any] = {name: iso(record[name]) for name in ("created_at", "updated_at", "opened_at", "closed_at") if name in record}
    return {**record, **times, "plan": msgspec.json.decode(owner.plan or "{}")}


def find(journal: Journal, about: str | None) -> Owner | str:
    """The pair or holding of that id or of that beginning of an id, or the asset of that name; the newest pair or holding when None."""
    known: list[Owner] = sorted([*journal.pairs(), *journal.holdings()], key=lambda owner: owner.created_at)
    found = [one for one in known if about is None or owner_id(one).startswith(about)]
    if about is not None and not found and any(d.symbol == about for d in journal.decisions()):
        return about
    if not known:
        raise Failure("the journal holds no pair yet", hint="`perpkit demo` makes one")
    if not found:
        raise Failure(f"no pair, holding or asset {about!r}", hint=f"the newest are {', '.join(owner_id(one) for one in known[-3:])}")
    if about is not None and len(found) > 1 and all(owner_id(one) != about for one in found):
        raise Failure(f"{about!r} is the beginning of {len(found)} pairs", hint="write more of the id")
    return next((one for one in found if owner_id(one) == about), found[-1])


def _decisions(journal: Journal, found: Owner | str) -> list[DecisionRecord]:
    if isinstance(found, str):
        return [d for d in journal.decisions() if d.symbol == found]
    return journal.decisions(owner_id(found))


# ---- the story


def story(journal: Journal, owner: str) -> list[dict[str, Any]]:
    """What happened, oldest first: {time, what, text, detail}; `detail` holds the inputs of decisions."""
    events: list[tuple[int, int, dict[str, Any]]] = []

    def add(ts_ns: int, rank: int, what: str, text: str, detail: dict[str, Any] | None = None) -> None:
        events.append((ts_ns, rank, {"time": iso(ts_ns), "what": what, "text": text, "detail": detail or {}}))

    for decision in journal.decisions(owner):
        add(decision.ts, 0, "decision", _said(decision), _inputs(decision))
    for intent in journal.intents(owner):
        add(intent.created_at, 1, "order", _order(intent))
    for fill in journal.fills(owner):
        add(fill.ts_venue, 2, "fill", _fill(fill))
    for payment in journal.funding(owner):
        rate = "" if payment.rate is None else f" at {payment.rate.normalize():f}"
        verb = "paid to" if payment.amount < 0 else "received from"
        add(payment.ts_venue, 3, "funding", f"{number(abs(payment.amount))} {verb} {payment.venue}{rate}")
    for line in journal.ledger(owner):
        if line.kind in (LedgerKind.FEE, LedgerKind.FUNDING):
            continue  # told with the fill or the payment
        note = f" ({line.note})" if line.note else ""
        add(line.ts, 4, "ledger", f"{line.kind} {number(line.amount)} {line.asset}".rstrip() + f" on {line.venue}{note}")
    return [event for _, _, event in sorted(events, key=lambda item: item[:2])]


def told(decisions: list[DecisionRecord]) -> list[dict[str, Any]]:
    """Decisions alone, as a story."""
    return [{"time": iso(d.ts), "what": "decision", "text": _said(d), "detail": _inputs(d)} for d in decisions]


def _said(decision: DecisionRecord) -> str:
    return f"{decision.kind}: {decision.rule} -> {decision.outcome} [{decision.decision_id}]"


def _inputs(decision: DecisionRecord) -> dict[str, Any]:
    parts = {"inputs": figures(decision.inputs)}
    parts |= {name: msgspec.json.decode(text or "{}") for name, text in (("thresholds", decision.thresholds), ("ages", decision.ages))}
    return {name: values for name, values in parts.items() if values}


def _order(intent: IntentRecord) -> str:
    price = "at market" if intent.limit_price is None else f"at {number(intent.limit_price)}"
    flags = " reduce-only" if intent.reduce_only else ""
    note = f", {intent.note}" if intent.note else ""
    tag = f" [{intent.tag}]" if intent.tag else ""
    return (
        f"{intent.purpose}: {intent.side} {number(intent.quantity)} {price} {intent.time_in_force}{flags} on {intent.venue}{tag} "
        f"(client id {intent.client_order_id}): {intent.state}{note}; {intent.reason}"
    )


def _fill(fill: FillRecord) -> str:
    cause = "" if fill.kind == "trade" else f" by {fill.kind}"
    return (
        f"{fill.side} {number(fill.quantity)} at {number(fill.price)} on {fill.venue}{cause}, {fill.liquidity}, "
        f"fee {number(fill.fee)} {fill.fee_asset} (trade {fill.trade_id})"
    )


# ---- one decision


def _one(journal: Journal, decision_id: str, *, json: bool) -> int:
    """Everything that one decision looked at."""
    found = next((d for d in journal.decisions() if d.decision_id == decision_id), None)
    if found is None:
        raise Failure(f"no decision {decision_id!r}", hint="`perpkit why PAIR` shows their ids in brackets")
    parts = {name: msgspec.json.decode(getattr(found, name) or "{}") for name in ("inputs", "thresholds", "ages")}
    if json:
        emit_json({**msgspec.to_builtins(found), "ts": iso(found.ts), **parts})
        return 0
    emit_table(
        f"{iso(found.ts)} {_said(found)}",
        ["of", "what", "value"],
        [(name, key, value) for name, values in parts.items() for key, value in _flat(values)],
    )
    return 0


def _flat(values: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Nested values as dotted names."""
    if isinstance(values, dict) and values:
        for key, value in values.items():
            yield from _flat(value, f"{path}.{key}" if path else key)
    elif isinstance(values, list) and values and isinstance(values[0], dict):
        for number_, value in enumerate(values):
            yield from _flat(value, f"{path}.{number_}")
    else:
        yield path, "-" if values is None else str(values)


# ---- another configuration


def _replay(title: str, decisions: list[DecisionRecord], path: Path, *, json: bool) -> int:
    """The recorded decisions as another configuration would have taken them."""
    from strategies import registry

    if not decisions:
        raise Failure("nothing was decided about it", hint="only pairs of a strategy have decisions")
    kind = registry.load(decisions[0].strategy)
    if not issubclass(kind, Replayable):
        raise Failure(f"decisions of {decisions[0].strategy} cannot be judged again", hint="`perpkit why` without --config tells them")
    found = kind.rejudge(decisions, _parameters(path, decisions[0].strategy))
    if json:
        emit_json({"decisions": [_as_row(one) for one in found], "different": sum(one.differs for one in found)})
        return 0
    rows = [
        (
            str(iso(one.decision.ts)),
            f"{one.decision.kind} {one.decision.rule}",
            "cannot be judged again" if one.kind is None else f"{one.kind} {one.rule}",
            "DIFFERENT" if one.differs else "other reason" if one.other_reason else "",
            one.detail if one.differs or one.other_reason or one.kind is None else "",
        )
        for one in found
    ]
    notes = [f"{len(found)} decisions, {sum(one.differs for one in found)} would have come out differently"]
    if any(one.differs and one.decision.kind == "enter" for one in found):
        notes.append("it would not have been entered; what follows is judged as if it had")
    if any(one.kind == "ask" for one in found):
        notes.append("ask: nothing in the record speaks against it, but the venues were not asked then")
    emit_table(f"{title}; judged again with {path.name}", ["time", "was", "would be", "", "because"], rows, notes=notes)
    return 0


def _as_row(one: Rejudged) -> dict[str, Any]:
    return {
        "decision": one.decision.decision_id,
        "time": iso(one.decision.ts),
        "was": {"kind": one.decision.kind, "rule": one.decision.rule, "outcome": one.decision.outcome},
        "would_be": None if one.kind is None else {"kind": one.kind, "rule": one.rule, "outcome": one.detail},
        "different": one.differs,
        "note": one.detail if one.kind is None else "",
    }


def _parameters(path: Path, strategy: str) -> "BaseModel":
    """A bot's file, or bare parameters."""
    import yaml

    from perpkit.bot.config import InvalidConfig, load
    from strategies import registry
    from strategies.base_strategy import InvalidParameters

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as e:
        raise Failure(f"{path} cannot be read: {e}", hint="check the path given with --config") from e
    except yaml.YAMLError as e:
        raise Failure(f"{path} is not YAML: {e}") from e
    if not isinstance(values, dict):
        raise Failure(f"{path} must be a mapping", hint="the YAML of a bot, or the parameters of its strategy")
    try:
        if "strategy" not in values or "venues" not in values:
            return registry.load(strategy).validate_parameters(values)
        bot = load(path)
    except (InvalidConfig, InvalidParameters) as e:
        raise Failure(f"{path}: {e}".replace("\n", "; "), hint="`perpkit config check` explains") from e
    if bot.strategy != strategy:
        raise Failure(f"{path} is for {bot.strategy}, these decisions are of {strategy}")
    return bot.strategy_config
