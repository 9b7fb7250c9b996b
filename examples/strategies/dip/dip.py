"""Buys when the price has fallen from its highest ask, sells what it holds when it has risen again. A lesson in form, not in trading."""

from decimal import Decimal

from pydantic import BaseModel, ConfigDict, Field

from database.records import HoldingState
from exchange_clients.model import Bbo, Side
from strategies.base_strategy import BaseStrategy
from strategies.execution.desk import Ticket, TicketRefused


class DipConfig(BaseModel):
    """`dip` and `profit` are fractions of a price, `notional_usd` is the worth of one position."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    exchange: str
    symbol: str
    notional_usd: Decimal = Field(default=Decimal(200), gt=0)
    dip: Decimal = Field(default=Decimal("0.002"), gt=0, lt=1)
    profit: Decimal = Field(default=Decimal("0.002"), gt=0, lt=1)


class Dip(BaseStrategy[DipConfig]):
    name = "dip"
    config_class = DipConfig
    interval_s = 5.0
    highest = Decimal(0)

    async def initialize(self) -> None:
        self.market = await self.context.clients[self.config.exchange].instruments.load(self.config.symbol)
        self.follow(self.config.exchange, self.config.symbol)

    def on_bbo(self, bbo: Bbo) -> None:
        self.highest = max(self.highest, bbo.ask)

    async def run_cycle(self) -> None:
        config, desk = self.config, self.context.desk
        bid, ask = await self.context.clients[config.exchange].fetch_bbo_prices(config.symbol)
        holding = desk.find(str(self.market.id))
        try:
            if holding is None and self.highest and ask <= self.highest * (1 - config.dip):
                why = self.decision("enter", "dip", f"buy at {ask}", symbol=config.symbol, inputs={"ask": ask, "highest": self.highest})
                holding = await desk.open_holding(str(self.market.id), sign=+1, reason="dip", decision=why)
                await holding.place(Ticket(side=Side.BUY, quantity=self.market.round_quantity(config.notional_usd / ask)))
            elif holding is not None and holding.state is HoldingState.OPEN and not holding.orders(live=True):
                bought = [order for order in holding.orders() if order.filled]
                if not bought or bid >= bought[0].cost / bought[0].filled * (1 + config.profit):
                    rule = "profit" if bought else "not_filled"
                    why = self.decision("exit", rule, f"at {bid}", symbol=config.symbol, pair_id=holding.holding_id, inputs={"bid": bid})
                    self.highest = ask
                    await desk.close(holding.holding_id, rule, why)
        except TicketRefused as no:
            await self.context.journal.write(self.decision("skip", no.rule, no.detail, symbol=config.symbol))
