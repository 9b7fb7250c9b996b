"""Words, units and signs: markets, funding, refusals, statuses."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exchange_clients import errors as e
from exchange_clients.aster import SPEC, get_aster_symbol_format, normalize_symbol
from exchange_clients.aster import messages as m
from exchange_clients.aster.client.utils import converters as c
from exchange_clients.aster.client.utils.helpers import wire_number
from exchange_clients.aster.common import ERRORS, read_error, split_base
from exchange_clients.errors import classify
from exchange_clients.model import NS_PER_HOUR, NS_PER_MS, FillKind, Instrument, MarginMode, MarketStatus, OrderStatus, RateKind, Side
from tests.venues.aster.test_payloads import market

D = Decimal

# ---- markets


def symbol(name: str, base: str, quote: str = "USDT", **more: Any) -> dict[str, Any]:
    return {
        "symbol": name,
        "status": "TRADING",
        "contractType": "PERPETUAL",
        "baseAsset": base,
        "quoteAsset": quote,
        "marginAsset": quote,
        "pricePrecision": 5,
        "quantityPrecision": 2,
        "requiredMarginPercent": "25.0000",
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.0000010", "maxPrice": "100", "tickSize": "0.0000010"},
            {"filterType": "LOT_SIZE", "minQty": "1", "maxQty": "5000000", "stepSize": "1"},
            {"filterType": "MIN_NOTIONAL", "notional": "5"},
        ],
        **more,
    }


def listed(*rows: dict[str, Any], intervals: dict[str, int] | None = None, brackets: dict[str, Any] | None = None) -> list[Instrument]:
    info = msgspec.convert({"symbols": list(rows)}, m.ExchangeInfo, strict=False)
    told = {
        name: m.FundingInfo(symbol=name, fundingIntervalHours=hours, fundingFeeCap=D("0.02")) for name, hours in (intervals or {}).items()
    }
    known = {name: msgspec.convert(found, list[m.Bracket], strict=False) for name, found in (brackets or {}).items()}
    return c.instruments(info, told, known)


def test_a_market_with_a_thousand_tokens_a_unit_is_told_per_token() -> None:
    (pepe,) = listed(symbol("1000PEPEUSDT", "1000PEPE"), intervals={"1000PEPEUSDT": 4})
    assert str(pepe.id) == "PEPE-USDT-PERP.aster"
    assert (pepe.multiplier, pepe.contract_size) == (D(1000), D(1000))
    assert pepe.tick_size == D("0.000000001")
    assert (pepe.step_size, pepe.min_quantity, pepe.max_quantity) == (D(1000), D(1000), D(5_000_000_000))
    assert pepe.min_notional == 5
    assert (pepe.to_venue_price(D("0.00002")), pepe.to_venue_size(D(5_000))) == (D("0.02"), D(5))
    assert (pepe.funding_interval_hours, pepe.funding_cap) == (D(4), D("0.02"))


@pytest.mark.parametrize(
    ("base", "canonical", "multiplier"),
    [
        ("BTC", "BTC", 1),
        ("1000PEPE", "PEPE", 1000),
        ("1000CHEEMS", "CHEEMS", 1000),
        ("1MBABYDOGE", "BABYDOGE", 1_000_000),
        ("1000000MOG", "MOG", 1_000_000),
        ("1INCH", "1INCH", 1),
        ("2Z", "2Z", 1),
        ("1000", "1000", 1),
        ("BTCDOM", "BTCDOM", 1),
    ],
)
def test_bases(base: str, canonical: str, multiplier: int) -> None:
    assert split_base(base) == (canonical, D(multiplier))


def test_market_names_go_both_ways() -> None:
    assert normalize_symbol("1000PEPEUSDT") == "PEPE"
    assert normalize_symbol(get_aster_symbol_format("BTC")) == "BTC"
    assert get_aster_symbol_format("pepe", thousand=True) == "1000PEPEUSDT"


def test_a_market_that_will_end_says_when() -> None:
    rows = (symbol(f"{base}USDT", base, deliveryDate=date) for base, date in (("A", 4_133_404_800_000), ("B", 1_798_704_000_000), ("C", 0)))
    assert [i.ends_ns for i in listed(*rows)] == [None, 1_798_704_000_000_000_000, None]


def test_every_kind_of_market() -> None:
    """Another quote, a stock, one that is not open yet, one that settles; dated ones, test assets and bare rows are no markets."""
    found = listed(
        symbol("BTCUSD1", "BTC", "USD1"),
        symbol("GOOGLUSDT", "GOOGL", underlyingType="STOCK"),
        symbol("NEWUSDT", "NEW", status="PENDING_TRADING"),
        symbol("OLDUSDT", "OLD", status="SETTLING"),
        symbol("LESSUSDT", "LESS", status="PRE_SETTLE"),
        symbol("ODDUSDT", "ODD", status="SOMETHING"),
        symbol("BTCUSDT_260925", "BTC", contractType="CURRENT_QUARTER"),
        symbol("TESTUSDT", "TEST"),
        {"symbol": "BAREUSDT", "status": "TRADING", "contractType": "PERPETUAL"},
    )
    assert {i.venue_symbol: i.status for i in found} == {
        "BTCUSD1": MarketStatus.ACTIVE,
        "GOOGLUSDT": MarketStatus.ACTIVE,
        "NEWUSDT": MarketStatus.HALTED,
        "OLDUSDT": MarketStatus.DELISTED,
        "LESSUSDT": MarketStatus.REDUCE_ONLY,
        "ODDUSDT": MarketStatus.UNKNOWN,
    }
    assert (str(found[0].id), found[0].settle) == ("BTC-USD1-PERP.aster", "USD1")
    assert all(i.funding_interval_hours is None and i.max_leverage is None for i in found), "nothing is guessed"


def test_margins_come_from_brackets_and_never_from_the_percents() -> None:
    rows = [
        {"bracket": 1, "initialLeverage": 75, "notionalCap": 10000, "notionalFloor": 0, "maintMarginRatio": 0.0065, "cum": 0},
        {"bracket": 2, "initialLeverage": 50, "notionalCap": 50000, "notionalFloor": 10000, "maintMarginRatio": 0.01, "cum": 35},
    ]
    (eth,) = listed(symbol("ETHUSDT", "ETH"), brackets={"ETHUSDT": rows})
    assert (eth.max_leverage, eth.initial_margin, eth.maintenance_margin) == (D(75), D(1) / D(75), D("0.0065"))
    row = msgspec.convert(
        {
            "symbol": "ETHUSDT",
            "positionAmt": "0.0",
            "entryPrice": "0.0",
            "markPrice": "0",
            "unRealizedProfit": "0",
            "liquidationPrice": "0",
            "leverage": "20",
            "maxNotionalValue": "25000",
            "marginType": "isolated",
        },
        m.PositionRisk,
        strict=False,
    )
    info = c.leverage_info(row, msgspec.convert(rows, list[m.Bracket], strict=False))
    assert info.brackets == ((D(0), D(75)), (D(10000), D(50)))
    assert (info.account_leverage, info.max_notional, info.margin_mode) == (D(20), D(25000), MarginMode.ISOLATED)
    assert c.positions([row], market) == [], "rows of flat markets are no positions"


# ---- funding


def recorded(payloads: Path, file: str, name: str) -> Any:
    lines = (payloads / "aster" / "rest" / f"{file}.jsonl").read_text().splitlines()
    return next(record["payload"] for line in lines if (record := json.loads(line))["name"] == name)


def test_a_recorded_rate_has_sign_unit_interval_and_next_time(payloads: Path) -> None:
    """0.0001 of BTCUSDT is a hundredth of a percent of its own eight hours, paid by longs at 16:00 UTC."""
    premium = msgspec.convert(
        recorded(payloads, "funding_rate", "GET /fapi/v1/premiumIndex (fetchFundingRate)"), m.PremiumIndex, strict=False
    )
    (info,) = msgspec.convert(
        recorded(payloads, "funding_rate", "GET /fapi/v1/fundingInfo (fetchFundingIntervals)"), list[m.FundingInfo], strict=False
    )
    sample = c.funding_now(premium, info, market("BTCUSDT"))
    assert sample is not None
    assert (sample.raw_rate, sample.interval_hours, sample.kind, sample.cap) == (D("0.0001"), D(8), RateKind.PREDICTED, None)
    assert sample.hourly_rate == D("0.0000125")
    assert sample.next_funding_time == 1_750_176_000_000 * NS_PER_MS
    assert sample.next_funding_time % (8 * NS_PER_HOUR) == 0


def test_a_rate_of_four_hours_is_not_one_of_eight(payloads: Path) -> None:
    """The recorded pair: half the interest in half the time."""
    infos = msgspec.convert(recorded(payloads, "funding_rate", "Futures/ExchangeData/GetFundingInfo"), list[m.FundingInfo], strict=False)
    hours = {info.symbol: info for info in infos}
    premium = m.PremiumIndex(
        symbol="ZORAUSDT", markPrice=D(1), indexPrice=D(1), time=1, lastFundingRate=D("0.00005"), nextFundingTime=1_756_209_600_000
    )
    sample = c.funding_now(premium, hours["ZORAUSDT"], market("ZORAUSDT"))
    assert sample is not None
    assert (sample.interval_hours, sample.normalized_rate, sample.cap) == (D(4), D("0.0001"), D("0.02"))
    assert (hours["INJUSDT"].fundingIntervalHours, hours["INJUSDT"].interestRate) == (8, D("0.0001"))


def test_a_recorded_settled_rate(payloads: Path) -> None:
    rows = msgspec.convert(recorded(payloads, "funding_history", "fetch_funding_rate_history"), list[m.FundingRow], strict=False)
    (sample,) = c.funding_settled(rows, market("BTCUSDT"))
    assert (sample.raw_rate, sample.kind, sample.interval_hours) == (D("0.0001"), RateKind.SETTLED, D(8))
    assert sample.settled_at == 1_747_209_600_000 * NS_PER_MS


def settled(*hours: float, today: int | None = 8) -> list[Decimal]:
    rows = [m.FundingRow(symbol="BTCUSDT", fundingRate=D("0.0001"), fundingTime=round(h * 3_600_000)) for h in hours]
    instrument = msgspec.structs.replace(market("BTCUSDT"), funding_interval_hours=None if today is None else D(today))
    return [sample.interval_hours for sample in c.funding_settled(rows, instrument)]


def test_each_settled_rate_has_the_interval_of_its_day() -> None:
    assert settled(0, 8, 16, 20, 24, 25) == [8, 8, 8, 4, 4, 1]
    assert settled(0, 4.002, 8.001) == [4, 4, 4], "a few seconds late"
    assert settled(0, 8, 24, 32) == [8, 8, 8, 8], "a row is missing: today's interval"
    assert settled(0, today=4) == [4]
    with pytest.raises(e.DecodeError, match="interval"):
        settled(0, today=None)


def test_a_recorded_payment(payloads: Path) -> None:
    """From the documentation, and a recorded row of the same endpoint: positive was received."""
    row = msgspec.json.decode(
        b'{"symbol":"ETHUSDT","incomeType":"FUNDING_FEE","income":"0.00134317","asset":"USDT","time":1621584000000,'
        b'"info":"FUNDING_FEE","tranId":4480321991774044580,"tradeId":""}',
        type=m.Income,
        strict=False,
    )
    payment = c.funding_payment(row, market("ETHUSDT"))
    assert (payment.amount, payment.asset, payment.payment_id) == (D("0.00134317"), "USDT", "4480321991774044580")
    assert payment.ts_venue_ns == 1_621_584_000_000 * NS_PER_MS
    assert payment.rate is None, "the record does not say"
    assert payment.position_quantity is None
    (transfer,) = msgspec.convert(recorded(payloads, "transfers", "fetch_ledger"), list[m.Income], strict=False)
    assert transfer.income == 10


def test_a_streamed_rate_without_a_known_interval_says_nothing() -> None:
    event = m.MarkPriceEvent(E=1, s="BTCUSDT", p=D(1), i=D(1), r=D("0.0001"), T=5)
    sample = c.streamed_funding(event, m.FundingInfo(symbol="BTCUSDT", fundingIntervalHours=4), market("BTCUSDT"))
    assert sample is not None
    assert sample.interval_hours == 4
    assert c.streamed_funding(event, None, market("BTCUSDT")) is None


# ---- refusals: the catalogue of the dossier, section 9, code by code

CATALOGUE: dict[type[e.VenueError], list[int]] = {
    e.VenueUnavailable: [1000, 1001, 1016, 1006, 1007],
    e.PermissionDenied: [1002, 2014, 2015, 1011, 4056, 4057, 5050, 4088],
    e.BadSignature: [1022],
    e.NonceError: [1021, 4225],
    e.RateLimited: [1003, 1015],
    e.RequestRefused: [
        *range(1100, 1107),
        *range(1114, 1121),
        *(
            1127,
            1128,
            1130,
            1136,
            1121,
            4144,
            4104,
            1125,
            4028,
            4161,
            4046,
            4059,
            4052,
            4047,
            4048,
            4067,
            4068,
            4168,
            4060,
            4061,
            4084,
            4032,
            4082,
        ),
    ],
    e.InvalidOrder: [1111, 4014, 4023, 4029, 4030, 2021, 4142, *range(4001, 4014), 5060, 4015],
    e.OrderRefused: [2010, 2023],
    e.OrderNotFound: [2011, 2013],
    e.InsufficientMargin: [2018, 2019, 2024, 4050, 4051, 2027, 2028],
    e.NoLiquidity: [2020],
    e.PriceOutOfBand: [4131, 4016, 4024, 4183, 4184],
    e.ReduceOnlyViolation: [2022, 4118, 2026, 4062, 4087],
    e.TooManyOrders: [2025, 4045],
    e.MarketClosed: [4140, 4141, 4022, 2016],
    e.MinNotional: [4164, 5076],
    e.PostOnlyWouldCross: [5022],
    e.DuplicateClientOrderId: [4116],
}


@pytest.mark.parametrize(("kind", "code"), [(kind, code) for kind, codes in CATALOGUE.items() for code in codes])
def test_every_code_of_the_catalogue_has_one_class(kind: type[e.VenueError], code: int) -> None:
    found = read_error(400, b'{"code":-%d,"msg":"words"}' % code)
    assert found == (f"-{code}", "words")
    error = classify(ERRORS, venue="aster", code=found[0], message=found[1], http_status=400)
    assert type(error) is kind
    unknown = kind in (e.VenueUnavailable, e.RateLimited)
    assert error.outcome is (e.Outcome.UNKNOWN if unknown else e.Outcome.REFUSED)


def test_the_table_has_no_row_beside_the_catalogue() -> None:
    assert {key for key in ERRORS if key.startswith("-")} == {f"-{code}" for codes in CATALOGUE.values() for code in codes}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (503, b"", e.VenueUnavailable),
        (502, b"<html>bad gateway</html>", e.VenueUnavailable),
        (403, b"<html>blocked</html>", e.ApiError),
        (418, b'{"code":-1003,"msg":"Way too many requests; IP banned until 1573000000000."}', e.RateLimited),
        (429, b"slow down", e.RateLimited),
        (400, b'{"code":-9999,"msg":"something new"}', e.ApiError),
        (404, b"not found", e.RequestRefused),
        (400, b'{"code":-9998,"msg":"ClientOrderId is duplicated."}', e.DuplicateClientOrderId),
        (400, b'{"code":-9999,"msg":"Duplicate values for parameter timestamp."}', e.ApiError),
    ],
)
def test_answers_without_a_known_code(status: int, body: bytes, kind: type[e.VenueError]) -> None:
    found = read_error(status, body)
    assert found is not None
    assert type(classify(ERRORS, venue="aster", code=found[0], message=found[1], http_status=status)) is kind


def test_a_code_of_200_is_no_error() -> None:
    assert read_error(200, b'{"code":"200","msg":"The operation of cancel all open order is done."}') is None
    assert read_error(200, b'{"code":200,"msg":"success"}') is None
    assert read_error(200, b'{"code":-1121,"msg":"Invalid symbol."}') == ("-1121", "Invalid symbol.")


# ---- orders


@pytest.mark.parametrize(
    ("status", "kind", "tif", "filled", "state"),
    [
        ("NEW", "LIMIT", "GTC", 0, OrderStatus.OPEN),
        ("NEW", "STOP_MARKET", "GTC", 0, OrderStatus.PENDING),
        ("NEW", "MARKET", "GTC", 0, OrderStatus.OPEN),
        ("PARTIALLY_FILLED", "LIMIT", "GTC", 1, OrderStatus.PARTIALLY_FILLED),
        ("FILLED", "LIMIT", "GTC", 1, OrderStatus.FILLED),
        ("CANCELED", "LIMIT", "GTC", 1, OrderStatus.CANCELED),
        ("REJECTED", "LIMIT", "GTC", 0, OrderStatus.REJECTED),
        ("EXPIRED", "LIMIT", "GTX", 0, OrderStatus.REJECTED),
        ("EXPIRED", "LIMIT", "GTX", 1, OrderStatus.EXPIRED),
        ("EXPIRED", "LIMIT", "IOC", 1, OrderStatus.CANCELED),
        ("EXPIRED", "LIMIT", "FOK", 0, OrderStatus.CANCELED),
        ("EXPIRED", "MARKET", "GTC", 0, OrderStatus.CANCELED),
        ("EXPIRED", "LIMIT", "GTC", 0, OrderStatus.EXPIRED),
        ("NEW_ADL", "LIMIT", "IOC", 1, OrderStatus.OPEN),
        ("SOMETHING_ELSE", "LIMIT", "GTC", 0, OrderStatus.UNKNOWN),
    ],
)
def test_states(status: str, kind: str, tif: str, filled: int, state: OrderStatus) -> None:
    assert c.order_status(status, kind, tif, D(filled)) is state


def event(**more: Any) -> m.OrderUpdate:
    words = {
        "s": "1000PEPEUSDT",
        "c": "mine",
        "S": "SELL",
        "o": "LIMIT",
        "f": "GTC",
        "q": "20",
        "p": "0.02",
        "x": "TRADE",
        "X": "PARTIALLY_FILLED",
        "i": 7,
        "l": "5",
        "L": "0.021",
        "z": "5",
        "N": "USDT",
        "n": "0.0000735",
        "T": 1_000,
        "t": 99,
        "m": True,
        "ot": "LIMIT",
    }
    return msgspec.convert({**words, **more}, m.OrderUpdate, strict=False)


def test_a_streamed_fill_of_a_thousand_market_is_in_tokens() -> None:
    pepe = market("1000PEPEUSDT")
    fill = c.streamed_fill(event(), pepe)
    assert fill is not None
    assert (fill.quantity, fill.price, fill.side, fill.trade_id) == (D(5_000), D("0.000021"), Side.SELL, "99")
    info = c.order_update(event(), pepe)
    assert (info.size, info.filled_size, info.remaining_size, info.price) == (D(20_000), D(5_000), D(15_000), D("0.00002"))


@pytest.mark.parametrize("commission", ["-0.0000735", "0.0000735"])
def test_what_was_paid_is_positive_whatever_its_sign_on_the_wire(commission: str) -> None:
    """The documentation prints it negative, the recording positive."""
    fill = c.streamed_fill(event(n=commission), market("1000PEPEUSDT"))
    assert fill is not None
    assert fill.fee == D("0.0000735")


@pytest.mark.parametrize("execution", ["NEW", "CANCELED", "EXPIRED", "AMENDMENT"])
def test_only_executions_are_fills(execution: str) -> None:
    assert c.streamed_fill(event(x=execution), market("1000PEPEUSDT")) is None


@pytest.mark.parametrize(
    ("client_id", "execution", "kind"),
    [
        ("mine", "TRADE", FillKind.TRADE),
        ("autoclose-1573000", "TRADE", FillKind.LIQUIDATION),
        ("adl_autoclose", "CALCULATED", FillKind.ADL),
        ("", "CALCULATED", FillKind.LIQUIDATION),
        ("settlement_autoclose-1", "TRADE", FillKind.SETTLEMENT),
    ],
)
def test_forced_fills_are_told_by_their_orders_names(client_id: str, execution: str, kind: FillKind) -> None:
    fill = c.streamed_fill(event(c=client_id, x=execution), market("1000PEPEUSDT"))
    assert fill is not None
    assert fill.kind is kind


def test_the_end_of_a_conditional_order_proves_nothing() -> None:
    """Its trigger may have fired: then a market order lives on under the same ids."""
    assert c.order_update(event(o="STOP_MARKET", ot="STOP_MARKET", x="EXPIRED", X="EXPIRED", z="0"), market("1000PEPEUSDT")).status is (
        OrderStatus.UNKNOWN
    )


def test_a_post_only_order_that_expired_tells_why() -> None:
    info = c.order_update(event(f="GTX", x="EXPIRED", X="EXPIRED", z="0"), market("1000PEPEUSDT"))
    assert (info.status, info.post_only, info.cancel_reason) == (OrderStatus.REJECTED, True, c.WOULD_CROSS)


def test_joint_margin_is_not_counted_for_each_asset(payloads: Path) -> None:
    account = msgspec.convert(recorded(payloads, "account", "Futures/Account/GetAccountInfo"), m.Account, strict=False)
    assert len(account.assets) == 2
    state = c.account(account, asset="USDT", ts_ns=1)
    assert (state.available, state.equity) == (D("23.72469206"), D("23.72469206"))


@pytest.mark.parametrize(("value", "text"), [("1E-5", "0.00001"), ("100.500", "100.5"), ("2E+3", "2000"), ("-0", "0"), ("0.010", "0.01")])
def test_numbers_go_out_without_exponent(value: str, text: str) -> None:
    assert wire_number(D(value)) == text


@pytest.mark.parametrize("value", ["NaN", "Infinity"])
def test_no_nonsense_goes_out(value: str) -> None:
    with pytest.raises(ValueError, match="no number"):
        wire_number(D(value))


def test_the_spec_says_where_limits_and_use_are_told() -> None:
    assert set(SPEC.usage_headers.values()) <= set(SPEC.pools)


def test_an_order_that_filled_more_than_it_is_is_garbage() -> None:
    with pytest.raises(e.DecodeError, match="has filled"):
        c.order_update(event(z="21"), market("1000PEPEUSDT"))
    assert c.order_update(event(q="0", z="5", cp=True), market("1000PEPEUSDT")).filled_size == D(5_000)
