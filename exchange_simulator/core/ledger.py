"""Who owns what: accounts, positions, fills, fees, funding and margin, exact to the last unit.

Conserved at all times, and tested: positions of a market sum to zero (the anonymous account included), and

    sum of (balance + isolated margin - cost of positions) + fees collected + insurance fund = deposits - withdrawals

`cost` is what was paid for the size held, so equity = balance + isolated margins + sum of (size x mark - cost). Where a division leaves a
remainder it stays in `cost` or goes to the insurance fund; it is never lost.

Inverse markets make profit in coin. The ledger turns it into collateral at the price of the fill, keeping the coin itself, so that there

    sum of costs of positions (coin) + coin kept = 0

in each such market, and the money paid for it (`converted`) stands in the sum above in place of those costs. Flat, it kept no coin.
"""

from __future__ import annotations

from exchange_simulator.core.events import BalanceChanged, InsuranceChanged, OrderFilled, PositionChanged
from exchange_simulator.core.log import Log
from exchange_simulator.core.market import MarketState
from exchange_simulator.core.orders import Account, Order, Position
from exchange_simulator.core.types import (
    ANONYMOUS,
    COIN,
    REF,
    UNIT,
    BalanceReason,
    Liquidity,
    MarginMode,
    PositionReason,
    Side,
    TradeKind,
)

# Reaching an enum member through its class costs 140 ns on CPython 3.11, a global 18: these stand on the path of every order.
_BUY = Side.BUY
_NORMAL = TradeKind.NORMAL
_SETTLEMENT = TradeKind.SETTLEMENT
_MAKER, _TAKER = Liquidity.MAKER, Liquidity.TAKER
_CROSS, _ISOLATED = MarginMode.CROSS, MarginMode.ISOLATED
_BY_TRADE = BalanceReason.TRADE


_POSITION_REASON = {
    TradeKind.NORMAL: PositionReason.TRADE,
    TradeKind.LIQUIDATION: PositionReason.LIQUIDATION,
    TradeKind.ADL: PositionReason.ADL,
    TradeKind.SETTLEMENT: PositionReason.SETTLEMENT,
}


class Ledger:
    def __init__(self, log: Log, *, default_initial: int) -> None:
        self._log = log
        self._default_initial = default_initial
        self.accounts: dict[int, Account] = {}
        self.anonymous = self.open(ANONYMOUS)
        self.insurance = 0
        self.fees_collected = 0
        self.converted = 0
        """Money that the coin of inverse markets brought, less what was paid for it."""
        self.deposited = 0
        """Deposits less withdrawals, the insurance fund's included."""

    def open(self, account_id: int) -> Account:
        account = self.accounts[account_id] = Account(account_id, self_trade_group=account_id)
        return account

    def position(self, account: Account, market: MarketState) -> Position:
        position = account.positions.get(market.symbol)
        if position is None:
            spec = market.spec
            mode = MarginMode.ISOLATED if spec.isolated_only else MarginMode.CROSS
            initial = max(self._default_initial, spec.tiers[0].initial)
            position = account.positions[market.symbol] = Position(account, market, initial, mode)
        return position

    # balances

    def credit(self, account: Account, delta: int, reason: BalanceReason) -> None:
        account.balance += delta
        if delta and account.id != ANONYMOUS:
            self._log.put(BalanceChanged(self._log.seq(), self._log.now, account.id, account.balance, delta, reason))

    def insure(self, delta: int) -> None:
        """Money into (positive) or out of the insurance fund, which may go below zero when nobody else is left to pay."""
        if delta:
            self.insurance += delta
            self._log.put(InsuranceChanged(self._log.seq(), self._log.now, self.insurance, delta))

    def put_position(self, position: Position, reason: PositionReason) -> None:
        log = self._log
        account, market = position.account.id, position.market.symbol
        log.put(PositionChanged(log.seq(), log.now, account, market, position.size, position.cost, position.margin, reason))

    # fills

    def fill(
        self,
        position: Position,
        side: Side,
        price: int,
        size: int,
        *,
        trade_id: int,
        order: Order | None,
        liquidity: Liquidity,
        kind: TradeKind,
    ) -> None:
        """One side of a trade: position, fee, realised PnL and isolated margin move, and are told."""
        account, market = position.account, position.market
        before = position.size
        if account.id == ANONYMOUS:
            account.balance += self._move(position, side, price, size, 0)[1]
            return
        fee = self._fee(position, price, size, liquidity) if kind is _NORMAL else 0
        realised, to_balance = self._move(position, side, price, size, fee)
        if order is not None:
            order.filled += size
            order.remaining -= size
            order.value += price * size
            order.fee += fee
            order.updated_ns = self._log.now
        account.fees_paid += fee
        self.fees_collected += fee
        log = self._log
        log.put(
            OrderFilled(
                log.seq(),
                log.now,
                trade_id,
                order.id if order is not None else 0,
                account.id,
                market.symbol,
                order.request.client_id if order is not None else "",
                side,
                price,
                size,
                fee,
                liquidity,
                kind,
                before,
                realised,
                order.filled if order is not None else size,
                order.remaining if order is not None else 0,
            )
        )
        self.put_position(position, _POSITION_REASON[kind])
        self.credit(account, to_balance - fee, _BY_TRADE if kind is not _SETTLEMENT else BalanceReason.SETTLEMENT)

    def _fee(self, position: Position, price: int, size: int, liquidity: Liquidity) -> int:
        """Rounded up to the next unit: the venue never gets less than its rate, a rebate is never more."""
        spec, fees = position.market.spec, position.account.fees
        own = (fees.get(spec.symbol) or fees.get("")) if fees else None
        maker, taker = own or (spec.maker_fee, spec.taker_fee)
        rate = maker if liquidity is _MAKER else taker
        return -(-spec.notional(price, size) * rate // UNIT)

    def _move(self, position: Position, side: Side, price: int, size: int, fee: int) -> tuple[int, int]:
        """Adds that trade to the position. Returns (realised PnL, what the balance gets before the fee)."""
        spec = position.market.spec
        unit = spec.notional_unit
        sign = 1 if side is _BUY else -1
        before = position.size
        closing = min(size, abs(before)) if before * sign < 0 else 0
        realised = to_balance = 0
        if closing:
            closed_cost = position.cost * closing // abs(before)
            if spec.inverse:
                realised = self._convert(position.market, closed_cost + sign * (closing * COIN // price), price)
            else:
                realised = -sign * price * closing * unit - closed_cost
            position.cost -= closed_cost
            position.size += sign * closing
            position.realised += realised
            to_balance = realised if position.mode is _CROSS else self._release(position, realised, closing, abs(before))
        opening = size - closing
        if opening:
            if spec.inverse:
                notional = opening * unit
                position.cost += sign * (size * COIN // price - closing * COIN // price)
            else:
                notional = price * opening * unit
                position.cost += sign * notional
            position.size += sign * opening
            if position.mode is _ISOLATED and position.account.id != ANONYMOUS:
                margin = min(notional * position.initial // UNIT, max(0, position.account.balance + to_balance - fee))
                position.margin += margin
                to_balance -= margin
        self._hold(position, before)
        return realised, to_balance

    def _convert(self, market: MarketState, coins: int, price: int) -> int:
        """The money of a profit (or loss) in coin units, which the ledger keeps (or gives)."""
        value = market.spec.worth(coins, price * REF)
        market.converted += coins
        self.converted -= value
        return value

    def _release(self, position: Position, realised: int, closing: int, before: int) -> int:
        """Isolated: PnL goes into the position's own margin; what is above the share of the rest goes back to the balance."""
        bucket = position.margin + realised
        if position.size == 0:
            position.margin = 0
            if bucket < 0:
                self.insure(bucket)  # a loss beyond the isolated margin is not the account's
                return 0
            return bucket
        keep = position.margin * (before - closing) // before
        position.margin = min(bucket, keep)
        return bucket - position.margin

    def _hold(self, position: Position, before: int) -> None:
        if position.account.id == ANONYMOUS:
            return
        if position.size == 0:
            position.opened_ns = 0
            position.market.holders.pop(position.account.id, None)
        elif before * position.size <= 0:
            position.opened_ns = self._log.now
            position.market.holders[position.account.id] = position

    def pay_funding(self, position: Position, amount: int) -> None:
        position.funding += amount
        if position.mode is _ISOLATED:
            position.margin += amount
            self.put_position(position, PositionReason.FUNDING)
        else:
            self.credit(position.account, amount, BalanceReason.FUNDING)

    # margin

    def equity(self, account: Account) -> int:
        """Cross and isolated together: what would be left if everything closed at mark."""
        total = account.balance
        for position in account.positions.values():
            if position.size:
                total += position.margin + position.market.unrealised(position)
        return total

    def cross_equity(self, account: Account) -> int:
        total = account.balance
        for position in account.positions.values():
            if position.size and position.mode is _CROSS:
                total += position.market.unrealised(position)
        return total

    def cross_standing(self, account: Account) -> tuple[int, int]:
        """`cross_equity` and `cross_maintenance` in one go."""
        equity, maintenance = account.balance, 0
        for position in account.positions.values():
            if position.size and position.mode is _CROSS:
                unrealised, margin = position.market.standing(position)
                equity += unrealised
                maintenance += margin
        return equity, maintenance

    def cross_maintenance(self, account: Account) -> int:
        total = 0
        for position in account.positions.values():
            if position.size and position.mode is _CROSS:
                total += position.market.maintenance_margin(position.size)
        return total

    def initial_margin(self, account: Account) -> int:
        """Cross money that positions and resting orders bind; isolated positions bind only what their orders would add."""
        total = 0
        for position in account.positions.values():
            if position.size or position.buying or position.selling:
                total += self.bound(position, position.worst())
        return total

    def bound(self, position: Position, worst: int) -> int:
        """Cross money this position binds when its worst size is `worst`."""
        market = position.market
        needed = market.initial_margin(worst, position.initial)
        if position.mode is _ISOLATED:
            return max(0, needed - market.initial_margin(abs(position.size), position.initial))
        return needed

    def available(self, account: Account) -> int:
        """Cross equity that nothing binds; below zero when positions moved against the account."""
        return self.cross_equity(account) - self.initial_margin(account)

    def affords(self, position: Position, side: Side, size: int, price: int) -> bool:
        """May the account add an order of that size? Orders that cannot make the worst case worse always pass."""
        worst = position.worst()
        if side is _BUY:
            grown = max(worst, abs(position.size + position.buying + size))
        else:
            grown = max(worst, abs(position.size - position.selling - size))
        if grown <= worst:
            return True
        fee = max(0, self._fee(position, price, grown - worst, _TAKER))
        extra = self.bound(position, grown) - self.bound(position, worst)
        return extra + fee <= self.available(position.account)
