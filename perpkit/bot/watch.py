"""From what engines tell to what a human is told."""

import asyncio
from decimal import Decimal

from database.records import FillCause, PairState
from exchange_clients.transport.clock import Clock
from perpkit.bot.notify import NoticeKind, Notifier

OFFLINE_S = 30.0
"""A venue that answers again within this time was no news."""
FORCED = frozenset({FillCause.LIQUIDATION, FillCause.ADL, FillCause.SETTLEMENT})


class Watch:
    """An observer of engines and desks (`strategies.execution.journaling.Observer`) that posts what matters. Returns at once."""

    def __init__(self, notifier: Notifier, clock: Clock, *, offline_s: float = OFFLINE_S) -> None:
        self._notifier, self._clock, self._offline_s = notifier, clock, offline_s
        self._opened: set[str] = set()
        self._gone: dict[str, asyncio.TimerHandle] = {}

    def __call__(self, event: str, pair_id: str, **facts: object) -> None:
        """As the Observer protocol."""
        match event:
            case "pair.state" | "holding.state":
                self._state(pair_id, str(facts.get("before")), str(facts.get("state")), str(facts.get("reason")))
            case "fill" if facts.get("cause") in FORCED:
                where = f" on {facts['venue']}" if "venue" in facts else ""
                text = f"{facts.get('cause')}{where}: {facts.get('side')} {facts.get('quantity')} at {facts.get('price')}"
                self._notifier.post(NoticeKind.LIQUIDATION, f"{pair_id}: the venue closed a position", text, key=f"{pair_id}:{facts}")
            case "fill.after_close":
                self._notifier.post(
                    NoticeKind.ALERT, f"{pair_id}: a fill came after the end", f"own {facts.get('own')}", key=f"{pair_id}:late"
                )
            case "risk.liquidation_near":
                distance = facts.get("distance")
                away = f"{distance * 100:.1f} % away" if isinstance(distance, Decimal) else "near"
                title = f"{pair_id}: liquidation is {away} on {facts.get('venue')}"
                advice = f"{facts.get('advice', '')}"
                self._notifier.post(NoticeKind.LIQUIDATION_RISK, title, advice, key=f"{pair_id}:{facts.get('venue')}:{advice}")
            case "risk.margin_unknown":
                title = f"{pair_id}: its distance to liquidation is not known"
                self._notifier.post(NoticeKind.ALERT, title, str(facts.get("reason")), key=f"{pair_id}:margin")
            case "risk.watchdog_acted":
                text = f"{facts.get('side')} {facts.get('quantity')} on {facts.get('venue')}"
                self._notifier.post(NoticeKind.ALERT, f"{pair_id}: a watchdog acted for its bot", text, key=f"{pair_id}:watchdog:{text}")
            case "risk.dead_man_unsure":
                title = f"{facts.get('venue')}: its dead-man switch may cancel orders that should stay"
                self._notifier.post(NoticeKind.ALERT, title, str(facts.get("reason")), key=f"dead_man:{facts.get('venue')}")
            case "halt.set":
                text = f"by {facts.get('who')}; exits go on, `perpkit resume` when you have looked"
                self._notifier.post(NoticeKind.HALT, f"halted: {facts.get('reason')}", text, key=f"{facts.get('reason')}")
            case "halt.cleared":
                self._notifier.post(NoticeKind.HALT, f"resumed by {facts.get('who')}", key=f"cleared {facts.get('reason')}")
            case "risk.daily_loss":
                title = f"the loss of the day is {facts.get('loss')} USD, the limit {facts.get('limit')}"
                self._notifier.post(NoticeKind.ALERT, title, key="daily_loss")
            case "risk.breaker_open":
                title = f"{facts.get('venue')}: entries stopped"
                self._notifier.post(NoticeKind.ALERT, title, str(facts.get("reason")), key=f"breaker:{facts.get('venue')}")
            case "protection.failed" | "protection.blind" | "protection.unwatched":
                title = f"{pair_id}: its {event.partition('.')[2]} protection needs you" if pair_id else f"{event} on {facts.get('venue')}"
                self._notifier.post(NoticeKind.ALERT, title, str(facts.get("reason", "")), key=f"{pair_id}:{event}")
            case "emulated.over" if facts.get("good") is False:
                self._notifier.post(
                    NoticeKind.ALERT, f"{pair_id}: an order group ended badly", str(facts.get("reason", "")), key=f"{pair_id}:{facts}"
                )
            case "venue.gap" | "venue.not_connected":
                self._gap(str(facts.get("venue")), str(facts.get("reason")))
            case "venue.proved":
                self._back(str(facts.get("venue")))

    def stopped(self, bot: str, ending: str) -> None:
        """A bot came to its end."""
        self._notifier.post(NoticeKind.BOT_STOPPED, f"{bot} stopped", ending, key=f"{bot}:{ending}")

    def close(self) -> None:
        """No timer is left."""
        for timer in self._gone.values():
            timer.cancel()
        self._gone.clear()

    def _state(self, owner_id: str, before: str, state: str, reason: str) -> None:
        if state == PairState.HEDGED and before == PairState.OPENING and owner_id not in self._opened:
            self._opened.add(owner_id)
            self._notifier.post(NoticeKind.OPENED, f"{owner_id} opened", reason, key=owner_id)
        elif state == PairState.CLOSED:
            self._opened.discard(owner_id)
            self._notifier.post(NoticeKind.CLOSED, f"{owner_id} closed", reason, key=owner_id)
        elif state == PairState.ALERT:
            self._notifier.post(NoticeKind.ALERT, f"{owner_id} needs you", f"{reason}; run perpkit recover", key=f"{owner_id}:{reason}")

    def _gap(self, venue: str, reason: str) -> None:
        if venue not in self._gone:
            self._gone[venue] = asyncio.get_running_loop().call_later(self._offline_s, self._offline, venue, reason)

    def _offline(self, venue: str, reason: str) -> None:
        self._notifier.post(NoticeKind.VENUE_OFFLINE, f"{venue} is offline", f"{reason}; nothing is entered there", key=venue)

    def _back(self, venue: str) -> None:
        timer = self._gone.pop(venue, None)
        if timer is not None:
            timer.cancel()
