"""Who the key is, what the account holds, fees, leverage and margin mode."""

from __future__ import annotations

from decimal import Decimal

from exchange_clients.base_managers import BaseAccountManager
from exchange_clients.errors import ConfigError, PermissionDenied, ProtocolError
from exchange_clients.model import (
    AccountState,
    FeeRates,
    Instrument,
    KeyInfo,
    Lane,
    LeverageInfo,
    MarginMode,
    PositionMode,
)
from exchange_clients.paradex import messages as m
from exchange_clients.paradex.client.utils import converters
from exchange_clients.paradex.signing import L1_CHAINS, SPARE_S, read_felt, signer_of
from exchange_clients.signing import Command


class ParadexAccountManager(BaseAccountManager):
    """Everything is asked with the session token, which stands for the main account also when a subkey signs."""

    @property
    def identity(self) -> str:
        """The account's address, once it is derived where no variable names it."""
        if self.context.signer is None:
            return ""
        account = signer_of(self.context).known_account
        return "" if account is None else f"0x{account:x}"

    async def verify_credentials(self) -> None:
        """The venue gave a token for a signature by this key under this account's address, and shows that account."""
        signer = signer_of(self.context)
        if self.context.credentials is not None and "l1_private_key" in self.context.credentials:
            config: m.SystemConfig = await self.rest.query("system/config")
            if config.l1_chain_id != str(L1_CHAINS[self.context.config.environment]):
                raise ConfigError(f"keys are derived for chain {config.l1_chain_id} there: give l2_private_key", venue=self.context.name)
        info = await self._info()
        if read_felt(info.account) != await signer.account():
            raise PermissionDenied("the token stands for another account", venue=self.context.name)

    async def keep_session(self) -> None:
        """A little earlier than an order would: none waits for a token."""
        await signer_of(self.context).token(self.context.venue_time.now_ms(), ahead_s=SPARE_S)

    async def _info(self) -> m.AccountInfo:
        """Of the account itself; the list may hold its sub-accounts too."""
        rows: m.Results[m.AccountInfo] = await self.rest.query("account/info")
        account = await signer_of(self.context).account()
        found = next((row for row in rows.results if read_felt(row.account) == account), None)
        if found is None:
            raise PermissionDenied("the venue does not show this account to this key", venue=self.context.name)
        return found

    async def fetch_key_info(self) -> KeyInfo:
        """A subkey trades and moves nothing out; the account's own key may. Keys do not end by themselves; positions are net."""
        info, own = await self._info(), signer_of(self.context).identity.public_key
        withdraws = read_felt(info.public_key) == own if info.public_key else None
        return KeyInfo(can_trade=True, can_withdraw=withdraws, position_mode=PositionMode.ONE_WAY)

    async def fetch_account(self) -> AccountState:
        return converters.account(await self.rest.query("account"))

    async def fetch_fee_rates(self, instrument: Instrument) -> FeeRates:
        fees = (await self._info()).fees
        if fees is None:
            raise ProtocolError("the venue names no fees of this account", venue=self.context.name)
        return converters.fee_rates(fees)

    async def fetch_leverage(self, instrument: Instrument) -> LeverageInfo:
        data: m.MarginConfigs = await self.rest.query("account/margin", market=instrument.venue_symbol)
        entry = next((entry for entry in data.configs if entry.market == instrument.venue_symbol), None)
        return converters.leverage_info(entry, instrument)

    def encode_leverage(self, instrument: Instrument, leverage: Decimal, mode: MarginMode) -> Command:
        if leverage != leverage.to_integral_value() or leverage < 1:
            raise ConfigError(f"{instrument.id}: leverage is a whole number, not {leverage}", venue=self.context.name)
        body = {"leverage": int(leverage), "margin_type": mode.value.upper()}
        action = m.Action("POST", f"/v1/account/margin/{instrument.venue_symbol}", body=body)
        return Command(endpoint="set_margin", payload=action, lane=Lane.QUERY)
