"""All tables. Importing this loads SQLAlchemy."""

from .accounts import AccountRow, CredentialRow, ProxyRow, VaultKeyRow
from .base import Base
from .market_data import (
    CollectionLogRow,
    FundingHistoryRow,
    FundingRateRow,
    HourlyFundingRateRow,
    LatestFundingRateRow,
    OpportunityRow,
    SymbolRow,
    VenueRow,
    VenueSymbolRow,
)
from .operation import ApiKeyRow, AuditRow, DeadLetterRow, NotificationRow, RunRow, StrategyConfigRow
from .trading import (
    DecisionRow,
    FillRow,
    FundingPaymentRow,
    HoldingRow,
    IntentRow,
    LedgerRow,
    OrderRow,
    PairRow,
    StrategyStateRow,
)

__all__ = [
    "AccountRow",
    "ApiKeyRow",
    "AuditRow",
    "Base",
    "CollectionLogRow",
    "CredentialRow",
    "DeadLetterRow",
    "DecisionRow",
    "FillRow",
    "FundingHistoryRow",
    "FundingPaymentRow",
    "FundingRateRow",
    "HoldingRow",
    "HourlyFundingRateRow",
    "IntentRow",
    "LatestFundingRateRow",
    "LedgerRow",
    "NotificationRow",
    "OpportunityRow",
    "OrderRow",
    "PairRow",
    "ProxyRow",
    "RunRow",
    "StrategyConfigRow",
    "StrategyStateRow",
    "SymbolRow",
    "VaultKeyRow",
    "VenueRow",
    "VenueSymbolRow",
]
