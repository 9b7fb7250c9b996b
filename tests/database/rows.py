"""Records to write."""

from decimal import Decimal

from database.records import FillCause, FillRecord, IntentRecord, IntentState, Leg, PairRecord, PairState

NOW = 1_795_260_000_000_000_001


def pair(pair_id: str = "p1", state: PairState = PairState.PLANNED) -> PairRecord:
    return PairRecord(
        pair_id=pair_id,
        strategy="funding_arbitrage",
        account="main",
        symbol="BTC",
        state=state,
        long_venue="toy",
        long_instrument="BTC-USDC-PERP.toy",
        short_venue="other",
        short_instrument="BTC-USD-PERP.other",
        first_leg=Leg.SHORT,
        quantity=Decimal("0.010"),
        foreign_long=Decimal(0),
        foreign_short=Decimal("-1.5"),
        plan="{}",
        created_at=NOW,
        updated_at=NOW,
    )


def intent(intent_id: str = "i1", *, client_order_id: str = "77", pair_id: str = "p1", reduce_only: bool = False) -> IntentRecord:
    return IntentRecord(
        intent_id=intent_id,
        pair_id=pair_id,
        leg=Leg.LONG,
        venue="toy",
        account="main",
        instrument="BTC-USDC-PERP.toy",
        client_order_id=client_order_id,
        side="buy",
        quantity=Decimal("0.010"),
        limit_price=Decimal("100000.5"),
        reference_price=None,
        reduce_only=reduce_only,
        time_in_force="IOC",
        purpose="entry",
        reason="open",
        state=IntentState.PREPARED,
        created_at=NOW,
        updated_at=NOW,
    )


def fill(trade_id: str = "t1", *, quantity: str = "0.004", intent_id: str | None = "i1") -> FillRecord:
    return FillRecord(
        venue="toy",
        account="main",
        trade_id=trade_id,
        pair_id="p1",
        leg=Leg.LONG,
        instrument="BTC-USDC-PERP.toy",
        intent_id=intent_id,
        client_order_id="77",
        order_id="9",
        side="buy",
        price=Decimal("100000.0"),
        quantity=Decimal(quantity),
        fee=Decimal("0.18"),
        fee_asset="USDC",
        liquidity="taker",
        kind=FillCause.TRADE,
        ts_venue=NOW,
        recorded_at=NOW + 5,
    )
