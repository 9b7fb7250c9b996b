"""The official dYdX client's side, in its own environment: `python peer_dydx.py sign -`."""

from __future__ import annotations

import sys

import timing

KEY = "0123456789012345678901234567890123456789012345678901234567890123"
OWNER = "dydx14zzueazeh0hj67cghhf9jypslcf9sh2n5k6art"
MARKET = {
    "clobPairId": "0",
    "atomicResolution": -10,
    "quantumConversionExponent": -9,
    "stepBaseQuantums": 1000000,
    "subticksPerTick": 100000,
    "ticker": "BTC-USD",
}


def sign(_: str) -> dict[str, float]:
    from dydx_v4_client import OrderFlags
    from dydx_v4_client.indexer.rest.constants import OrderType
    from dydx_v4_client.key_pair import KeyPair
    from dydx_v4_client.node.builder import Builder
    from dydx_v4_client.node.market import Market
    from dydx_v4_client.node.message import place_order
    from dydx_v4_client.wallet import Wallet
    from v4_proto.dydxprotocol.clob.order_pb2 import Order

    market, wallet, builder = Market(MARKET), Wallet(KeyPair.from_hex(KEY), 7, 0), Builder("dydx-mainnet-1", "", memo="")

    def once(n: int) -> None:
        order = market.order(
            order_id=market.order_id(OWNER, 0, n, OrderFlags.SHORT_TERM),
            order_type=OrderType.LIMIT,
            side=Order.SIDE_BUY,
            size=0.01,
            price=60000,
            time_in_force=Order.TIME_IN_FORCE_UNSPECIFIED,
            reduce_only=False,
            good_til_block=1000020,
        )
        builder.build(wallet, place_order(order)).SerializeToString()

    once(0)
    return {"sign": timing.cpu_us(lambda: [once(n) for n in range(300)], 300)}


if __name__ == "__main__":
    timing.answer({"sign": sign}[sys.argv[1]](sys.argv[2]))
