"""Who the key is, what the account holds, fees, leverage and margin, and the life of its stream."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import cast

from exchange_clients.aster import messages as m
from exchange_clients.aster.client.managers.order_manager import command
from exchange_clients.aster.client.utils import converters
from exchange_clients.aster.client.utils.helpers import wire_number
from exchange_clients.aster.common import NO_CHANGE
from exchange_clients.aster.websocket.connection import AsterDialect
from exchange_clients.base_managers import BaseAccountManager
from exchange_clients.errors import ConfigError, PermissionDenied, ProtocolError, RequestRefused
from exchange_clients.model import AccountState, FeeRates, Instrument, KeyInfo, Lane, LeverageInfo, MarginMode, PositionMode
from exchange_clients.signing import Command
from exchange_clients.transport.command import Progress

HEDGE_MODE = (
    "the account is in hedge mode (long and short side by side): this library trades net positions. Close everything and switch to one-way "
    "mode, on the venue's page or with account_manager.set_one_way_mode()"
)


class AsterAccountManager(BaseAccountManager):
    @property
    def identity(self) -> str:
        """The user's address; of v1 only a digest of the key is known."""
        address = super().identity
        return f"key-{address}" if address.startswith("v1-") else address

    async def verify_credentials(self) -> None:
        """The key reads the account, the account may trade, and it holds net positions.

        Raises:
            ConfigError: the account is in hedge mode.
        """
        account: m.Account = await self.rest.query("account")
        if not account.canTrade:
            raise PermissionDenied("the account may not trade", venue=self.context.name)
        if (await self._mode()) is PositionMode.HEDGE:
            raise ConfigError(HEDGE_MODE, venue=self.context.name)

    async def _mode(self) -> PositionMode:
        answer: m.PositionMode = await self.rest.query("positionMode")
        return PositionMode.HEDGE if answer.dualSidePosition else PositionMode.ONE_WAY

    async def fetch_key_info(self) -> KeyInfo:
        """The venue tells of the account, not of the agent: whether that may withdraw, and its end, are not known."""
        account: m.Account = await self.rest.query("account")
        return KeyInfo(can_trade=account.canTrade, position_mode=await self._mode())

    async def set_one_way_mode(self) -> None:
        """Account-wide; the venue refuses while an order or a position is open."""
        if (await self._mode()) is PositionMode.HEDGE:
            setting = command(self.context, "setPositionMode", Lane.QUERY, dualSidePosition=False)
            self.decode_setting(await self.context.port.send(setting, Progress()))

    async def keep_session(self) -> None:
        await cast(AsterDialect, self.context.websocket.dialect).keep_listen_key()

    async def fetch_account(self) -> AccountState:
        data: m.Account = await self.rest.query("account")
        return converters.account(data, asset=self.context.spec.collateral, ts_ns=self.context.runtime.clock.time_ns())

    async def fetch_fee_rates(self, instrument: Instrument) -> FeeRates:
        return converters.fee_rates(await self.rest.query("commissionRate", symbol=instrument.venue_symbol))

    async def fetch_leverage(self, instrument: Instrument) -> LeverageInfo:
        symbol = instrument.venue_symbol
        rows: list[m.PositionRisk] = await self.rest.query("positionRisk", symbol=symbol)
        row = next((row for row in rows if row.symbol == symbol), None)
        if row is None:
            raise ProtocolError(f"no position row of {symbol}", venue=self.context.name)
        found: m.Brackets | list[m.Brackets] = await self.rest.query("leverageBracketOf", symbol=symbol)
        listed = found if isinstance(found, list) else [found]
        return converters.leverage_info(row, next((entry.brackets for entry in listed if entry.symbol == symbol), ()))

    def encode_settings(self, instrument: Instrument, before: LeverageInfo, leverage: Decimal, mode: MarginMode) -> Sequence[Command]:
        """Two settings, each sent where it differs."""
        wanted = []
        if before.margin_mode is not mode:
            word = "ISOLATED" if mode is MarginMode.ISOLATED else "CROSSED"
            wanted.append(command(self.context, "setMarginType", Lane.QUERY, symbol=instrument.venue_symbol, marginType=word))
        if before.account_leverage != leverage:
            wanted.append(self.encode_leverage(instrument, leverage, mode))
        return wanted

    def encode_leverage(self, instrument: Instrument, leverage: Decimal, mode: MarginMode) -> Command:
        if leverage != leverage.to_integral_value() or leverage < 1:
            raise ConfigError(f"{instrument.id}: leverage is a whole number, not {leverage}", venue=self.context.name)
        return command(self.context, "setLeverage", Lane.QUERY, symbol=instrument.venue_symbol, leverage=int(leverage))

    async def set_leverage(self, instrument: Instrument, leverage: Decimal, mode: MarginMode | None = None) -> LeverageInfo:
        """Somebody may have set it meanwhile: "no need to change" is looked at again, not an error."""
        try:
            return await super().set_leverage(instrument, leverage, mode)
        except RequestRefused as e:
            if e.code not in NO_CHANGE:
                raise
        return await super().set_leverage(instrument, leverage, mode)

    def encode_isolated_margin(self, instrument: Instrument, amount: Decimal) -> Command:
        if not amount:
            raise ConfigError(f"{instrument.id}: an amount of 0 moves nothing", venue=self.context.name)
        return command(
            self.context,
            "moveMargin",
            Lane.UNWIND,
            symbol=instrument.venue_symbol,
            amount=wire_number(abs(amount)),
            type=1 if amount > 0 else 2,
        )
