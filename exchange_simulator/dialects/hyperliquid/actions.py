"""POST /exchange: from a signed envelope to what the exchange does and the venue's words for it."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec

from exchange_simulator.core.market import MarketState
from exchange_simulator.core.orders import Order
from exchange_simulator.core.types import (
    UNIT,
    CancelReason,
    GroupKind,
    MarginMode,
    NewOrder,
    OrderStatus,
    OrderType,
    PostOnly,
    RejectReason,
    Side,
    TimeInForce,
    Trigger,
    TriggerKind,
    to_money,
)
from exchange_simulator.dialects.base import Refusal
from exchange_simulator.dialects.hyperliquid import signatures as s
from exchange_simulator.dialects.hyperliquid import wire
from exchange_simulator.dialects.hyperliquid.wallets import Wallet

if TYPE_CHECKING:
    from exchange_simulator.dialects.hyperliquid.dialect import HyperliquidDialect

MS: Final = 10**6
DAY_MS: Final = 86_400_000
SWITCH_NOTICE_MS: Final = 5_000
TIFS: Final = {"Gtc", "Ioc", "Alo", "FrontendMarket"}
DEFAULT: Final = {"type": "default"}

WORDS: Final = {
    RejectReason.INSUFFICIENT_MARGIN: "Insufficient margin to place order.",
    RejectReason.REDUCE_ONLY: "Reduce only order would increase position.",
    RejectReason.MIN_NOTIONAL: "Order must have minimum value of $10.",
    RejectReason.MIN_SIZE: "Order must have minimum value of $10.",
    RejectReason.BAD_TRIGGER: "Invalid TP/SL price.",
    RejectReason.BAD_GROUP: "Invalid TP/SL price.",
    RejectReason.BAD_SIZE: "Order has zero size.",
    RejectReason.BAD_PRICE: "Order has invalid price.",
    RejectReason.MAX_SIZE: "Order has invalid size.",
    RejectReason.PRICE_BAND: "Order price cannot be more than 80% away from the reference price",
    RejectReason.TOO_MANY_ORDERS: "Too many open orders.",
    RejectReason.MARKET_STATUS: "Trading is halted.",
    RejectReason.NO_MARK_PRICE: "Trading is halted.",
    RejectReason.UNKNOWN_ORDER: "Cannot modify canceled or filled order",
}
NEVER_PLACED: Final = "Order was never placed, already canceled, or filled."


def err(message: str) -> Refusal:
    """A 200 with `{"status":"err"}`."""
    return Refusal("err", message)


class Actions:
    """What signed requests do. One dialect has one."""

    def __init__(self, dialect: HyperliquidDialect) -> None:
        self.dialect = dialect
        self.exchange = dialect.exchange

    def execute(self, body: bytes) -> dict[str, Any]:
        """The reply of one envelope.

        Raises:
            Refusal: the envelope as a whole.
        """
        try:
            envelope = msgspec.json.decode(body, type=s.Envelope)
        except msgspec.ValidationError as e:
            raise s.schema_error(str(e)) from None
        except msgspec.DecodeError as e:
            raise Refusal("json", f"Failed to parse the request body as JSON: {e}", status=400) from None
        if envelope.vaultAddress is not None:
            envelope.vaultAddress = envelope.vaultAddress.lower()
        raw = bytes(envelope.action)
        try:
            kind = msgspec.json.decode(raw).get("type")
        except AttributeError:
            raise s.schema_error("action") from None
        return self._user_signed(envelope, raw) if kind in s.USER_SIGNED else self._l1(envelope, raw)

    # ---- user-signed

    def _user_signed(self, envelope: s.Envelope, raw: bytes) -> dict[str, Any]:
        action: dict[str, Any] = msgspec.json.decode(raw)
        signer = s.recover_user_signed(action, envelope.signature)
        wallet = self.dialect.wallets.get(signer)
        if wallet is None:
            raise err(f"Must deposit before performing actions. User: {signer}")
        if action.get("nonce", action.get("time")) != envelope.nonce:
            raise s.schema_error("nonce")
        wanted = "Mainnet" if self.dialect.mainnet else "Testnet"
        if action["hyperliquidChain"] != wanted:
            raise err(f"Must deposit before performing actions. User: {signer}")
        self.dialect.use_nonce(signer, envelope.nonce)
        match action["type"]:
            case "approveAgent":
                name = action.get("agentName") or ""
                for address in [a for a, (other, _) in wallet.agents.items() if other == name]:
                    del wallet.agents[address]
                valid_until = int(name.rpartition(" valid_until ")[2]) if " valid_until " in name else self.dialect.now_ms() + 90 * DAY_MS
                wallet.agents[action["agentAddress"].lower()] = (name, valid_until)
            case "approveBuilderFee":
                wallet.builders[action["builder"].lower()] = action["maxFeeRate"]
            case "usdSend":
                self._send_usd(wallet, action["destination"].lower(), Decimal(action["amount"]))
        return {"status": "ok", "response": DEFAULT}

    def _send_usd(self, wallet: Wallet, destination: str, amount: Decimal) -> None:
        receiver = self.dialect.wallets.get(destination)
        if receiver is None or amount <= 0:
            raise err("Invalid destination or amount.")
        units, now = to_money(round(amount, 6)), self.dialect.now_ns()
        if self.exchange.withdraw(now, wallet.account, units) is not None:
            raise err("Insufficient balance for transfer.")
        self.exchange.deposit(now, receiver.account, units)

    # ---- L1 actions

    def _l1(self, envelope: s.Envelope, raw: bytes) -> dict[str, Any]:
        action = s.decode_action(raw)
        signer = s.recover_l1(action, envelope, mainnet=self.dialect.mainnet)
        wallet = self._owner(signer, envelope.vaultAddress)
        now_ms = self.dialect.now_ms()
        if envelope.expiresAfter is not None and now_ms > envelope.expiresAfter:
            raise err(f"Action expired: expiresAfter {envelope.expiresAfter} is before block time {now_ms}.")
        self.dialect.use_nonce(signer, envelope.nonce)
        wallet.charge(_actions_in(action), *self.dialect.action_budget(wallet), now_ms)
        match action:
            case s.OrderAction():
                return _statuses("order", self._place(wallet, action))
            case s.CancelAction():
                return _statuses("cancel", [self._cancel(wallet, c.a, self.exchange.order(c.o)) for c in action.cancels])
            case s.CancelByCloidAction():
                found = [(c.asset, self.exchange.order_by_client_id(wallet.account, c.cloid)) for c in action.cancels]
                return _statuses("cancel", [self._cancel(wallet, asset, order) for asset, order in found])
            case s.ModifyAction():
                status = self._modify(wallet, action.oid, action.order)
                if "error" in status:
                    raise err(status["error"])
                return {"status": "ok", "response": DEFAULT}
            case s.BatchModifyAction():
                return _statuses("order", [self._modify(wallet, entry.oid, entry.order) for entry in action.modifies])
            case s.LeverageAction():
                self._set_leverage(wallet, action)
            case s.IsolatedMarginAction():
                market = self._market(action.asset)
                amount = action.ntli * 10**6
                if self.exchange.move_isolated_margin(self.dialect.now_ns(), wallet.account, market.symbol, amount) is not None:
                    raise err("Insufficient margin to update isolated margin.")
            case s.ScheduleCancelAction():
                self._schedule_cancel(wallet, action.time, now_ms)
            case s.ReserveWeightAction():
                wallet.requests -= action.weight
        return {"status": "ok", "response": DEFAULT}

    def _owner(self, signer: str, vault: str | None) -> Wallet:
        """Whose account is traded: the signer's, its master's, or the sub-account named as vault."""
        now_ms = self.dialect.now_ms()
        wallets = self.dialect.wallets
        owners = (w for w in wallets.values() if signer in w.agents and w.agents[signer][1] > now_ms)
        master = wallets.get(signer) or next(owners, None)
        if master is None:
            raise err(f"User or API Wallet {signer} does not exist.")
        if vault is None or vault == master.address:
            return master
        owned = wallets.get(vault)
        if owned is None or owned.master != master.address:
            raise err(f"Vault not registered: {vault}")
        return owned

    def _market(self, asset: int) -> MarketState:
        symbol = self.dialect.symbol_of(asset)
        if symbol is None:
            raise err(f"Order has invalid asset. asset={asset}")
        return self.exchange.markets[symbol]

    # ---- orders

    def _place(self, wallet: Wallet, action: s.OrderAction) -> list[Any]:
        """What can be judged from the payload alone is judged first, and told once for the whole of it."""
        try:
            orders = [self._new(wallet, wired, positions=action.grouping == "positionTpsl") for wired in action.orders]
        except Refusal as refusal:
            if refusal.code == "order":
                return [{"error": refusal.message}]
            raise
        if action.builder is not None and action.builder.b not in wallet.builders:
            raise err("Builder fee has not been approved.")
        now = self.dialect.now_ns()
        if action.grouping == "normalTpsl" and len(orders) > 1:
            kind = GroupKind.OTOCO if len(orders) > 2 else GroupKind.OTO
            placed = self.exchange.submit_group(now, kind, orders)
        elif action.grouping == "positionTpsl" and len(orders) > 1:
            placed = self.exchange.submit_group(now, GroupKind.OCO, orders)
        else:
            placed = [self.exchange.submit(now, order) for order in orders]
        return [self._status(order, wired.a) for order, wired in zip(placed, action.orders, strict=True)]

    def _new(self, wallet: Wallet, wired: s.OrderWire, *, positions: bool) -> NewOrder:
        market = self._market(wired.a)
        spec = market.spec
        price, size = self._price(market, wired.p, wired.a), Decimal(wired.s)
        if size % spec.step_size != 0:
            raise Refusal("order", f"Order has invalid size. asset={wired.a}")
        if size <= 0 and not positions:
            raise Refusal("order", f"Order has zero size. asset={wired.a}")
        side = Side.BUY if wired.b else Side.SELL
        trigger: Trigger | None = None
        kind, tif, post_only = OrderType.LIMIT, TimeInForce.GTC, PostOnly.OFF
        if wired.t.trigger is not None:
            wanted = wired.t.trigger
            takes_profit = wanted.tpsl == "tp"
            if wanted.tpsl not in ("tp", "sl"):
                raise s.schema_error("tpsl")
            above = takes_profit == (side is Side.SELL)
            at = self._price(market, wanted.triggerPx, wired.a)
            trigger = Trigger(at, above, kind=TriggerKind.TAKE_PROFIT if takes_profit else TriggerKind.STOP)
            kind = OrderType.MARKET if wanted.isMarket else OrderType.LIMIT
        else:
            assert wired.t.limit is not None  # `decode_action` saw to it
            if wired.t.limit.tif not in TIFS:
                raise s.schema_error("tif")
            if wired.t.limit.tif == "Alo":
                post_only = PostOnly.REJECT
            elif wired.t.limit.tif != "Gtc":
                tif = TimeInForce.IOC
            reference = wire.ref_of(market)
            if reference and not reference / 5 <= Decimal(wired.p) <= reference * 5:
                raise Refusal("order", f"{WORDS[RejectReason.PRICE_BAND]}. asset={wired.a}")
        whole = positions and trigger is not None
        return NewOrder(
            account=wallet.account,
            market=spec.symbol,
            side=side,
            size=0 if whole else spec.to_steps(size),
            price=price,
            type=kind,
            time_in_force=tif,
            post_only=post_only,
            reduce_only=wired.r,
            client_id=wired.c or "",
            trigger=trigger,
            close_position=whole,
        )

    def _price(self, market: MarketState, text: str, asset: int) -> int:
        """Ticks of a valid price."""
        price = Decimal(text)
        if not wire.valid_price(market.spec, price):
            raise Refusal("order", f"Price must be divisible by tick size. asset={asset}")
        return market.spec.to_ticks(price)

    def _status(self, order: Order, asset: int) -> Any:
        named = {"cloid": order.client_id} if order.client_id else {}
        tail = f" asset={asset}"
        match order.status:
            case OrderStatus.REJECTED:
                return {"error": self._refused(order, order.reject_reason) + tail}
            case OrderStatus.UNTRIGGERED:
                return "waitingForTrigger"
            case OrderStatus.WAITING:
                return "waitingForFill"
            case OrderStatus.OPEN:
                return {"resting": {"oid": order.id, **named}}
        if order.filled:
            size = wire.text(order.market.spec.size(order.filled))
            return {"filled": {"totalSz": size, "avgPx": wire.average(order), "oid": order.id, **named}}
        match order.cancel_reason:
            case CancelReason.NO_LIQUIDITY | CancelReason.IOC:
                return {"error": "Order could not immediately match against any resting orders." + tail}
            case CancelReason.SLIPPAGE:
                return {"error": "No liquidity available for market order." + tail}
            case CancelReason.POST_ONLY:
                return {"error": self._refused(order, RejectReason.POST_ONLY_WOULD_CROSS) + tail}
            case CancelReason.REDUCE_ONLY:
                return {"error": WORDS[RejectReason.REDUCE_ONLY] + tail}
            case CancelReason.PARENT_CANCELLED:
                return {"error": WORDS[RejectReason.BAD_GROUP] + tail}
        return {"error": f"Order was canceled: {wire.status_word(order)}." + tail}

    def _refused(self, order: Order, reason: RejectReason | None) -> str:
        if reason is RejectReason.POST_ONLY_WOULD_CROSS:
            return self._would_cross(order.market)
        return WORDS.get(reason, "Order was rejected.") if reason is not None else "Order was rejected."

    def _would_cross(self, market: MarketState) -> str:
        bid, ask = (market.spec.price(ticks).normalize() for ticks in self.exchange.best(market.symbol))
        return f"Post only order would have immediately matched, bbo was {bid:f}@{ask:f}."

    def _cancel(self, wallet: Wallet, asset: int, order: Order | None) -> Any:
        gone = {"error": f"{NEVER_PLACED} asset={asset}"}
        if order is None or order.market.symbol != self.dialect.symbol_of(asset):
            return gone
        reason = self.exchange.cancel(self.dialect.now_ns(), wallet.account, order.id)
        if reason is RejectReason.MARKET_STATUS:
            return {"error": f"{WORDS[reason]} asset={asset}"}
        return gone if reason is not None else "success"

    def _modify(self, wallet: Wallet, oid: int | str, wired: s.OrderWire) -> dict[str, Any]:
        """Without "always place" the new order must rest."""
        tail = f" asset={wired.a}"
        by_id = self.exchange.order(oid) if isinstance(oid, int) else self.exchange.order_by_client_id(wallet.account, oid.lower())
        if by_id is None or by_id.account.id != wallet.account or by_id.status.terminal:
            return {"error": WORDS[RejectReason.UNKNOWN_ORDER] + tail}
        try:
            new = self._new(wallet, wired, positions=False)
        except Refusal as refusal:
            if refusal.code == "order":
                return {"error": refusal.message}
            raise
        old = by_id.request
        if (new.market, new.side, new.type, new.time_in_force) != (old.market, old.side, old.type, TimeInForce.GTC):
            return {"error": "Cannot modify order: market, side and type must stay." + tail}
        if (new.trigger is None) != (old.trigger is None):
            return {"error": "Cannot modify order: market, side and type must stay." + tail}
        best = self.exchange.best(new.market)[1 if new.side is Side.BUY else 0]
        if new.trigger is None and best and (new.price >= best if new.side is Side.BUY else new.price <= best):
            return {"error": self._would_cross(by_id.market) + tail}
        found = self.exchange.amend(
            self.dialect.now_ns(),
            wallet.account,
            by_id.id,
            price=new.price,
            size=new.size,
            trigger_price=new.trigger.price if new.trigger is not None else 0,
            client_id=new.client_id,
        )
        if isinstance(found, RejectReason):
            return {"error": WORDS.get(found, "Order was rejected.") + tail}
        status = self._status(found, wired.a)
        return status if isinstance(status, dict) else {"resting": {"oid": found.id}}

    # ---- settings

    def _set_leverage(self, wallet: Wallet, action: s.LeverageAction) -> None:
        market = self._market(action.asset)
        if not 1 <= action.leverage <= wire.leverage_limit(market.spec):
            raise err("Invalid leverage value")
        mode = MarginMode.CROSS if action.isCross else MarginMode.ISOLATED
        if mode is MarginMode.CROSS and market.spec.isolated_only:
            raise err("Cross margin is not allowed for this asset.")
        now = self.dialect.now_ns()
        if self.exchange.set_margin_mode(now, wallet.account, market.symbol, mode) is not None:
            raise err("Cannot switch leverage type with open position.")
        if self.exchange.set_leverage(now, wallet.account, market.symbol, UNIT // action.leverage) is not None:
            raise err("Insufficient margin to decrease leverage.")

    def _schedule_cancel(self, wallet: Wallet, time_ms: int | None, now_ms: int) -> None:
        if time_ms is None:
            self.exchange.schedule_cancel_all(self.dialect.now_ns(), wallet.account, 0)
            return
        if time_ms < now_ms + SWITCH_NOTICE_MS:
            raise err("Scheduled cancel time too early, must be at least 5 seconds from now.")
        self.exchange.schedule_cancel_all(self.dialect.now_ns(), wallet.account, time_ms * MS)


def _statuses(kind: str, statuses: list[Any]) -> dict[str, Any]:
    return {"status": "ok", "response": {"type": kind, "data": {"statuses": statuses}}}


def _actions_in(action: s.L1Action) -> int:
    match action:
        case s.OrderAction():
            return len(action.orders)
        case s.CancelAction() | s.CancelByCloidAction():
            return 0  # cancels have a budget of their own that nobody exhausts here
        case s.BatchModifyAction():
            return len(action.modifies)
    return 1
