"""Bots with keys from the vault: by account name, several accounts on one venue, each by its own way; never some keys of each source."""

import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from database.accounts import Accounts, Change
from database.keys import KeyUnavailable, VaultDamaged
from exchange_clients.config import ClientConfig
from exchange_clients.errors import MissingCredentials
from exchange_clients.secret import Secret
from exchange_clients.signing import Credentials
from exchange_clients.venues import get
from exchange_simulator.dialects.base import SimAccount
from exchange_simulator.ready import ReadyVenue
from perpkit.bot.accounts import AccountKeys
from perpkit.bot.config import BotConfig, InvalidConfig, load
from perpkit.bot.environments import Environment, surroundings
from tests.accounts.vaults import change, filled
from tests.bot.test_environments import YAML
from tests.strategies.stack import VENUES, Stack, run_stack

FILE = YAML.split("backtest:")[0]


def put(accounts: Accounts, name: str, venue: ReadyVenue, account: SimAccount) -> None:
    """The keys of a simulated account, as somebody would store them."""
    keys = venue.credentials(account)
    accounts.update(name, [Change(venue.name, venue.environment, {field: keys.secret(field) for field in keys.names})])


def written(folder: Path, account: str) -> BotConfig:
    path = folder / f"{account}.yaml"
    path.write_text(FILE.replace("account: main", f"account: {account}"))
    return load(path)


def test_two_accounts_on_the_same_venues_trade_in_one_process(accounts: Accounts, tmp_path: Path) -> None:
    """Each order lands in its own account; nothing is taken from the environment."""
    told: list[str] = []
    sizes = {"main": Decimal("0.01"), "second": Decimal("0.02")}

    async def main(stack: Stack) -> None:
        owner: dict[tuple[str, str], SimAccount] = {}
        for name in VENUES:
            ready = stack.venues[name].ready
            owner["main", name], owner["second", name] = ready.account, ready.dialect.open_account(Decimal(20_000))
            for account in sizes:
                put(accounts, account, ready, owner[account, name])
        keys = AccountKeys(accounts, {}, told.append)
        ends = {name: truth.ready.endpoints for name, truth in stack.venues.items()}
        configs = [written(tmp_path, account) for account in sizes]
        async with surroundings(
            Environment.LIVE, configs, stack.runtime, home=tmp_path, resolve=keys.keys, settings_of=keys.settings, endpoints=ends
        ) as around:
            for account, size in sizes.items():
                for name in VENUES:
                    client = around.clients[account][name]
                    await client.connect()
                    result = await client.place_market_order(client.instruments.get("BTC").id, size, "buy")
                    assert result.success, result
            await stack.settle(2.0)
            for (account, name), sim in owner.items():
                truth = stack.venues[name]
                market = truth.ready.markets["BTC"]
                assert market.size(truth.exchange.position(sim.account, market.symbol).size) == sizes[account]
                (position,) = await around.clients[account][name].get_open_positions()
                assert position.quantity == sizes[account]

    run_stack(tmp_path / "stack", main, start=False)
    assert sorted(told) == sorted(f"keys of {name} mainnet ({account}): from the vault" for account in sizes for name in VENUES)


# ---- whose keys


ENVIRON = {"OKX_API_KEY": "from-environment", "OKX_API_SECRET": "s", "OKX_API_PASSPHRASE": "p", "OKX_TESTNET_API_KEY": "t"}


def test_the_vaults_account_goes_before_the_environment(accounts: Accounts) -> None:
    told: list[str] = []
    okx = get("okx").spec
    keys = AccountKeys(accounts, ENVIRON, told.append)
    assert keys.keys(okx, "mainnet", "main")["api_key"] == "from-environment"
    assert keys.source("main") == "environment"
    filled(accounts)
    keys = AccountKeys(accounts, ENVIRON, told.append)
    assert keys.keys(okx, "mainnet", "main")["api_key"] == "key-1"
    assert keys.keys(okx, "mainnet", "second")["api_key"] == "key-2"
    assert keys.keys(okx, "mainnet", "third")["api_key"] == "from-environment"
    assert keys.source("main") == "vault"
    assert told == [
        "keys of okx mainnet (main): from the environment, the vault has none of that account",
        "keys of okx mainnet (main): from the vault",
        "keys of okx mainnet (second): from the vault",
        "keys of okx mainnet (third): from the environment, the vault has none of that account",
    ]


def test_an_account_of_the_vault_takes_nothing_from_the_environment(accounts: Accounts) -> None:
    filled(accounts)
    keys = AccountKeys(accounts, {"LIGHTER_API_KEY_PRIVATE_KEY": "of another account", **ENVIRON})
    with pytest.raises(
        MissingCredentials, match=r"main is in the vault, .* not of lighter mainnet: perpkit accounts add .*--exchanges lighter"
    ):
        keys.keys(get("lighter").spec, "mainnet", "main")
    with pytest.raises(MissingCredentials, match="--environment demo"):
        keys.keys(get("okx").spec, "demo", "second")


def test_without_a_vault_the_environment_is_all_and_nothing_is_said() -> None:
    told: list[str] = []
    keys = AccountKeys(None, ENVIRON, told.append)
    assert keys.keys(get("okx").spec, "mainnet", "any")["api_key"] == "from-environment"
    assert keys.settings("any", "okx", {"a": 1}) == {"a": 1}
    assert told == []


def test_a_locked_or_changed_vault_is_never_passed_over(accounts: Accounts, tmp_path: Path) -> None:
    filled(accounts)
    accounts.vault.keys.forget()
    (tmp_path / "vault.key").rename(tmp_path / "away")
    with pytest.raises(KeyUnavailable):
        AccountKeys(accounts, ENVIRON).keys(get("okx").spec, "mainnet", "main")
    with pytest.raises(KeyUnavailable):
        AccountKeys(accounts, ENVIRON).settings("main", "okx", {})
    (tmp_path / "away").rename(tmp_path / "vault.key")
    with sqlite3.connect(tmp_path / "perpkit.db") as raw:
        raw.execute("UPDATE account_credentials SET field = 'api_kez' WHERE field = 'api_key'")
    with pytest.raises(VaultDamaged):
        AccountKeys(accounts, ENVIRON).keys(get("okx").spec, "mainnet", "main")


def test_public_names_are_given_and_no_secret_is_decrypted(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    from database.vault import Box, Place

    opened: list[str] = []
    real = Box.open

    def spy(self: Box, key: Any, place: Place) -> Secret:
        opened.append(place.field)
        return real(self, key, place)

    accounts.update(
        "main", [change("hyperliquid", private_key="0x" + "ab" * 32, account_address="0x" + "cd" * 20)], {"": Secret("http://a:1")}
    )
    monkeypatch.setattr(Box, "open", spy)
    found = AccountKeys(accounts, {}).names(get("hyperliquid").spec, "mainnet", "main")
    assert found.names == ("account_address",)
    assert opened == ["account_address"]
    assert AccountKeys(accounts, {}).names(get("okx").spec, "mainnet", "main").names == ()
    environ = {"HYPERLIQUID_ACCOUNT_ADDRESS": "0x" + "ef" * 20}
    assert AccountKeys(accounts, environ).names(get("hyperliquid").spec, "mainnet", "other")["account_address"] == "0x" + "ef" * 20


# ---- proxies


def test_a_proxy_reaches_its_own_accounts_client_alone(accounts: Accounts, tmp_path: Path) -> None:
    filled(accounts)
    told: list[str] = []
    keys = AccountKeys(accounts, {}, told.append)
    assert keys.settings("main", "okx", {"a": 1}) == {"a": 1, "proxy": SecretStr("http://user:pw@proxy.example:3128")}
    assert keys.settings("main", "lighter", {}) == {"proxy": SecretStr("http://other.example:1")}
    assert keys.settings("second", "okx", {}) == {}
    assert "pw" not in str(told) + repr(keys.settings("main", "okx", {}))
    with pytest.raises(ValueError, match="keep one of them"):
        keys.settings("main", "okx", {"proxy": "http://mine:1"})


def test_two_proxies_for_one_client_end_the_start(accounts: Accounts, tmp_path: Path) -> None:
    filled(accounts)
    path = tmp_path / "bot.yaml"
    path.write_text(FILE.replace("lighter: {}", "lighter: {proxy: 'http://10.0.0.1:3128'}"))

    async def main(stack: Stack) -> None:
        keys = AccountKeys(accounts, {})
        for environment in (Environment.PAPER, Environment.SHADOW, Environment.LIVE):
            with pytest.raises(InvalidConfig, match=r"venues\.lighter: account main has a proxy"):
                async with surroundings(
                    environment, [load(path)], stack.runtime, home=tmp_path, resolve=keys.keys, settings_of=keys.settings
                ):
                    raise AssertionError

    run_stack(tmp_path / "stack", main, start=False)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("lighter: {proxy: 'http://me:hunter2@10.0.0.1:3128'}", r"venues\.lighter\.proxy"),
        ("lighter: {venue_options: {way: 'https://me:hunter2@10.0.0.1'}}", r"venues\.lighter\.venue_options\.way"),
    ],
)
def test_a_password_in_a_bots_file_is_refused_and_not_repeated(tmp_path: Path, line: str, what: str) -> None:
    path = tmp_path / "bot.yaml"
    path.write_text(FILE.replace("lighter: {}", line))
    with pytest.raises(InvalidConfig, match=f"{what}: a password does not belong into this file.*accounts add") as caught:
        load(path)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "secret", ["http://me:hunter2@10.0.0.1:3128", "https://me:hun@ter2@host", "http://me:hun/ter2@host", "socks5://:hunter2@host"]
)
def test_a_password_in_a_comment_is_not_recorded_either(tmp_path: Path, secret: str) -> None:
    path = tmp_path / "bot.yaml"
    path.write_text(FILE + f"# was: {secret}\n")
    kept = load(path).record
    assert "ter2" not in kept
    assert "(hidden)@" in kept
    assert kept.startswith(FILE)


def test_a_clients_configuration_hides_its_proxy() -> None:
    config = ClientConfig.model_validate({"proxy": "http://me:hunter2@10.0.0.1:3128"})
    assert config.proxy_address == "http://me:hunter2@10.0.0.1:3128"
    assert "hunter2" not in repr(config) + str(config) + config.model_dump_json() + str(config.model_dump())


@pytest.mark.parametrize(
    "address", ["socks5://me:hunter2@host:1", "hunter2", "http://", "http://host:99999", "http://h/hunter2", "http://h?a=hunter2"]
)
def test_what_is_no_proxy_is_refused_without_being_repeated(address: str) -> None:
    with pytest.raises(ValueError, match="a proxy is written http://HOST:PORT") as caught:
        ClientConfig.model_validate({"proxy": address})
    assert "hunter2" not in str([item["msg"] for item in caught.value.errors()])  # type: ignore[attr-defined]


def test_orders_that_would_go_round_the_proxy_are_not_possible() -> None:
    spec = get("dydx").spec
    keys = Credentials("dydx", {"private_key": "0x" + "17" * 32})
    from exchange_clients.errors import ConfigError

    with pytest.raises(ConfigError, match="gRPC, which goes through no proxy"):
        get("dydx").client({"proxy": "http://host:1"}, keys)
    assert spec.environments["mainnet"].grpc


def test_credentials_that_were_deleted_are_not_taken_from_the_environment(accounts: Accounts, tmp_path: Path) -> None:
    """Nor is the name of the account that a shadow looks at."""
    filled(accounts)
    with sqlite3.connect(tmp_path / "perpkit.db") as raw:
        raw.execute("DELETE FROM account_credentials WHERE account = 'main'")
    for asked in (AccountKeys(accounts, ENVIRON).keys, AccountKeys(accounts, ENVIRON).names):
        with pytest.raises(VaultDamaged):
            asked(get("okx").spec, "mainnet", "main")


def test_a_vault_whose_database_is_gone_is_not_replaced_by_the_environment(
    accounts: Accounts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from perpkit.cli.vault import account_keys

    monkeypatch.delenv("PERPKIT_DATABASE", raising=False)
    monkeypatch.setenv("OKX_API_KEY", "from-environment")
    filled(accounts)
    (tmp_path / "perpkit.db").rename(tmp_path / "away.db")
    with account_keys(tmp_path) as keys:
        for ask in (keys.keys, keys.names):
            with pytest.raises(KeyUnavailable, match=r"vault\.key has a key of a vault, but there is no database at"):
                ask(get("okx").spec, "mainnet", "main")
        with pytest.raises(KeyUnavailable):
            keys.settings("main", "okx", {})
    (tmp_path / "vault.key").unlink()
    with account_keys(tmp_path) as keys:
        assert keys.keys(get("okx").spec, "mainnet", "main")["api_key"] == "from-environment"
