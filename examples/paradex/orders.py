"""One order's life on Paradex: placed far from the market, seen, amended, canceled. Sends real orders with the keys it is given.

PARADEX_TESTNET_L2_PRIVATE_KEY=0x... PARADEX_TESTNET_L1_ADDRESS=0x... python examples/paradex/orders.py
python examples/paradex/orders.py --environment mainnet --rest http://127.0.0.1:8002 --ws ws://127.0.0.1:8002/v1     simulated

With --guard the venue cancels the account's orders when the connection breaks.
"""

import argparse
import asyncio
from decimal import ROUND_CEILING, Decimal
from typing import Any

from exchange_clients.model import round_to_increment
from exchange_clients.paradex import SPEC, ParadexClient
from exchange_clients.signing import Credentials


def config(arguments: argparse.Namespace) -> dict[str, Any]:
    endpoints = {"rest": arguments.rest, "ws": {"public": arguments.ws, "private": arguments.ws}} if arguments.rest else {}
    options = {"cancel_on_disconnect": arguments.guard}
    return {
        "environment": arguments.environment,
        "endpoints": endpoints,
        "command_channel": arguments.channel,
        "venue_options": options,
    }


async def main(arguments: argparse.Namespace) -> None:
    credentials = Credentials.from_env(SPEC, arguments.environment)
    async with ParadexClient(config(arguments), credentials) as client:
        print(f"available {await client.get_account_balance()}, equity {await client.get_total_asset_value()}")
        print(f"key: {await client.get_key_info()}")
        instrument = client.instruments.get(arguments.symbol)
        bid, _ = await client.fetch_bbo_prices(arguments.symbol)
        price = client.round_to_tick(bid * Decimal("0.9"), arguments.symbol)
        smallest = max(instrument.min_quantity, instrument.min_notional / (price * Decimal("0.9")))
        quantity = round_to_increment(smallest, instrument.step_size, ROUND_CEILING)

        placed = await client.place_limit_order(arguments.symbol, quantity, price, "buy", post_only=True, wait_for="open")
        print(f"placed  {placed.status} {placed.size} at {placed.price}: client id {placed.client_order_id}")
        if placed.error is not None:  # accepted into the queue, and refused there
            raise placed.error
        assert placed.client_order_id is not None

        amended = await client.amend_order(placed.client_order_id, price=client.round_to_tick(price * Decimal("0.99"), arguments.symbol))
        print(f"amended {amended.status} {amended.size} at {amended.price}: same order {amended.order_id == placed.order_id}")

        ended = await client.cancel_order(placed.client_order_id)
        print(f"ended   {ended.status}, filled {ended.filled_size}, because {ended.error_message}")
        assert not await client.get_active_orders(arguments.symbol)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", default="testnet")
    parser.add_argument("--rest", help="address of another venue that speaks Paradex")
    parser.add_argument("--ws")
    parser.add_argument("--symbol", default="BTC")
    parser.add_argument("--channel", default="rest", choices=("rest", "ws"), help="how orders travel")
    parser.add_argument("--guard", action="store_true", help="cancel on disconnect")
    asyncio.run(main(parser.parse_args()))
