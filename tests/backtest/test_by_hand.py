"""Two-leg funding backtests whose every cent was computed by hand."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from perpkit.backtest.runner import run_one
from tests.backtest.history import bot, candles, flat, funding, market, spec

D = Decimal


def cent(value: Decimal) -> Decimal:
    return round(value, 2)


def test_two_legs_with_different_intervals_agree_with_the_hand_to_the_cent(tmp_path: Path) -> None:
    """Price 100 for two days on both venues; alpha settles hourly at 0.001 %, beta every 8 h at 0.08 %: long alpha, short beta.

    Book: 2 bps wide around 100 with a tick of 0.01: bid 99.99, ask 100.01. Quantity: 1000 / 100.01 = 9.999, down to the step: 9.99.

        open   alpha buys  9.99 x 100.01 = 999.0999   fee 5 bps 0.49954995    beta sells 9.99 x 99.99 = 998.9001   fee 4 bps 0.39956004
        close  alpha sells 9.99 x  99.99 = 998.9001   fee 5 bps 0.49945005    beta buys 9.99 x 100.01 = 999.0999   fee 4 bps 0.39963996
        slippage: 0.01 from the mid, four times 9.99:    -0.3996
        fees together:                                   -1.7982
        funding, at the index price of 100, from 00:30 on day 1 to 00:30 on day 3:
            alpha 48 settlements x 9.99 x 100 x 0.00001 = -0.47952     (the long pays a positive rate)
            beta   6 settlements x 9.99 x 100 x 0.0008  = +4.7952      (08, 16, 00, 08, 16, 00; the short receives it)
        result: -0.3996 - 1.7982 - 0.47952 + 4.7952 =    +2.11788
    """
    for name in ("alpha", "beta"):
        flat(tmp_path / f"{name}.csv", 100, 50)
    funding(tmp_path / "alpha_funding.csv", "0.00001", every=1, hours=50)
    funding(tmp_path / "beta_funding.csv", "0.0008", every=8, hours=50)
    values = bot({"alpha": market("alpha", every=1), "beta": market("beta", every=8, taker_fee="0.0004")})
    result = run_one(spec(values, tmp_path, 0.5, 48.5))
    (position,) = result.positions
    assert (position.venues, position.quantity) == (("alpha", "beta"), D("9.99"))
    alpha, beta = result.venues
    assert (alpha.fundings, beta.fundings) == (48, 6)
    assert (alpha.split.funding, beta.split.funding) == (D("-0.47952"), D("4.7952"))
    assert (alpha.split.fees, beta.split.fees) == (D("-0.999"), D("-0.7992"))
    assert result.split.slippage == D("-0.3996")
    assert result.split.price == 0
    assert result.split.unexplained == 0
    assert result.summary.total == D("2.11788") == position.total
    assert result.summary.equity == D("20002.11788")


def test_one_leg_is_liquidated_and_the_other_closed(tmp_path: Path) -> None:
    """alpha has 150 USD for 999.0999 of notional; after five hours at 100 the price opens at 88 on both venues.

    Open at 00:30 as in the test above: alpha buys 9.99 at 100.01 (fee 0.49954995), beta sells 9.99 at 99.99 (fee 5 bps 0.49945005).
    Settlements at 01..05 h: alpha pays 5 x 0.00999 = 0.04995, beta's first one would be at 08.
    At 88 (05:00): bid 87.99, ask 88.01 (1 bps of 88 is 0.0088, to the next tick).
        alpha's equity: 150 - 0.49954995 - 0.04995 + 9.99 x (88 - 100.01) = 29.4706
        its maintenance margin: 5 % of 9.99 x 88 = 43.956, more than that: liquidated
        the book takes 9.99 at 87.99, without a fee: 9.99 x (87.99 - 100.01) = -120.0798
        left on alpha: 150 - 0.49954995 - 0.04995 - 120.0798 =      29.37070005
    The bot closes the other leg at once: beta buys 9.99 at 88.01, fee 5 bps 0.439609950
        9.99 x (99.99 - 88.01) = 119.6802; beta ends with 10000 - 0.49945005 - 0.43960995 + 119.6802 = 10118.74114
    """
    bars = [(100,) * 4] * 5 + [(88,) * 4] * 4
    for name in ("alpha", "beta"):
        candles(tmp_path / f"{name}.csv", bars)
    funding(tmp_path / "alpha_funding.csv", "0.00001", every=1, hours=9)
    funding(tmp_path / "beta_funding.csv", "0.0008", every=8, hours=9)
    values = bot(
        {"alpha": market("alpha", every=1), "beta": market("beta", every=8)},
        deposits={"alpha": 150},
        balance_buffer_pct="0",
        risk_config={"check_interval_seconds": 3600, "min_liquidation_distance_pct": "0.02"},
    )
    values["risk"] = {
        "warn_liquidation_distance": "0.03",
        "shrink_liquidation_distance": "0.02",
        "close_liquidation_distance": "0.01",
        "target_liquidation_distance": "0.04",
    }
    result = run_one(spec(values, tmp_path, 0.5, 7.5))
    alpha, beta = result.venues
    assert alpha.liquidations == 1
    assert cent(alpha.equity) == D("29.37")
    assert alpha.split.funding == D("-0.04995")
    assert beta.liquidations == 0
    assert cent(beta.equity) == D("10118.74")
    assert result.split.unexplained == 0
    (position,) = result.positions
    assert (position.state, position.total) == ("closed", result.summary.total)
    assert cent(result.summary.total) == D("-1.89")
