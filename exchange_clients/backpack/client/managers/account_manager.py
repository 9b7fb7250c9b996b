"""Who the key is, what the account holds, fees and leverage."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import Any

from exchange_clients.backpack import messages as m
from exchange_clients.backpack.client.utils import converters
from exchange_clients.backpack.client.utils.helpers import wire_number
from exchange_clients.base_managers import BaseAccountManager
from exchange_clients.errors import ConfigError
from exchange_clients.model import AccountState, FeeRates, Instrument, KeyInfo, Lane, LeverageInfo, MarginMode, PositionMode
from exchange_clients.signing import Command


class BackpackAccountManager(BaseAccountManager):
    """One key belongs to one account or subaccount; margin is cross over all collateral."""

    @property
    def identity(self) -> str:
        """A digest of the key's public half: the venue tells nothing that two keys of one account have in common."""
        address = super().identity
        return address and "key-" + hashlib.sha256(address.encode()).hexdigest()[:16]

    async def verify_credentials(self) -> None:
        """A signed read: the venue answers for the account of the key only."""
        account: m.Account = await self.rest.query("accountQuery")
        if account.liquidating:
            self.context.log.error("account.liquidating")

    async def fetch_key_info(self) -> KeyInfo:
        """The venue does not say what a key may do or until when; that it answers proves that the key lives. There is no hedge mode."""
        await self.rest.query("accountQuery")
        return KeyInfo(position_mode=PositionMode.ONE_WAY)

    async def fetch_account(self) -> AccountState:
        data: m.Collateral = await self.rest.query("collateralQuery")
        return converters.account(data, asset=self.context.spec.collateral, ts_ns=self.context.runtime.clock.time_ns())

    async def fetch_fee_rates(self, instrument: Instrument) -> FeeRates:
        return converters.fee_rates(await self.rest.query("accountQuery"))

    async def fetch_leverage(self, instrument: Instrument) -> LeverageInfo:
        return converters.leverage_info(await self.rest.query("accountQuery"), instrument)

    def encode_leverage(self, instrument: Instrument, leverage: Decimal, mode: MarginMode) -> Command:
        """One limit for all markets of the account."""
        if leverage < 1:
            raise ConfigError(f"leverage is at least 1, not {leverage}", venue=self.context.name)
        return Command("accountUpdate", {"leverageLimit": wire_number(leverage)}, Lane.QUERY)

    def decode_setting(self, reply: Any) -> None:
        """The body is empty; `set_leverage` reads back."""
