# $title

Code: `$package`; simulated venue: `$dialect`. Say here what kind of venue it is, since when the facts hold, and where a line is unproven.

```python
from $package import SPEC, ${Name}Client
from exchange_clients.signing import Credentials

async with ${Name}Client({"environment": "mainnet"}, Credentials.from_env(SPEC)) as client:
    bid, ask = await client.fetch_bbo_prices("BTC")
```

## Variables

| variable | meaning |
|---|---|
| `${NAME}_API_KEY` | key as the venue shows it |
| `${NAME}_API_SECRET` | secret that belongs to the key |

Other environments put their name after the venue's: `${NAME}{env}_API_KEY`, `${NAME}{env}_API_SECRET` with `_TESTNET` or `_DEMO` for `{env}`.

## Coverage

| channel or endpoint | variants | maps to | evidence |
|---|---|---|---|
| `book` | | books | |

## Funding

| question | answer | evidence |
|---|---|---|
| unit and sign on the wire | | |
| interval, and where it comes from | | |
| where the next time comes from | | |

## Quirks

## Troubleshooting

| what you see | what it is | what to do |
|---|---|---|
