"""Who the key is, what the account holds, fees, leverage and margin."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from exchange_clients.base_managers import BaseAccountManager
from exchange_clients.errors import ConfigError, PermissionDenied
from exchange_clients.hyperliquid import messages as m
from exchange_clients.hyperliquid.client.managers.market_data import collateral_dexes
from exchange_clients.hyperliquid.client.managers.order_manager import command
from exchange_clients.hyperliquid.client.utils import converters
from exchange_clients.hyperliquid.client.utils.caching import venue_cache
from exchange_clients.hyperliquid.common import refusal
from exchange_clients.hyperliquid.signing import signer_of, trading_address
from exchange_clients.model import (
    NS_PER_HOUR,
    NS_PER_MS,
    ZERO,
    AccountState,
    FeeRates,
    Instrument,
    KeyInfo,
    Lane,
    LeverageInfo,
    MarginMode,
    PositionMode,
)
from exchange_clients.signing import Command, Credentials

WARN_DAYS: Final = 7
DAY_NS: Final = 24 * NS_PER_HOUR
_SHARED_COLLATERAL: Final = frozenset({"unifiedAccount", "portfolioMargin"})


class HyperliquidAccountManager(BaseAccountManager):
    """Reads name the account (or the vault or sub-account traded for): asked with the agent's address the venue shows nothing."""

    async def verify_credentials(self) -> None:
        """The key is the account's own or an agent of it, and it may trade for the vault or sub-account; the action budget is noted."""
        signer = signer_of(self.context)
        role: m.UserRole = await self.rest.query("userRole", user=signer.key_address)
        master = signer.key_address
        if role.role == "agent" and role.data is not None and role.data.user:
            master = role.data.user.lower()
            await self._check_expiry(signer.key_address, master)
        elif role.role != "user":
            raise PermissionDenied(
                f"the key's address {_short(master)} is neither an account nor an approved agent ({role.role})", venue=self.context.name
            )
        if signer.account != master:
            raise PermissionDenied(
                f"the key belongs to {_short(master)}, not to {_short(signer.account)}; a vault or sub-account is named by vault_address",
                venue=self.context.name,
            )
        if signer.vault is not None:
            await self._verify_owned(signer.vault, master)
        venue_cache(self.context).shared_collateral = await self.rest.query("userAbstraction", user=signer.address) in _SHARED_COLLATERAL
        budget: m.UserRateLimit = await self.rest.query("userRateLimit", user=signer.address)
        venue_cache(self.context).action_cap = Decimal(budget.nRequestsCap)
        self.context.limiter.observe("address", used=budget.nRequestsUsed - budget.nRequestsSurplus, limit=budget.nRequestsCap)

    async def _verify_owned(self, address: str, master: str) -> None:
        """A sub-account names its master. A vault does not name its leader: the first command will tell."""
        owned: m.UserRole = await self.rest.query("userRole", user=address)
        if owned.role == "vault":
            return
        if owned.role != "subAccount" or owned.data is None or (owned.data.master or "").lower() != master:
            raise PermissionDenied(f"{_short(address)} is no sub-account of {_short(master)} ({owned.role})", venue=self.context.name)

    async def fetch_key_info(self) -> KeyInfo:
        """An agent trades until its approval ends and cannot withdraw; the account's own key has no end and can."""
        signer = signer_of(self.context)
        role: m.UserRole = await self.rest.query("userRole", user=signer.key_address)
        if role.role == "agent" and role.data is not None and role.data.user:
            expires_ns = await self._expires_ns(signer.key_address, role.data.user.lower())
            return KeyInfo(expires_ns=expires_ns, can_trade=True, can_withdraw=False, position_mode=PositionMode.ONE_WAY)
        own = role.role == "user"
        return KeyInfo(can_trade=own, can_withdraw=own, position_mode=PositionMode.ONE_WAY)

    async def _expires_ns(self, agent: str, master: str) -> int | None:
        """The venue lists the ends of named agents only."""
        agents: list[m.ExtraAgent] = await self.rest.query("extraAgents", user=master)
        return next((entry.validUntil * NS_PER_MS for entry in agents if entry.address.lower() == agent), None)

    async def _check_expiry(self, agent: str, master: str) -> None:
        expires_ns = await self._expires_ns(agent, master)
        if expires_ns is None:
            return
        days = (expires_ns - self.context.venue_time.now_ns()) / DAY_NS
        if days < 0:
            raise PermissionDenied("the agent's approval has expired: approve it again", venue=self.context.name)
        if days < WARN_DAYS:
            self.context.log.warning("agent.expires days=%.1f", days)

    async def fetch_account(self) -> AccountState:
        """The dexes whose collateral is USDC together; under unified and portfolio margin the spot balance."""
        return await self._account_of(trading_address(self.context), shared=venue_cache(self.context).shared_collateral)

    async def fetch_public_account(self, names: Credentials) -> AccountState | None:
        user = (names.get("vault_address") or names.get("account_address")).lower()
        if not user:
            return None
        return await self._account_of(user, shared=await self.rest.query("userAbstraction", user=user) in _SHARED_COLLATERAL)

    async def _account_of(self, user: str, *, shared: bool) -> AccountState:
        asset = self.context.spec.collateral
        states: list[m.ClearinghouseState] = [
            await self.rest.query("clearinghouseState", user=user, dex=dex) for dex in collateral_dexes(self.context)
        ]
        spot: m.SpotState | None = None
        if shared:
            spot = await self.rest.query("spotClearinghouseState", user=user)
        return converters.account(states, spot, asset=asset, ts_ns=self.context.runtime.clock.time_ns())

    async def fetch_fee_rates(self, instrument: Instrument) -> FeeRates:
        """The account's rates; builder markets charge a multiple of them and share no rebate (an upper bound)."""
        rates = converters.fee_rates(await self.rest.query("userFees", user=trading_address(self.context)))
        scale = venue_cache(self.context).fee_scale(instrument)
        return rates if scale == 1 else FeeRates(maker=max(ZERO, rates.maker) * scale, taker=rates.taker * scale)

    async def fetch_leverage(self, instrument: Instrument) -> LeverageInfo:
        data: m.ActiveAssetData = await self.rest.query("activeAssetData", user=trading_address(self.context), coin=instrument.venue_symbol)
        return converters.leverage_info(data, instrument, venue_cache(self.context).tiers(instrument))

    def encode_leverage(self, instrument: Instrument, leverage: Decimal, mode: MarginMode) -> Command:
        if leverage != leverage.to_integral_value() or leverage < 1:
            raise ConfigError(f"{instrument.id}: leverage is a whole number, not {leverage}", venue=self.context.name)
        if mode is MarginMode.CROSS and instrument.only_isolated:
            raise ConfigError(f"{instrument.id} can only be held with isolated margin", venue=self.context.name)
        number = venue_cache(self.context).number(instrument)
        return command(self.context, m.UpdateLeverage(number, mode is MarginMode.CROSS, int(leverage)), Lane.QUERY, counted=1)

    def encode_isolated_margin(self, instrument: Instrument, amount: Decimal) -> Command:
        micros = amount.scaleb(6)
        if micros != micros.to_integral_value() or not micros:
            raise ConfigError(f"{instrument.id}: {amount} is no amount in whole millionths", venue=self.context.name)
        action = m.UpdateIsolatedMargin(venue_cache(self.context).number(instrument), True, int(micros))
        return command(self.context, action, Lane.UNWIND, counted=1)

    def decode_setting(self, reply: m.Reply) -> None:
        if reply.status != "ok":
            raise refusal(str(reply.response))


def _short(address: str) -> str:
    return f"{address[:6]}...{address[-4:]}"
