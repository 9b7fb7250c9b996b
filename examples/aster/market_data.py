"""Markets, best prices, a live book, open interest and funding of Aster. No account needed.

python examples/aster/market_data.py                                    mainnet
python examples/aster/market_data.py --symbol PEPE                      a market that counts in thousands, told in tokens
python examples/aster/market_data.py --rest http://127.0.0.1:8002 --ws ws://127.0.0.1:8002/stream      a simulated venue
"""

import argparse
import asyncio
from typing import Any

from exchange_clients.aster import AsterClient, AsterFundingAdapter


def config(arguments: argparse.Namespace) -> dict[str, Any]:
    endpoints = {"rest": arguments.rest, "ws": {"public": arguments.ws}} if arguments.rest else {}
    return {"environment": arguments.environment, "endpoints": endpoints}


async def main(arguments: argparse.Namespace) -> None:
    async with AsterClient(config(arguments)) as client:
        instrument = client.instruments.get(arguments.symbol)
        step = f"{instrument.step_size.normalize():f}"
        print(f"{len(client.instruments.all())} markets; {instrument.id}: tick {instrument.tick_size.normalize():f}, step {step}")

        await client.ws_manager.prepare_market_feed(instrument)
        book = client.ws_manager.get_order_book(instrument, 3)
        for level in reversed(book.asks):
            print(f"  ask {level.price:>16f} {level.size:>16f}")
        for level in book.bids:
            print(f"  bid {level.price:>16f} {level.size:>16f}")

        ticker = await client.fetch_ticker(arguments.symbol)
        print(f"mark {ticker.mark}, volume {ticker.volume_24h} USD, open interest {ticker.open_interest} USD, one side")

        seen = 0
        async for mark in client.watch_mark(arguments.symbol):
            print(f"mark: {mark}")
            seen += 1
            if seen == arguments.updates:
                break

    async with AsterFundingAdapter(config(arguments)) as adapter:
        rates = await adapter.fetch_funding_rates()
        for symbol, sample in sorted(rates.items(), key=lambda item: abs(item[1].hourly_rate), reverse=True)[:5]:
            print(f"{symbol:>10} every {sample.interval_hours} h {sample.hourly_rate:+.6%} an hour, {sample.annual_rate:+.2%} a year")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", default="mainnet")
    parser.add_argument("--rest", help="address of another venue that speaks Aster")
    parser.add_argument("--ws")
    parser.add_argument("--symbol", default="BTC")
    parser.add_argument("--updates", type=int, default=1, help="mark prices to wait for")
    asyncio.run(main(parser.parse_args()))
