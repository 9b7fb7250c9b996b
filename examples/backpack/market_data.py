"""Markets, best prices, a live book and funding of Backpack. No account needed.

python examples/backpack/market_data.py                          mainnet: the venue has no other
python examples/backpack/market_data.py --symbol BONK            a market that counts in thousands, shown per token
python examples/backpack/market_data.py --rest http://127.0.0.1:8003 --ws ws://127.0.0.1:8003/      a simulated venue
"""

import argparse
import asyncio
from typing import Any

from exchange_clients.backpack import BackpackClient, BackpackFundingAdapter


def config(arguments: argparse.Namespace) -> dict[str, Any]:
    return {"endpoints": {"rest": arguments.rest, "ws": {"public": arguments.ws}} if arguments.rest else {}}


async def main(arguments: argparse.Namespace) -> None:
    async with BackpackClient(config(arguments)) as client:
        instrument = client.instruments.get(arguments.symbol)
        print(f"{len(client.instruments.all())} markets; {instrument.id}: tick {instrument.tick_size:f}, step {instrument.step_size:f}")

        await client.ws_manager.prepare_market_feed(instrument)
        book = client.ws_manager.get_order_book(instrument, 3)
        for level in reversed(book.asks):
            print(f"  ask {level.price:>14f} {level.size:>14f}")
        for level in book.bids:
            print(f"  bid {level.price:>14f} {level.size:>14f}")

        seen = 0
        async for bbo in client.watch_bbo(arguments.symbol):
            print(f"best: {bbo}")
            seen += 1
            if seen == arguments.updates:
                break

    async with BackpackFundingAdapter(config(arguments)) as adapter:
        rates = await adapter.fetch_funding_rates()
        for symbol, sample in sorted(rates.items(), key=lambda item: abs(item[1].raw_rate), reverse=True)[:5]:
            print(f"{symbol:>10} {sample.hourly_rate:+.6%} an hour, {sample.annual_rate:+.2%} a year")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rest", help="address of another venue that speaks Backpack")
    parser.add_argument("--ws")
    parser.add_argument("--symbol", default="BTC")
    parser.add_argument("--updates", type=int, default=1, help="best-price updates to wait for")
    asyncio.run(main(parser.parse_args()))
