"""Balance, fees, leverage and margin of $title."""

from __future__ import annotations

from exchange_clients.base_managers import BaseAccountManager
from exchange_clients.model import AccountState, FeeRates, Instrument


class ${Name}AccountManager(BaseAccountManager):
    async def verify_credentials(self) -> None:
        raise NotImplementedError("phase 2, step 4: prove that the key acts for the account")

    async def fetch_account(self) -> AccountState:
        raise NotImplementedError("phase 2, step 4: equity, available collateral, unrealised PnL")

    async def fetch_fee_rates(self, instrument: Instrument) -> FeeRates:
        raise NotImplementedError("phase 2, step 4: the account's own fees")
