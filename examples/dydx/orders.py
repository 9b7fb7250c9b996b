"""Two orders' lives on dYdX: a long-term one placed far from the market, seen and canceled; a short-term one that dies by itself.

Sends real orders with the keys it is given.

DYDX_TESTNET_MNEMONIC="..." DYDX_TESTNET_ADDRESS=dydx1... python examples/dydx/orders.py
python examples/dydx/orders.py --environment mainnet --rest http://127.0.0.1:8002 --ws ws://127.0.0.1:8002/v4/ws --grpc 127.0.0.1:8003
"""

import argparse
import asyncio
from decimal import Decimal
from typing import Any

from exchange_clients.dydx import SPEC, DydxClient
from exchange_clients.model import OrderIntent, Side, WaitFor
from exchange_clients.signing import Credentials


def config(arguments: argparse.Namespace) -> dict[str, Any]:
    endpoints = {"rest": arguments.rest, "ws": {"public": arguments.ws}, "grpc": arguments.grpc} if arguments.rest else {}
    return {"environment": arguments.environment, "endpoints": endpoints}


async def main(arguments: argparse.Namespace) -> None:
    credentials = Credentials.from_env(SPEC, arguments.environment)
    async with DydxClient(config(arguments), credentials) as client:
        print(f"available {await client.get_account_balance()}, equity {await client.get_total_asset_value()}")
        fees = await client.get_fee_rates(arguments.symbol)
        print(f"fees    maker {fees.maker:.4%}, taker {fees.taker:.4%}")
        instrument = client.instruments.get(arguments.symbol)
        bid, _ = await client.fetch_bbo_prices(arguments.symbol)
        price = client.round_to_tick(bid * Decimal("0.9"), arguments.symbol)

        placed = await client.place_limit_order(arguments.symbol, instrument.min_quantity, price, "buy", post_only=True, wait_for="open")
        print(f"placed  {placed.status} {placed.size} at {placed.price}: order {placed.order_id}, client id {placed.client_order_id}")
        assert placed.client_order_id is not None
        ended = await client.cancel_order(placed.client_order_id)
        print(f"ended   {ended.status}, filled {ended.filled_size}")

        intent = OrderIntent(instrument=instrument.id, side=Side.BUY, quantity=instrument.min_quantity, price=price)
        quote = await client.order_manager.submit_short_term_order(intent, blocks=5, wait_for=WaitFor.OPEN)
        print(f"quoted  {quote.status} {quote.size} at {quote.price} for five blocks")
        while (update := await client.await_order_update(quote.client_order_id or "", 30)) is not None and not update.status.is_terminal:
            pass
        print(f"ended   {update.status if update is not None else 'unproven'}: nobody took it")
        assert not await client.get_active_orders(arguments.symbol)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", default="testnet")
    parser.add_argument("--rest", help="address of another indexer")
    parser.add_argument("--ws")
    parser.add_argument("--grpc", action="append", default=[], help="address of a node, host:port; may be repeated")
    parser.add_argument("--symbol", default="BTC")
    asyncio.run(main(parser.parse_args()))
