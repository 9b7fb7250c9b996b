"""What happens to an account below maintenance margin.

1. Its orders in the affected markets are cancelled (all cross markets, or the one isolated market).
2. Positions are closed on the book, the one with the largest requirement first, in chunks (`Rules.liquidation_chunk`), never at a price
   beyond bankruptcy (the price at which the equity would be zero), until maintenance margin is met again. No taker fee; the market's
   liquidation fee goes to the insurance fund as far as the account can pay it.
3. If that was not enough and equity is below `Rules.closeout` of maintenance: the book is taken beyond bankruptcy as far as the insurance
   fund can pay the difference.
4. What is left is closed at the bankruptcy price against the other side (ADL): holders ranked by return on entry x leverage, winners
   first; anonymous liquidity last, so somebody is always there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from exchange_simulator.core.events import Adl, Liquidated
from exchange_simulator.core.orders import Account, Position
from exchange_simulator.core.types import (
    COIN,
    REF,
    UNIT,
    BalanceReason,
    CancelReason,
    MarginMode,
    MarketStatus,
    OrderStatus,
    PositionReason,
    Side,
    TradeKind,
)

if TYPE_CHECKING:
    from exchange_simulator.core.engine import Engine

_FROZEN = (MarketStatus.HALTED, MarketStatus.DELISTED)


# Reaching an enum member through its class costs 140 ns on CPython 3.11, a global 18: these stand on the path of every order.
_CROSS, _ISOLATED = MarginMode.CROSS, MarginMode.ISOLATED


class Liquidator:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ledger = engine.ledger
        self._log = engine.log

    def check(self, account: Account) -> None:
        """Also the place where a balance that fell below zero without a position behind it is made good."""
        equity, maintenance, cross = account.balance, 0, False
        for position in account.positions.values():
            if position.size:
                if position.mode is _ISOLATED:
                    self._bring_back(account, [position])
                else:
                    cross = True
                    unrealised, margin = position.market.standing(position)
                    equity += unrealised
                    maintenance += margin
        if cross and equity < maintenance:
            self._bring_back(account, [p for p in account.positions.values() if p.size and p.mode is _CROSS])
        if account.balance < 0 and not any(p.size and p.mode is _CROSS for p in account.positions.values()):
            owed = -account.balance
            self._ledger.credit(account, owed, BalanceReason.INSURANCE)
            self._ledger.insure(-owed)

    def _equity(self, position: Position) -> int:
        """Of what stands behind the position: its own margin, or the whole cross account."""
        if position.mode is _ISOLATED:
            return position.margin + position.market.unrealised(position)
        return self._ledger.cross_equity(position.account)

    def _maintenance(self, position: Position) -> int:
        if position.mode is _ISOLATED:
            return position.market.maintenance_margin(position.size)
        return self._ledger.cross_maintenance(position.account)

    def _healthy(self, position: Position) -> bool:
        return self._equity(position) >= self._maintenance(position)

    def _bring_back(self, account: Account, positions: list[Position]) -> None:
        if self._healthy(positions[0]):
            return
        markets = {p.market.symbol for p in positions}
        cross = positions[0].mode is MarginMode.CROSS
        for order in tuple(account.orders.values()):
            if order.market.symbol in markets or (cross and order.position.mode is MarginMode.CROSS):
                self._engine.close_order(order, OrderStatus.CANCELLED, CancelReason.LIQUIDATION)
        positions = [p for p in positions if p.market.spec.status not in _FROZEN]
        positions.sort(key=lambda p: -p.market.maintenance_margin(p.size))
        for position in positions:
            while position.size and self._equity(position) > 0 and not self._healthy(position):
                if not self._close_on_book(position):
                    break
        for position in positions:
            if position.size and self._equity(position) * UNIT < self._maintenance(position) * self._engine.rules.closeout:
                self._close_out(position)

    def _bankruptcy_ticks(self, position: Position) -> int:
        """Worst price at which closing everything leaves nothing owed, rounded to the account's side of the tick; at least one."""
        market, size = position.market, position.size
        spec = market.spec
        if spec.inverse:
            owed = (spec.worth(position.cost, market.mark) - self._equity(position)) * COIN
            per_tick = position.cost * spec.notional_unit
        else:
            owed = size * market.mark * spec.ref_unit - self._equity(position)
            per_tick = size * spec.notional_unit
        return max(1, -(-owed // per_tick) if size > 0 else owed // per_tick)

    def _close_on_book(self, position: Position) -> bool:
        """One chunk at bankruptcy or better. False when the book gave nothing."""
        size = abs(position.size)
        chunk = min(size, max(position.market.spec.min_size, -(-size * self._engine.rules.liquidation_chunk // UNIT)))
        return self._take(position, chunk, self._bankruptcy_ticks(position), bankrupt=False)

    def _take(self, position: Position, size: int, limit: int, *, bankrupt: bool) -> bool:
        side = Side.SELL if position.size > 0 else Side.BUY
        market = position.market
        before = position.account.balance
        left, _ = self._engine.match(position, side, size, limit, order=None, kind=TradeKind.LIQUIDATION)
        taken = size - left
        if taken == 0:
            return False
        fee = self._charge(position, market.spec.notional(market.last, taken), position.account.balance - before)
        log = self._log
        log.put(Liquidated(log.seq(), log.now, position.account.id, market.symbol, side, taken, market.last, market.mark, fee, bankrupt))
        return True

    def _charge(self, position: Position, notional: int, released: int) -> int:
        """Takes the liquidation fee from what stood behind the position: `released` is what its closing gave to the balance."""
        spec, account = position.market.spec, position.account
        wanted = notional * spec.liquidation_fee // UNIT
        if position.mode is MarginMode.ISOLATED and position.size:
            fee = max(0, min(wanted, self._equity(position)))
            position.margin -= fee
            if fee:
                self._ledger.put_position(position, PositionReason.LIQUIDATION)
        else:
            left = released if position.mode is MarginMode.ISOLATED else self._ledger.cross_equity(account)
            fee = max(0, min(wanted, left))
            self._ledger.credit(account, -fee, BalanceReason.LIQUIDATION_FEE)
        self._ledger.insure(fee)
        return fee

    def _close_out(self, position: Position) -> None:
        edge = self._bankruptcy_ticks(position)
        limit, size = self._insured(position, edge)
        if size and self._take(position, size, limit, bankrupt=True):
            self._cover(position, edge)
        if position.size:
            self._deleverage(position, self._bankruptcy_ticks(position))
            self._cover(position, edge)

    def _insured(self, position: Position, edge: int) -> tuple[int, int]:
        """(limit, size) the book may be taken to with the fund paying what lies beyond bankruptcy."""
        market, wanted = position.market, abs(position.size)
        long = position.size > 0
        book = market.book.bids if long else market.book.asks
        fund = max(0, self._ledger.insurance)
        size = limit = 0
        for price, _, _ in book.best_first():
            here = min(wanted - size, book.total(price))
            loss = self._loss(position, max(0, edge - price if long else price - edge))
            if loss:
                here = min(here, fund // loss)
            if here == 0:
                break
            fund -= here * loss
            size, limit = size + here, price
        return limit, size

    @staticmethod
    def _loss(position: Position, ticks: int) -> int:
        """Money that closing one step that many ticks beyond bankruptcy costs, rounded up."""
        spec = position.market.spec
        if spec.inverse:
            return -(-abs(position.cost) * ticks * spec.notional_unit // (abs(position.size) * COIN))
        return ticks * spec.notional_unit

    def _cover(self, position: Position, edge: int) -> None:
        """The fund pays what was closed beyond bankruptcy, so that the rest of the position is bankrupt at `edge` as before."""
        market, size = position.market, position.size
        spec = market.spec
        if spec.inverse:
            rest = spec.worth(position.cost, market.mark) - spec.worth(position.cost, edge * REF)
        else:
            rest = size * (market.mark * spec.ref_unit - edge * spec.notional_unit)
        owed = rest - self._equity(position)
        if owed <= 0:
            return
        if position.mode is MarginMode.ISOLATED:
            position.margin += owed
            self._ledger.put_position(position, PositionReason.LIQUIDATION)
        else:
            self._ledger.credit(position.account, owed, BalanceReason.INSURANCE)
        self._ledger.insure(-owed)

    def _deleverage(self, position: Position, price: int) -> None:
        market, log = position.market, self._log
        side = Side.SELL if position.size > 0 else Side.BUY
        wanted = abs(position.size)
        for other in self._ranked(position):
            size = min(abs(other.size), abs(position.size))
            if size == 0:
                break
            self._engine.trade(other, None, position, None, side, price, size, TradeKind.ADL)
            if other is not market.anonymous:
                log.put(Adl(log.seq(), log.now, other.account.id, market.symbol, side.opposite, size, price, position.account.id))
        log.put(Liquidated(log.seq(), log.now, position.account.id, market.symbol, side, wanted, price, market.mark, 0, True))

    def _ranked(self, position: Position) -> list[Position]:
        market = position.market
        others = [p for p in market.holders.values() if p.size * position.size < 0]
        others.sort(key=lambda p: (-self._score(p), p.account.id))
        if market.anonymous.size * position.size < 0:
            others.append(market.anonymous)
        return others

    def _score(self, position: Position) -> int:
        """Return on entry x leverage, scaled; the same order on every machine."""
        profit = position.market.unrealised(position)
        notional = position.market.notional(position.size)
        paid = notional if position.market.spec.inverse else abs(position.cost)
        return profit * notional * UNIT // (max(1, paid) * max(1, self._equity(position)))
