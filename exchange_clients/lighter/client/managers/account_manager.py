"""Who the key is, what the account holds, fees, leverage and margin."""

from __future__ import annotations

from decimal import Decimal
from typing import cast

from exchange_clients.base_managers import BaseAccountManager
from exchange_clients.context import ClientContext
from exchange_clients.errors import ConfigError, PermissionDenied, ProtocolError
from exchange_clients.lighter import messages as m
from exchange_clients.lighter.client.managers.market_data import LighterMarketData
from exchange_clients.lighter.client.managers.order_manager import command
from exchange_clients.lighter.client.utils import converters
from exchange_clients.lighter.client.utils.caching import identity_of
from exchange_clients.lighter.client.utils.helpers import usdc_amount
from exchange_clients.lighter.common import TIERS
from exchange_clients.lighter.signing import Tx, TxType
from exchange_clients.model import AccountState, FeeRates, Instrument, KeyInfo, Lane, LeverageInfo, MarginMode, PositionMode
from exchange_clients.signing import Command, Credentials


async def fetch_account_row(context: ClientContext, index: int | None = None) -> m.AccountRow:
    """The account (ours unless another is named) with its positions; public data."""
    index = identity_of(context).account_index if index is None else index
    reply: m.Accounts = await context.rest.query("account", by="index", value=index)
    for row in reply.accounts:
        if row.index == index:
            return row
    raise ProtocolError(f"the venue does not show account {index}", venue=context.name)


class LighterAccountManager(BaseAccountManager):
    async def verify_credentials(self) -> None:
        """The account's key under this index is ours; the tier's limits are taken over."""
        await self._check_registered()
        tier = (await self._limits()).user_tier.lower()
        if (raised := TIERS.get(tier)) is not None:
            for pool, limit in zip(("requests", "weight"), raised, strict=True):
                self.context.limiter.observe(pool, limit=limit)
        self.context.log.info("account.tier tier=%s", tier)

    async def fetch_key_info(self) -> KeyInfo:
        """A registered key has no end; it withdraws to the owner's own address only (transfers need the owner's signature)."""
        await self._check_registered()
        return KeyInfo(can_trade=True, can_withdraw=False, position_mode=PositionMode.ONE_WAY)

    async def _check_registered(self) -> None:
        identity = identity_of(self.context)
        reply: m.ApiKeys = await self.rest.query("apikeys", account_index=identity.account_index, api_key_index=identity.api_key_index)
        own = (await self.context.runtime.offload.run(identity.public_key)).hex()
        registered = [key.public_key.removeprefix("0x") for key in reply.api_keys if key.api_key_index == identity.api_key_index]
        if own not in registered:
            what = "another key is" if registered else "no key is"
            raise PermissionDenied(
                f"{what} registered under api_key_index {identity.api_key_index} of account {identity.account_index}",
                venue=self.context.name,
            )

    async def _limits(self) -> m.AccountLimits:
        limits: m.AccountLimits = await self.rest.query("accountLimits", account_index=identity_of(self.context).account_index)
        return limits

    async def fetch_account(self) -> AccountState:
        return converters.account(await fetch_account_row(self.context), self.context.runtime.clock.time_ns())

    async def fetch_public_account(self, names: Credentials) -> AccountState | None:
        if not names.get("account_index").isdecimal():
            return None
        return converters.account(await fetch_account_row(self.context, int(names["account_index"])), self.context.runtime.clock.time_ns())

    async def fetch_fee_rates(self, instrument: Instrument) -> FeeRates:
        """One pair for all markets."""
        return converters.fee_rates(await self._limits())

    async def fetch_leverage(self, instrument: Instrument) -> LeverageInfo:
        rows = (await fetch_account_row(self.context)).positions
        row = next((r for r in rows if str(r.market_id) == instrument.contract_id), None)
        if row is not None:
            return converters.leverage_info(row, instrument)
        market = await cast(LighterMarketData, self.context.market_data).fetch_market(instrument)
        return converters.leverage_unset(market, instrument)

    def encode_leverage(self, instrument: Instrument, leverage: Decimal, mode: MarginMode) -> Command:
        """A margin mode cannot change while the market has a position or orders: the venue refuses."""
        if leverage < 1:
            raise ConfigError(f"{instrument.id}: leverage {leverage} is below 1", venue=self.context.name)
        fields = {
            "MarketIndex": int(instrument.contract_id),
            "InitialMarginFraction": converters.margin_fraction(leverage),
            "MarginMode": int(mode is MarginMode.ISOLATED),
        }
        return command(self.context, Tx(TxType.UPDATE_LEVERAGE, fields), Lane.QUERY)

    def encode_isolated_margin(self, instrument: Instrument, amount: Decimal) -> Command:
        fields = {"MarketIndex": int(instrument.contract_id), "USDCAmount": usdc_amount(abs(amount)), "Direction": int(amount > 0)}
        return command(self.context, Tx(TxType.UPDATE_MARGIN, fields), Lane.UNWIND)
