"""One order's life on $title: placed far from the market, seen, canceled. Sends real orders with the keys it is given.

python $examples/orders.py --environment mainnet --rest http://127.0.0.1:8000 --ws public=ws://127.0.0.1:8000/ws      simulated
"""

import argparse
import asyncio
from decimal import ROUND_CEILING, Decimal
from typing import Any

from $package import SPEC, ${Name}Client
from exchange_clients.model import round_to_increment
from exchange_clients.signing import Credentials


def config(arguments: argparse.Namespace) -> dict[str, Any]:
    sockets = dict(entry.split("=", 1) for entry in arguments.ws)
    endpoints = {"rest": arguments.rest, "ws": sockets} if arguments.rest else {}
    return {"environment": arguments.environment, "endpoints": endpoints}


async def main(arguments: argparse.Namespace) -> None:
    credentials = Credentials.from_env(SPEC, arguments.environment)
    async with ${Name}Client(config(arguments), credentials) as client:
        print(f"available {await client.get_account_balance()}, equity {await client.get_total_asset_value()}")
        instrument = client.instruments.get(arguments.symbol)
        bid, _ = await client.fetch_bbo_prices(arguments.symbol)
        price = client.round_to_tick(bid * Decimal("0.9"), arguments.symbol)
        smallest = max(instrument.min_quantity, instrument.min_notional / price)
        quantity = round_to_increment(smallest, instrument.step_size, ROUND_CEILING)

        placed = await client.place_limit_order(arguments.symbol, quantity, price, "buy", post_only=True, wait_for="open")
        print(f"placed  {placed.status} {placed.size} at {placed.price}: order {placed.order_id}, client id {placed.client_order_id}")
        assert placed.client_order_id is not None

        ended = await client.cancel_order(placed.client_order_id)
        print(f"ended   {ended.status}, filled {ended.filled_size}")
        assert not await client.get_active_orders(arguments.symbol)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", required=True, help="no default: orders are real")
    parser.add_argument("--rest", help="address of another venue that speaks $title")
    parser.add_argument("--ws", action="append", default=[], metavar="ROLE=ADDRESS", help="its sockets")
    parser.add_argument("--symbol", default="BTC")
    asyncio.run(main(parser.parse_args()))
