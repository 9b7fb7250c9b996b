"""One order's life on Backpack: placed far from the market, seen, replaced, canceled. Sends real orders with the keys it is given.

BACKPACK_API_KEY=... BACKPACK_API_SECRET=... python examples/backpack/orders.py          mainnet: real money, the venue has no test network
python examples/backpack/orders.py --rest http://127.0.0.1:8003 --ws ws://127.0.0.1:8003/     simulated
"""

import argparse
import asyncio
from decimal import Decimal
from typing import Any

from exchange_clients.backpack import SPEC, BackpackClient
from exchange_clients.signing import Credentials


def config(arguments: argparse.Namespace) -> dict[str, Any]:
    return {"endpoints": {"rest": arguments.rest, "ws": {"public": arguments.ws}} if arguments.rest else {}}


async def main(arguments: argparse.Namespace) -> None:
    async with BackpackClient(config(arguments), Credentials.from_env(SPEC)) as client:
        print(f"available {await client.get_account_balance()}, equity {await client.get_total_asset_value()}")
        instrument = client.instruments.get(arguments.symbol)
        bid, _ = await client.fetch_bbo_prices(arguments.symbol)
        price = client.round_to_tick(bid * Decimal("0.9"), arguments.symbol)

        placed = await client.place_limit_order(arguments.symbol, instrument.min_quantity, price, "buy", post_only=True, wait_for="open")
        print(f"placed   {placed.status} {placed.size} at {placed.price}: order {placed.order_id}, client id {placed.client_order_id}")
        assert placed.client_order_id is not None

        # The venue amends nothing: the order is canceled, proved ended, and placed anew under another id.
        replaced = await client.amend_order(placed.client_order_id, price=client.round_to_tick(price * Decimal("0.99"), arguments.symbol))
        print(f"replaced {replaced.status} {replaced.size} at {replaced.price}: order {replaced.order_id}")
        assert replaced.client_order_id is not None

        ended = await client.cancel_order(replaced.client_order_id)
        print(f"ended    {ended.status}, filled {ended.filled_size}")
        assert not await client.get_active_orders(arguments.symbol)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rest", help="address of another venue that speaks Backpack")
    parser.add_argument("--ws")
    parser.add_argument("--symbol", default="BTC")
    asyncio.run(main(parser.parse_args()))
