"""One order's life on OKX: placed far from the market, seen, amended, canceled. Sends real orders with the keys it is given.

OKX_DEMO_API_KEY=... OKX_DEMO_API_SECRET=... OKX_DEMO_API_PASSPHRASE=... python examples/okx/orders.py        demo trading
python examples/okx/orders.py --environment mainnet --rest http://127.0.0.1:8004 --ws ws://127.0.0.1:8004/ws/v5      simulated
"""

import argparse
import asyncio
from decimal import Decimal
from typing import Any

from exchange_clients.okx import SPEC, OkxClient
from exchange_clients.signing import Credentials


def config(arguments: argparse.Namespace) -> dict[str, Any]:
    sockets = {role: f"{arguments.ws}/{role}" for role in ("public", "private", "business")}
    endpoints = {"rest": arguments.rest, "ws": sockets} if arguments.rest else {}
    return {"environment": arguments.environment, "endpoints": endpoints, "command_channel": arguments.channel}


async def main(arguments: argparse.Namespace) -> None:
    credentials = Credentials.from_env(SPEC, arguments.environment)
    async with OkxClient(config(arguments), credentials) as client:
        print(f"available {await client.get_account_balance()}, equity {await client.get_total_asset_value()}")
        instrument = client.instruments.get(arguments.symbol)
        bid, _ = await client.fetch_bbo_prices(arguments.symbol)
        price = client.round_to_tick(bid * Decimal("0.96"), arguments.symbol)

        placed = await client.place_limit_order(arguments.symbol, instrument.min_quantity, price, "buy", post_only=True, wait_for="open")
        print(f"placed  {placed.status} {placed.size} at {placed.price}: order {placed.order_id}, client id {placed.client_order_id}")
        assert placed.client_order_id is not None

        amended = await client.amend_order(placed.client_order_id, price=client.round_to_tick(price * Decimal("0.99"), arguments.symbol))
        print(f"amended {amended.status} {amended.size} at {amended.price}: still order {amended.order_id}")

        ended = await client.cancel_order(placed.client_order_id)
        print(f"ended   {ended.status}, filled {ended.filled_size}")
        assert not await client.get_active_orders(arguments.symbol)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", default="demo")
    parser.add_argument("--rest", help="address of another venue that speaks OKX")
    parser.add_argument("--ws", help="its sockets, without the last part of the path")
    parser.add_argument("--symbol", default="BTC")
    parser.add_argument("--channel", default="rest", choices=("rest", "ws"), help="how orders travel")
    asyncio.run(main(parser.parse_args()))
