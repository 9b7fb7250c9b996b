"""What a client must know after any trouble."""

from decimal import Decimal as D

from exchange_clients.base_client import BaseExchangeClient
from exchange_simulator.conformance.bench import BTC, Bench


async def agrees(bench: Bench, client: BaseExchangeClient) -> None:
    """The client ends with the exchange's truth: open orders and what they filled, position, book."""
    await client.ws_manager.prepare_market_feed(client.instruments.get(BTC))
    await bench.until(lambda: client.context.entries_allowed, "reconciled", timeout_s=90)
    patience_s = 60 + client.capabilities.lookup_grace_s
    await bench.until(lambda: not client.context.tracker.unresolved(), "every order is proved", timeout_s=patience_s)
    market = bench.market()
    mine = sorted((o.size, o.filled_size, o.price) for o in await client.get_active_orders())
    true = sorted((market.size(o.size), market.size(o.filled), market.price(o.price)) for o in bench.orders())
    assert mine == true
    held = await client.get_position_snapshot(BTC)
    assert (held.quantity if held is not None else D(0)) == bench.position()
    live = sorted((o.info().size, o.filled) for o in client.context.tracker.live())
    assert live == [(size, filled) for size, filled, _ in true]
    await bench.book_is_true(client)
