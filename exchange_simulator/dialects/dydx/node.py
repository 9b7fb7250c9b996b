"""A validator's services: gRPC, and those few of its REST (LCD) and Tendermint RPC paths that clients without gRPC use."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from exchange_simulator.core.types import UNIT
from exchange_simulator.dialects.base import GRPC, Received, Refusal, Reply, Route
from exchange_simulator.dialects.dydx import proto, wire
from exchange_simulator.dialects.dydx.chain import GAS_USED, PUB_KEY_URL, Rejected, TxRecord, parse
from exchange_simulator.dialects.dydx.clob import EQUITY_TIERS, SHORT_TERM_PER, STATEFUL_PER, Subaccount

if TYPE_CHECKING:
    from exchange_simulator.dialects.dydx.dialect import DydxDialect

BASE_ACCOUNT_URL: Final = "/cosmos.auth.v1beta1.BaseAccount"
VERSION: Final = "9.6.1"
_PPM_OF_UNIT: Final = UNIT // 10**6


def not_found(what: str) -> Refusal:
    return Refusal("not_found", what, status=404)


class Node:
    """Answers of one validator."""

    def __init__(self, dialect: DydxDialect) -> None:
        self._dialect = dialect
        self._exchange = dialect.exchange

    # ---- routes

    def routes(self) -> list[Route]:
        def call(
            method: str, request: proto.Schema, response: proto.Schema, answer: Callable[[dict[str, Any]], Mapping[str, Any]]
        ) -> Route:
            async def handle(received: Received) -> Reply:
                try:
                    asked = proto.decode(request, received.body)
                except proto.WireError as e:
                    raise Refusal("request", f"grpc: error unmarshalling request: {e}", status=400) from None
                return Reply(proto.encode(response, answer(asked)))

            return Route(GRPC, f"/{method}", handle)

        def get(path: str, answer: Callable[[Received], Any]) -> Route:
            async def handle(received: Received) -> Reply:
                return Reply(answer(received))

            return Route("GET", path, handle)

        clob, fees, perpetuals, prices = (f"dydxprotocol.{module}.Query" for module in ("clob", "feetiers", "perpetuals", "prices"))
        auth, bank, tx, tendermint = (
            "cosmos.auth.v1beta1.Query",
            "cosmos.bank.v1beta1.Query",
            "cosmos.tx.v1beta1.Service",
            "cosmos.base.tendermint.v1beta1.Service",
        )
        empty: proto.Schema = {}
        return [
            call(f"{tx}/BroadcastTx", proto.BROADCAST_REQUEST, proto.BROADCAST_RESPONSE, self._broadcast),
            call(f"{tx}/Simulate", proto.SIMULATE_REQUEST, proto.SIMULATE_RESPONSE, self._simulate),
            call(f"{tx}/GetTx", proto.GET_TX_REQUEST, proto.GET_TX_RESPONSE, self._get_tx),
            call(f"{auth}/Account", proto.ADDRESS_REQUEST, proto.ACCOUNT_RESPONSE, self._account),
            call(f"{auth}/AccountInfo", proto.ADDRESS_REQUEST, proto.ACCOUNT_INFO_RESPONSE, lambda q: {"info": self._base(q["address"])}),
            call(f"{bank}/Balance", proto.BALANCE_REQUEST, proto.BALANCE_RESPONSE, self._balance),
            call(f"{bank}/AllBalances", proto.ALL_BALANCES_REQUEST, proto.ALL_BALANCES_RESPONSE, self._balances),
            call(f"{tendermint}/GetLatestBlock", empty, proto.LATEST_BLOCK_RESPONSE, lambda q: self._latest_block()),
            call(f"{tendermint}/GetNodeInfo", empty, proto.NODE_INFO_RESPONSE, lambda q: self._node_info()),
            call(
                "dydxprotocol.accountplus.Query/GetAuthenticators", proto.AUTHENTICATORS_REQUEST, proto.AUTHENTICATORS_RESPONSE, self._keys
            ),
            call("dydxprotocol.subaccounts.Query/Subaccount", proto.SUBACCOUNT_ID, proto.SUBACCOUNT_RESPONSE, self._subaccount),
            call(f"{clob}/ClobPair", proto.ID_REQUEST, proto.CLOB_PAIR_RESPONSE, lambda q: {"clob_pair": self._pair(q["id"])}),
            call(f"{clob}/ClobPairAll", proto.PAGED_REQUEST, proto.CLOB_PAIR_ALL_RESPONSE, lambda q: self._pairs()),
            call(f"{clob}/EquityTierLimitConfiguration", empty, proto.EQUITY_TIERS_RESPONSE, lambda q: self._equity_tiers()),
            call(f"{clob}/BlockRateLimitConfiguration", empty, proto.BLOCK_RATE_RESPONSE, lambda q: self._block_rate()),
            call(f"{clob}/StatefulOrder", proto.STATEFUL_ORDER_REQUEST, proto.STATEFUL_ORDER_RESPONSE, self._stateful_order),
            call(f"{clob}/Leverage", proto.SUBACCOUNT_ID, proto.LEVERAGE_RESPONSE, self._leverage),
            call(f"{fees}/UserFeeTier", proto.USER_REQUEST, proto.USER_FEE_TIER_RESPONSE, lambda q: self._fee_tier(q["user"])),
            call(f"{fees}/PerpetualFeeParams", empty, proto.FEE_PARAMS_RESPONSE, lambda q: {"params": {"tiers": [self._tier(None)]}}),
            call(f"{fees}/UserStakingTier", proto.ADDRESS_REQUEST, proto.STAKING_TIER_RESPONSE, lambda q: self._staking_tier()),
            call(f"{fees}/PerMarketFeeDiscountParams", proto.CLOB_PAIR_ID_REQUEST, proto.FEE_DISCOUNT_RESPONSE, self._discount),
            call(f"{fees}/AllMarketFeeDiscountParams", empty, proto.FEE_DISCOUNTS_RESPONSE, lambda q: self._discounts()),
            call(f"{perpetuals}/Perpetual", proto.ID_REQUEST, proto.PERPETUAL_RESPONSE, lambda q: {"perpetual": self._perpetual(q["id"])}),
            call(f"{perpetuals}/AllPerpetuals", proto.PAGED_REQUEST, proto.PERPETUALS_RESPONSE, lambda q: self._perpetuals()),
            call(f"{prices}/MarketPrice", proto.ID_REQUEST, proto.MARKET_PRICE_RESPONSE, lambda q: {"market_price": self._price(q["id"])}),
            call(f"{prices}/AllMarketPrices", proto.PAGED_REQUEST, proto.MARKET_PRICES_RESPONSE, lambda q: self._prices()),
            get("/abci_info", lambda r: self._abci_info()),
            get("/broadcast_tx_sync", self._rpc_broadcast),
            get("/cosmos/auth/v1beta1/account_info/{address}", lambda r: self._lcd_account(_last(r))),
            get("/dydxprotocol/v4/feetiers/user_fee_tier", lambda r: self._lcd_fee_tier(r.params.get("user", ""))),
            get("/dydxprotocol/accountplus/authenticators/{address}", lambda r: self._lcd_authenticators(_last(r))),
            Route("POST", "/cosmos/tx/v1beta1/simulate", self._lcd_simulate),
        ]

    # ---- transactions

    def _response(self, name: str, rejected: Rejected | None) -> dict[str, Any]:
        if rejected is None:
            return {"txhash": name, "raw_log": "[]"}
        return {"txhash": name, "codespace": rejected.codespace, "code": rejected.code, "raw_log": rejected.log}

    def _broadcast(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"tx_response": self._response(*self._dialect.broadcast(asked["tx_bytes"]))}

    def _simulate(self, asked: dict[str, Any]) -> dict[str, Any]:
        raw = asked["tx_bytes"]
        if raw:
            try:
                parse(raw)
            except Rejected as e:
                raise Refusal("simulate", e.log, status=400) from None
        return {"gas_info": {"gas_wanted": 0, "gas_used": GAS_USED}, "result": {"log": ""}}

    def _record(self, record: TxRecord) -> dict[str, Any]:
        return {
            "height": record.height,
            "txhash": record.tx.hash,
            "codespace": record.codespace,
            "code": record.code,
            "raw_log": record.log,
            "gas_wanted": (record.tx.auth["fee"] or {}).get("gas_limit", 0),
            "gas_used": GAS_USED,
            "timestamp": wire.iso(record.ts_ns)[:-5] + "Z",
        }

    def _get_tx(self, asked: dict[str, Any]) -> dict[str, Any]:
        record = self._dialect.chain.records.get(asked["hash"].upper())
        if record is None:
            raise not_found(f"tx not found: {asked['hash']}")
        return {"tx": record.tx.raw, "tx_response": self._record(record)}

    # ---- accounts

    def _base(self, address: str) -> dict[str, Any]:
        wallet = self._dialect.chain.wallets.get(address)
        if wallet is None:
            raise not_found(f"rpc error: code = NotFound desc = account {address} not found: key not found")
        key = {"type_url": PUB_KEY_URL, "value": proto.encode(proto.PUB_KEY, {"key": wallet.public_key})}
        return {
            "address": address,
            "pub_key": key,
            "account_number": wallet.number,
            "sequence": wallet.committed,
        }

    def _account(self, asked: dict[str, Any]) -> dict[str, Any]:
        value = proto.encode(proto.BASE_ACCOUNT, self._base(asked["address"]))
        return {"account": {"type_url": BASE_ACCOUNT_URL, "value": value}}

    def _funds(self, address: str) -> Mapping[str, int]:
        wallet = self._dialect.chain.wallets.get(address)
        return wallet.funds if wallet is not None else {}

    def _balance(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"balance": {"denom": asked["denom"], "amount": str(self._funds(asked["address"]).get(asked["denom"], 0))}}

    def _balances(self, asked: dict[str, Any]) -> dict[str, Any]:
        rows = [{"denom": denom, "amount": str(amount)} for denom, amount in self._funds(asked["address"]).items() if amount]
        return {"balances": rows, "pagination": {"total": len(rows)}}

    def _keys(self, asked: dict[str, Any]) -> dict[str, Any]:
        wallet = self._dialect.chain.wallets.get(asked["account"])
        rows = (
            [{"id": number, "type": kind, "config": config} for number, (kind, config) in wallet.authenticators.items()] if wallet else []
        )
        return {"account_authenticators": rows}

    def _subaccount(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The chain's own state, ahead of the indexer. An unknown one is empty, not missing."""
        identity = {"owner": asked["owner"], "number": asked["number"]}
        found = self._dialect.find(asked["owner"], asked["number"])
        if found is None:
            return {"subaccount": {"id": identity}}
        account = self._exchange.account(found.account)
        usdc = (account.balance - sum(p.cost for p in account.positions.values())) // 10**6
        positions = []
        for symbol, position in account.positions.items():
            if position.size:
                grid = self._dialect.grid(symbol)
                quantums = proto.signed_bytes(position.size * grid.step_base_quantums)
                positions.append({"perpetual_id": grid.perpetual, "quantums": quantums, "funding_index": proto.signed_bytes(0)})
        assets = [{"asset_id": 0, "quantums": proto.signed_bytes(usdc)}] if usdc else []
        return {"subaccount": {"id": identity, "asset_positions": assets, "perpetual_positions": positions, "margin_enabled": 1}}

    def _leverage(self, asked: dict[str, Any]) -> dict[str, Any]:
        found = self._dialect.find(asked["owner"], asked["number"])
        rows = []
        if found is not None:
            for symbol, position in self._exchange.account(found.account).positions.items():
                if position.initial != position.market.spec.tiers[0].initial:
                    rows.append({"clob_pair_id": self._dialect.grid(symbol).clob_pair, "custom_imf_ppm": position.initial // _PPM_OF_UNIT})
        return {"clob_pair_leverage": rows}

    # ---- the chain

    def _latest_block(self) -> dict[str, Any]:
        chain = self._dialect.chain
        stamp = {"seconds": chain.block_ns // 10**9, "nanos": chain.block_ns % 10**9}
        block = {"header": {"chain_id": chain.chain_id, "height": chain.height, "time": stamp}}
        return {"block_id": {"hash": hashlib.sha256(str(chain.height).encode()).digest()}, "block": block, "sdk_block": block}

    def _node_info(self) -> dict[str, Any]:
        version = {"name": "dydxprotocol", "app_name": "dydxprotocold", "version": VERSION}
        return {"default_node_info": {"network": self._dialect.chain.chain_id, "moniker": "simulated"}, "application_version": version}

    # ---- markets

    def _symbol(self, clob_pair: int) -> str:
        symbol = self._dialect.symbol_of(clob_pair)
        if symbol is None:
            raise not_found("rpc error: code = NotFound desc = not found")
        return symbol

    def _pair(self, number: int) -> dict[str, Any]:
        symbol = self._symbol(number)
        grid = self._dialect.grid(symbol)
        status = wire.STATUS.get(self._exchange.markets[symbol].spec.status, "INITIALIZING")
        return {
            "id": number,
            "perpetual_clob_metadata": {"perpetual_id": grid.perpetual},
            "step_base_quantums": grid.step_base_quantums,
            "subticks_per_tick": grid.subticks_per_tick,
            "quantum_conversion_exponent": grid.quantum_conversion,
            "status": wire.CHAIN_STATUS[status],
        }

    def _pairs(self) -> dict[str, Any]:
        rows = [self._pair(self._dialect.grid(symbol).clob_pair) for symbol in self._exchange.markets]
        return {"clob_pair": rows, "pagination": {"total": len(rows)}}

    def _perpetual(self, number: int) -> dict[str, Any]:
        symbol = self._symbol(number - wire.PERPETUAL_OFFSET)
        grid = self._dialect.grid(symbol)
        params = {
            "id": number,
            "ticker": symbol,
            "market_id": number,
            "atomic_resolution": grid.atomic_resolution,
            "market_type": 2 if symbol in self._dialect.isolated else 1,
        }
        interest = self._exchange.open_interest(symbol) * grid.step_base_quantums
        return {"params": params, "funding_index": proto.signed_bytes(0), "open_interest": proto.signed_bytes(interest)}

    def _perpetuals(self) -> dict[str, Any]:
        rows = [self._perpetual(self._dialect.grid(symbol).perpetual) for symbol in self._exchange.markets]
        return {"perpetual": rows, "pagination": {"total": len(rows)}}

    def _price(self, number: int) -> dict[str, Any]:
        symbol = self._symbol(number - wire.PERPETUAL_OFFSET)
        state = self._exchange.markets[symbol]
        return {"id": number, "exponent": -8, "price": int(state.spec.ref_price(state.mark).scaleb(8))}

    def _prices(self) -> dict[str, Any]:
        rows = [self._price(self._dialect.grid(symbol).perpetual) for symbol in self._exchange.markets]
        return {"market_prices": rows, "pagination": {"total": len(rows)}}

    def _equity_tiers(self) -> dict[str, Any]:
        tiers = [{"usd_tnc_required": proto.signed_bytes(floor * 10**6), "limit": limit} for floor, limit in EQUITY_TIERS]
        return {"equity_tier_limit_config": {"stateful_order_equity_tiers": tiers}}

    def _block_rate(self) -> dict[str, Any]:
        def rows(*limits: tuple[int, int]) -> list[dict[str, int]]:
            return [{"num_blocks": blocks, "limit": limit} for blocks, limit in limits]

        return {
            "block_rate_limit_config": {
                "max_stateful_orders_per_n_blocks": rows(*STATEFUL_PER),
                "max_short_term_orders_and_cancels_per_n_blocks": rows(SHORT_TERM_PER),
            }
        }

    def _stateful_order(self, asked: dict[str, Any]) -> dict[str, Any]:
        found = None
        if asked["order_id"] is not None:
            try:
                found = self._dialect.clob.chain_order(asked["order_id"])
            except Rejected:
                found = None
        if found is None:
            raise not_found("rpc error: code = NotFound desc = not found")
        order, core = found
        grid = self._dialect.grid(order.symbol)
        return {
            "order_placement": {"order": order.raw, "placement_index": {"block_height": self._dialect.chain.height_at(core.created_ns)}},
            "fill_amount": core.filled * grid.step_base_quantums,
            "triggered": core.request.trigger is not None and core.status.value == "open",
        }

    # ---- fees

    def _tier(self, owner: Subaccount | None) -> dict[str, Any]:
        maker, taker = self._dialect.fees_of(owner)
        return {"name": "1", "maker_fee_ppm": maker // _PPM_OF_UNIT, "taker_fee_ppm": taker // _PPM_OF_UNIT}

    def _fee_tier(self, user: str) -> dict[str, Any]:
        if not wire.is_address(user):
            raise Refusal("user", "decoding bech32 failed: invalid address", status=400)
        owner = next((each for each in self._dialect.subaccounts() if each.address == user), None)
        return {"index": 0, "tier": self._tier(owner)}

    def _staking_tier(self) -> dict[str, Any]:
        return {"fee_tier_name": "1", "staked_base_tokens": "0", "discount_ppm": self._dialect.staking_discount_ppm}

    def _discount(self, asked: dict[str, Any]) -> dict[str, Any]:
        charge = self._dialect.charge_ppm.get(self._symbol(asked["clob_pair_id"]))
        if charge is None:
            raise not_found(f"no fee discount for clob pair {asked['clob_pair_id']}")
        return {"params": self._discount_row(asked["clob_pair_id"], charge)}

    def _discount_row(self, clob_pair: int, charge: int) -> dict[str, Any]:
        now_s = self._dialect.chain.block_ns // 10**9
        start, end = ({"seconds": now_s + day * 86_400} for day in (-1, 1))
        return {"clob_pair_id": clob_pair, "start_time": start, "end_time": end, "charge_ppm": charge}

    def _discounts(self) -> dict[str, Any]:
        found = self._dialect.charge_ppm
        return {"params": [self._discount_row(self._dialect.grid(symbol).clob_pair, charge) for symbol, charge in found.items()]}

    # ---- without gRPC

    def _abci_info(self) -> dict[str, Any]:
        response = {
            "data": "dydxprotocol",
            "version": VERSION,
            "last_block_height": str(self._dialect.chain.height),
            "last_block_app_hash": "",
        }
        return {"jsonrpc": "2.0", "id": -1, "result": {"response": response}}

    def _rpc_broadcast(self, received: Received) -> dict[str, Any]:
        tx = received.params.get("tx", "")
        try:
            raw = bytes.fromhex(tx.removeprefix("0x")) if tx.startswith("0x") else base64.b64decode(tx)
        except ValueError:
            error = {"code": -32602, "message": "Invalid params", "data": "error converting http params to arguments"}
            return {"jsonrpc": "2.0", "id": -1, "error": error}
        name, rejected = self._dialect.broadcast(raw)
        result = {"code": 0, "data": "", "log": "[]", "codespace": "", "hash": name}
        if rejected is not None:
            result.update(code=rejected.code, codespace=rejected.codespace, log=rejected.log)
        return {"jsonrpc": "2.0", "id": -1, "result": result}

    def _lcd_account(self, address: str) -> dict[str, Any]:
        base = self._base(address)
        wallet = self._dialect.chain.wallets[address]
        key = {"@type": PUB_KEY_URL, "key": base64.b64encode(wallet.public_key).decode()}
        return {
            "info": {
                "address": address,
                "pub_key": key,
                "account_number": str(base["account_number"]),
                "sequence": str(base["sequence"]),
            }
        }

    def _lcd_fee_tier(self, user: str) -> dict[str, Any]:
        found = self._fee_tier(user)
        return {"index": found["index"], "tier": found["tier"]}

    def _lcd_authenticators(self, address: str) -> dict[str, Any]:
        rows = self._keys({"account": address})["account_authenticators"]
        said = [{"id": str(row["id"]), "type": row["type"], "config": base64.b64encode(row["config"]).decode()} for row in rows]
        return {"account_authenticators": said}

    async def _lcd_simulate(self, received: Received) -> Reply:
        return Reply({"gas_info": {"gas_wanted": "0", "gas_used": str(GAS_USED)}, "result": {"data": "", "log": "", "events": []}})


def _last(received: Received) -> str:
    return received.path.rpartition("/")[2]
