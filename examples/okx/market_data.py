"""Markets, best prices, a live book and funding of OKX. No account needed.

python examples/okx/market_data.py                                   mainnet
python examples/okx/market_data.py --symbol BTC-USD-SWAP             an inverse market: sizes are USD
python examples/okx/market_data.py --rest http://127.0.0.1:8004 --ws ws://127.0.0.1:8004/ws/v5      a simulated venue
"""

import argparse
import asyncio
from typing import Any

from exchange_clients.okx import OkxClient, OkxFundingAdapter


def config(arguments: argparse.Namespace) -> dict[str, Any]:
    sockets = {role: f"{arguments.ws}/{role}" for role in ("public", "private", "business")}
    endpoints = {"rest": arguments.rest, "ws": sockets} if arguments.rest else {}
    return {"environment": arguments.environment, "endpoints": endpoints}


async def main(arguments: argparse.Namespace) -> None:
    async with OkxClient(config(arguments)) as client:
        instrument = client.instruments.get(arguments.symbol)
        unit = instrument.id.quote if instrument.id.inverse else instrument.id.base
        print(f"{len(client.instruments.all())} markets; {instrument.id}: tick {instrument.tick_size}, step {instrument.step_size} {unit}")
        print(f"one contract is {instrument.contract_size} {unit}; funding every {instrument.funding_interval_hours} hours")

        await client.ws_manager.prepare_market_feed(instrument)
        book = client.ws_manager.get_order_book(instrument, 3)
        for level in reversed(book.asks):
            print(f"  ask {level.price:>12} {level.size:>12}")
        for level in book.bids:
            print(f"  bid {level.price:>12} {level.size:>12}")

        seen = 0
        async for bbo in client.watch_bbo(arguments.symbol):
            print(f"best: {bbo}")
            seen += 1
            if seen == arguments.updates:
                break

    async with OkxFundingAdapter(config(arguments)) as adapter:
        rates = await adapter.fetch_funding_rates()
        for symbol, sample in sorted(rates.items(), key=lambda item: abs(item[1].hourly_rate), reverse=True)[:5]:
            print(f"{symbol:>22} {sample.raw_rate:+.6%} per {sample.interval_hours} h, {sample.annual_rate:+.2%} a year")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", default="mainnet")
    parser.add_argument("--rest", help="address of another venue that speaks OKX")
    parser.add_argument("--ws", help="its sockets, without the last part of the path")
    parser.add_argument("--symbol", default="BTC")
    parser.add_argument("--updates", type=int, default=1, help="best-price updates to wait for")
    asyncio.run(main(parser.parse_args()))
