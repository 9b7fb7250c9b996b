"""Markets, best prices, a live book and funding of Paradex. No account needed.

python examples/paradex/market_data.py                          mainnet
python examples/paradex/market_data.py --symbol kPEPE-USD-PERP --book interactive --group 10      a book in steps of ten ticks
python examples/paradex/market_data.py --rest http://127.0.0.1:8002 --ws ws://127.0.0.1:8002/v1      a simulated venue
"""

import argparse
import asyncio
from typing import Any

from exchange_clients.paradex import ParadexClient, ParadexFundingAdapter


def config(arguments: argparse.Namespace) -> dict[str, Any]:
    endpoints = {"rest": arguments.rest, "ws": {"public": arguments.ws}} if arguments.rest else {}
    options = {"book": arguments.book, "book_group": arguments.group}
    return {"environment": arguments.environment, "endpoints": endpoints, "venue_options": options}


async def main(arguments: argparse.Namespace) -> None:
    async with ParadexClient(config(arguments)) as client:
        instrument = client.instruments.get(arguments.symbol)
        print(f"{len(client.instruments.all())} markets; {instrument.id}: tick {instrument.tick_size}, step {instrument.step_size}")

        await client.ws_manager.prepare_market_feed(instrument)
        book = client.ws_manager.get_order_book(instrument, 3)
        for level in reversed(book.asks):
            print(f"  ask {level.price:>12} {level.size:>12}")
        for level in book.bids:
            print(f"  bid {level.price:>12} {level.size:>12}")

        seen = 0
        async for bbo in client.watch_bbo(arguments.symbol):
            print(f"best: {bbo}")  # always exact, whatever the book shows
            seen += 1
            if seen == arguments.updates:
                break

    async with ParadexFundingAdapter(config(arguments)) as adapter:
        rates = await adapter.fetch_funding_rates()
        for symbol, sample in sorted(rates.items(), key=lambda item: abs(item[1].raw_rate), reverse=True)[:5]:
            print(f"{symbol:>10} {sample.hourly_rate:+.6%} an hour, {sample.annual_rate:+.2%} a year, accrued by the second")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", default="mainnet")
    parser.add_argument("--rest", help="address of another venue that speaks Paradex")
    parser.add_argument("--ws")
    parser.add_argument("--symbol", default="BTC")
    parser.add_argument("--book", default="deltas", choices=("deltas", "interactive_deltas", "interactive"))
    parser.add_argument("--group", type=int, default=1, help="ticks per step of an interactive book")
    parser.add_argument("--updates", type=int, default=1, help="best-price updates to wait for")
    asyncio.run(main(parser.parse_args()))
