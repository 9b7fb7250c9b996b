"""Whether the account can be traded as this client trades, what it holds, fees, leverage."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any, Final

from exchange_clients.base_managers import BaseAccountManager
from exchange_clients.errors import ConfigError, PermissionDenied, ProtocolError
from exchange_clients.model import AccountState, FeeRates, Instrument, KeyInfo, Lane, LeverageInfo, MarginMode
from exchange_clients.okx import messages as m
from exchange_clients.okx.client.utils import converters
from exchange_clients.okx.client.utils.caching import venue_cache
from exchange_clients.okx.client.utils.helpers import wire_number
from exchange_clients.okx.common import ENDPOINTS, ISOLATED_HINT, refusal
from exchange_clients.okx.signing import Operation
from exchange_clients.signing import Command

UNUSABLE: Final = {
    "1": "account mode 'spot' has no swaps",
    "4": "account mode 'portfolio margin' knows no reduce-only orders, on which every exit relies",
}
USABLE_MODES: Final = ("2", "3")
NET: Final = "net_mode"


class OkxAccountManager(BaseAccountManager):
    _uid = ""

    @property
    def identity(self) -> str:
        """The venue's number of the (sub-)account: the key itself names nobody."""
        return self._uid

    async def verify_credentials(self) -> None:
        """The key may trade, and the account is in modes that this client understands: those are settings of the account, read only here.

        Raises:
            PermissionDenied: the key may not trade.
            ConfigError: the account's mode cannot hold swaps, positions are kept per side, one is isolated, or the key may withdraw and
                nobody said it may.
        """
        config = await self._config()
        self._uid = config.uid
        problems = []
        if config.acctLv not in USABLE_MODES:
            problem = UNUSABLE.get(config.acctLv, f"account mode {config.acctLv!r} is not known")
            problems.append(f"{problem}: choose futures mode or multi-currency margin")
        if config.posMode != NET:
            problems.append(f"position mode {config.posMode!r}: choose net_mode (it can be changed without positions and orders)")
        positions: m.Reply[list[m.PositionRow]] = await self.rest.query("positions", instType="SWAP")
        alone = sorted({row.instId for row in positions.data if converters.isolated(row) and converters.maybe(row.pos, "pos")})
        if alone:
            problems.append(f"an isolated position is open ({', '.join(alone)}): {ISOLATED_HINT}")
        if problems:
            raise ConfigError(f"the account's settings at the venue do not fit: {'; '.join(problems)}", venue=self.context.name)
        permissions = converters.permissions(config)
        if "trade" not in permissions:
            raise PermissionDenied(f"the key may not trade (it may: {config.perm or 'nothing'})", venue=self.context.name)
        if "withdraw" in permissions:
            if not self.context.config.venue_options.get("allow_withdrawal_key", False):
                raise ConfigError(
                    "this key can withdraw: make one that cannot, or set venue_options allow_withdrawal_key",
                    venue=self.context.name,
                )
            self.context.log.warning("key.may_withdraw hint=%r", "make a key that can only read and trade")

    async def _config(self) -> m.Config:
        config: m.Config = await self._row("config")
        return config

    async def _row(self, endpoint: str, **arguments: Any) -> Any:
        """The one row of an answer."""
        reply: m.Reply[list[Any]] = await self.rest.query(endpoint, **arguments)
        if not reply.data:
            raise ProtocolError(f"{endpoint} is empty", venue=self.context.name)
        return reply.data[0]

    async def fetch_key_info(self) -> KeyInfo:
        """The venue tells no end of a key (one that is bound to no address ends after two weeks without use)."""
        return converters.key_info(await self._config())

    async def fetch_account(self) -> AccountState:
        return converters.account(await self._row("balance"), self.context.spec.collateral, self.context.runtime.clock.time_ns())

    async def fetch_fee_rates(self, instrument: Instrument) -> FeeRates:
        group = venue_cache(self.context).names(instrument).fee_group
        return converters.fee_rates(await self._row("trade_fee", instType="SWAP", groupId=group or None), group)

    async def fetch_leverage(self, instrument: Instrument) -> LeverageInfo:
        """The account's cross leverage; tiers are valued at mark. Three requests."""
        self.context.require_signer()
        name, family = instrument.venue_symbol, venue_cache(self.context).names(instrument).family
        setting, tiers, mark = await asyncio.gather(
            self.rest.query("leverage_info", instId=name, mgnMode="cross"),
            self.rest.query("position_tiers", instType="SWAP", tdMode="cross", instFamily=family),
            self._row("mark_price", instType="SWAP", instId=name),
        )
        price = converters.price_of(mark.markPx, instrument, "markPx")
        return converters.leverage_info(next(iter(setting.data), None), tiers.data, price, instrument)

    def encode_leverage(self, instrument: Instrument, leverage: Decimal, mode: MarginMode) -> Command:
        row = {"instId": instrument.venue_symbol, "lever": wire_number(leverage), "mgnMode": mode.value}
        return Command(endpoint="set_leverage", payload=Operation(ENDPOINTS["set_leverage"].path, [row]), lane=Lane.QUERY)

    def decode_setting(self, reply: m.Reply[list[m.LeverageRow]]) -> None:
        if reply.code != "0":
            raise refusal(reply.code, reply.msg)
