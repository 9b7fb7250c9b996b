"""One order's life on Aster: placed far from the market, seen, amended, canceled. Sends real orders with the keys it is given.

API v3:  ASTER_TESTNET_USER_ADDRESS=0x... ASTER_TESTNET_SIGNER_ADDRESS=0x... ASTER_TESTNET_SIGNER_PRIVATE_KEY=0x...
API v1:  ASTER_TESTNET_API_KEY=... ASTER_TESTNET_API_SECRET=...                              keys made before 2026-03-25
python examples/aster/orders.py
python examples/aster/orders.py --environment mainnet --rest http://127.0.0.1:8002 \
    --ws ws://127.0.0.1:8002/stream --account ws://127.0.0.1:8002/ws                         a simulated venue
"""

import argparse
import asyncio
from decimal import ROUND_CEILING, Decimal
from typing import Any

from exchange_clients.aster import SPEC, AsterClient
from exchange_clients.model import round_to_increment
from exchange_clients.signing import Credentials


def config(arguments: argparse.Namespace) -> dict[str, Any]:
    endpoints = {"rest": arguments.rest, "ws": {"public": arguments.ws, "private": arguments.account}} if arguments.rest else {}
    return {"environment": arguments.environment, "endpoints": endpoints}


async def main(arguments: argparse.Namespace) -> None:
    credentials = Credentials.from_env(SPEC, arguments.environment)
    async with AsterClient(config(arguments), credentials) as client:
        print(f"available {await client.get_account_balance()}, equity {await client.get_total_asset_value()}")
        instrument = client.instruments.get(arguments.symbol)
        bid, _ = await client.fetch_bbo_prices(arguments.symbol)
        price = client.round_to_tick(bid * Decimal("0.9"), arguments.symbol)
        smallest = max(instrument.min_quantity, instrument.min_notional / (price * Decimal("0.9")))
        quantity = round_to_increment(smallest, instrument.step_size, ROUND_CEILING)

        await client.arm_dead_man_switch(120)  # whatever happens to this program, the venue cancels within two minutes
        placed = await client.place_limit_order(arguments.symbol, quantity, price, "buy", post_only=True, wait_for="open")
        print(f"placed  {placed.status} {placed.size} at {placed.price}: order {placed.order_id}, client id {placed.client_order_id}")
        assert placed.client_order_id is not None

        amended = await client.amend_order(placed.client_order_id, price=client.round_to_tick(price * Decimal("0.99"), arguments.symbol))
        print(f"amended {amended.status} {amended.size} at {amended.price}: still order {amended.order_id}")

        ended = await client.cancel_order(placed.client_order_id)
        print(f"ended   {ended.status}, filled {ended.filled_size}")
        assert not await client.get_active_orders(arguments.symbol)
        await client.arm_dead_man_switch(None)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", default="testnet")
    parser.add_argument("--rest", help="address of another venue that speaks Aster")
    parser.add_argument("--ws", help="its market streams")
    parser.add_argument("--account", help="its account streams")
    parser.add_argument("--symbol", default="BTC")
    asyncio.run(main(parser.parse_args()))
