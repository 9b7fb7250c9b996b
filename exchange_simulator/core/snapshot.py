"""The whole state of an exchange as plain data, and its hash: two runs are the same when these are."""

from __future__ import annotations

import hashlib

import msgspec

from exchange_simulator.core.book import BookSide
from exchange_simulator.core.exchange import Exchange
from exchange_simulator.core.market import MarketState
from exchange_simulator.core.orders import Account, Order, Position

Plain = dict[str, object]


def snapshot(exchange: Exchange) -> Plain:
    """Everything that decides what the exchange does next, sorted. Ended orders that are only kept for look-up are not in it."""
    ledger = exchange.ledger
    return {
        "now_ns": exchange.now_ns,
        "insurance": ledger.insurance,
        "fees_collected": ledger.fees_collected,
        "deposited": ledger.deposited,
        "markets": [_market(exchange.markets[symbol], exchange.funding_estimate(symbol)) for symbol in sorted(exchange.markets)],
        "accounts": [_account(ledger.accounts[account]) for account in sorted(ledger.accounts)],
    }


def state_hash(exchange: Exchange) -> str:
    """SHA-256 of the snapshot, hex."""
    return hashlib.sha256(msgspec.json.encode(snapshot(exchange))).hexdigest()


def _market(market: MarketState, funding: int) -> Plain:
    return {
        "spec": market.spec,
        "mark": market.mark,
        "index": market.index,
        "last": market.last,
        "next_funding_ns": market.next_funding_ns,
        "funding": funding,
        "bids": _side(market.book.bids),
        "asks": _side(market.book.asks),
    }


def _side(side: BookSide) -> list[tuple[int, int, list[tuple[int, int, int]]]]:
    return [(price, anonymous, [(o.id, o.remaining, o.ahead) for o in orders]) for price, anonymous, orders in side.best_first()]


def _account(account: Account) -> Plain:
    return {
        "id": account.id,
        "balance": account.balance,
        "fees": sorted(account.fees.items()),
        "fees_paid": account.fees_paid,
        "self_trade_group": account.self_trade_group,
        "cancel_all_ns": account.cancel_all_ns,
        "cancel_market_ns": sorted(account.cancel_market_ns.items()),
        "client_ids": sorted(account.client_ids.items()),
        "positions": [_position(account.positions[symbol]) for symbol in sorted(account.positions)],
        "orders": [_order(order) for order in account.orders.values()],
    }


def _position(position: Position) -> Plain:
    return {
        "market": position.market.symbol,
        "initial": position.initial,
        "mode": position.mode,
        "size": position.size,
        "cost": position.cost,
        "margin": position.margin,
        "realised": position.realised,
        "funding": position.funding,
        "opened_ns": position.opened_ns,
        "buying": position.buying,
        "selling": position.selling,
    }


def _order(order: Order) -> Plain:
    return {
        "id": order.id,
        "request": order.request,
        "status": order.status,
        "price": order.price,
        "size": order.size,
        "remaining": order.remaining,
        "filled": order.filled,
        "value": order.value,
        "fee": order.fee,
        "trigger_price": order.trigger_price,
        "group": order.group.id if order.group is not None else 0,
        "updated_ns": order.updated_ns,
    }
