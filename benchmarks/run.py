"""All measurements in one run: `make bench`, or `python benchmarks/run.py [--rounds 5] [--only frames] [--no-peers] [--write]`.

Every figure comes from a process of its own; the processes of one comparison take turns in random order, and the median of the rounds
counts. Ratios are what matters: both sides of each were measured in this run, on this machine. Peers live in environments of their own
under `--envs` (default `$PERPKIT_PEERS`, else `~/.cache/perpkit/peers`), which this script creates with pip. Nothing fails on a figure.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PEERS = {
    "ccxt": (("ccxt", "coincurve", "orjson"), "import ccxt.pro"),
    "hyperliquid-sdk": (("hyperliquid-python-sdk", "coincurve"), "import hyperliquid.exchange"),
    "lighter-sdk": (("lighter-sdk",), "import lighter"),
    "dydx-sdk": (("dydx-v4-client",), "import dydx_v4_client.node.builder"),
}
BOOKS = (1, 10, 50, 200)
NOTES = """What stands behind them:

- Signing for Lighter runs in a worker thread so that the loop never waits for the vendor's library. The way there and back costs about
  0.1 ms of CPU beside the library's own 0.5 to 0.6 ms; making the transaction and the form it travels in costs the rest.
- Of an order's time over the bare socket most is aiohttp's request and the writing to the socket; the signature is about a seventh.
- Importing a venue loads neither aiohttp nor pydantic: the first client does, and that is measured on its own."""
Figures = dict[str, float]


@dataclass(frozen=True)
class Side:
    """One contestant of a comparison: a script and its arguments under an interpreter."""

    name: str
    python: Path
    arguments: tuple[str, ...]

    def measure(self) -> Figures:
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | (
            {"PYTHONPATH": str(ROOT)} if self.name == "ours" else {}
        )
        done = subprocess.run(
            [str(self.python), *self.arguments], cwd=HERE, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{self.name} {' '.join(self.arguments)}: {done.stderr.strip().splitlines()[-1:] or done.returncode}")
        figures: Figures = json.loads(done.stdout.strip().splitlines()[-1])
        return figures


@dataclass
class Comparison:
    """Sides that do the same work, compared by one figure of theirs."""

    title: str
    figure: str
    unit: str
    sides: list[Side]
    also: str = ""
    """Another figure of the last side that deserves a line."""
    rehearsals: int = 0
    """Rounds before those that count."""
    medians: dict[str, Figures] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def run(self, rounds: int, rng: random.Random) -> None:
        taken: dict[str, list[Figures]] = {}
        for n in range(rounds + self.rehearsals):
            for side in rng.sample(self.sides, len(self.sides)):
                try:
                    figures = side.measure()
                    if n >= self.rehearsals:
                        taken.setdefault(side.name, []).append(figures)
                except (RuntimeError, subprocess.TimeoutExpired, ValueError) as e:
                    if str(e) not in self.notes:
                        self.notes.append(str(e))
        for name, rows in taken.items():
            self.medians[name] = {key: statistics.median(row[key] for row in rows) for key in rows[0]}

    def rows(self) -> list[tuple[str, ...]]:
        ours = self.medians.get("ours", {}).get(self.figure)
        rows: list[tuple[str, ...]] = []
        for side in self.sides:
            value = self.medians.get(side.name, {}).get(self.figure)
            if value is not None:
                ratio = f"{value / ours:.2f}" if ours and side.name != "ours" else ""
                rows.append((self.title, side.name, f"{value:,.1f} {self.unit}", ratio))
        other = self.medians.get(self.sides[-1].name, {}).get(self.also)
        if other is not None and ours:
            rows.append((self.title, f"{self.sides[-1].name}, off the main thread", f"{other:,.1f} {self.unit}", f"{other / ours:.2f}"))
        return rows


def peer_python(name: str, envs: Path) -> Path | None:
    """The interpreter of a peer's environment, created when missing; None (said on stderr) when it does not install."""
    packages, probe = PEERS[name]
    python = envs / name / "bin" / "python"
    if not python.exists():
        print(f"creating the environment of {name} in {envs / name} ...", file=sys.stderr)
        venv.create(envs / name, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=False)
    if subprocess.run([str(python), "-c", probe], capture_output=True, check=False).returncode:
        print(f"{name} does not install here: left out", file=sys.stderr)
        return None
    return python


@contextmanager
def bytecode() -> Iterator[None]:
    """Every process finds its modules compiled, as an installer leaves them: written once, by the first process that imports them."""
    before = {name: os.environ.get(name) for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")}
    with TemporaryDirectory() as folder:
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = folder
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


@contextmanager
def stub_venue() -> Iterator[str]:
    """A loopback venue with canned answers; its address."""
    process = subprocess.Popen([sys.executable, str(HERE / "stub.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.communicate()


def imports_probe(statement: str) -> tuple[str, ...]:
    """Arguments that measure one import: CPU of the process and its peak memory. Modules of SDKs that came along are counted."""
    code = (
        f"import time, sys, json; sys.path.insert(0, {str(HERE)!r}); c = time.process_time(); {statement}; "
        "c = time.process_time() - c; import timing; "
        "timing.answer({'cpu_ms': c * 1e3, 'rss_mib': timing.rss_kib() / 1024, 'modules': len(sys.modules)})"
    )
    return ("-c", code)


def comparisons(peers: dict[str, Path], url: str) -> Iterator[tuple[str, Comparison]]:
    ours = Path(sys.executable)

    def peer(name: str, case: str, argument: str) -> Side | None:
        script = {
            "ccxt": "peer_ccxt.py",
            "hyperliquid-sdk": "peer_hyperliquid.py",
            "lighter-sdk": "peer_lighter.py",
            "dydx-sdk": "peer_dydx.py",
        }[name]
        return Side(name, peers[name], (script, case, argument)) if name in peers else None

    def compare(title: str, figure: str, unit: str, *contestants: Side | None) -> Comparison:
        return Comparison(title, figure, unit, [side for side in contestants if side is not None])

    def own(case: str, argument: str, name: str = "ours") -> Side:
        return Side(name, ours, ("ours.py", case, argument))

    shapes = {
        "hyperliquid": "l2Book, 40 levels, whole",
        "lighter": "order_book, 19 levels, update of 800",
        "okx": "books, 19 levels, update of 800",
        "aster": "depth, 19 levels, update of 800",
        "backpack": "depth, 19 levels, update of 800",
        "dydx": "v4_orderbook, 19 levels, update of 800",
    }
    for venue, shape in shapes.items():
        title = f"frame to best bid and ask: {venue} {shape}"
        yield "frames", compare(title, "frame", "us CPU", own("frames", venue), peer("ccxt", "frames", venue))
    title = "frame to best bid and ask: paradex order_book, SBE, 19 levels, update of 800 (no peer reads SBE)"
    yield "frames", compare(title, "frame", "us CPU", own("frames", "paradex"))
    title = "sign an order: hyperliquid"
    yield (
        "sign",
        compare(
            title,
            "sign",
            "us CPU",
            own("sign", "hyperliquid"),
            peer("hyperliquid-sdk", "sign", "-"),
            peer("ccxt", "sign", "hyperliquid"),
        ),
    )
    if "lighter-sdk" in peers:
        path = str(Side("lighter-sdk", peers["lighter-sdk"], ("peer_lighter.py", "library", "-")).measure()["path"])
        library = own("sign", f"lighter {path}")
        vendor = compare("sign an order: lighter, vendor library", "sign", "us CPU", library, peer("lighter-sdk", "sign", "-"))
        vendor.also = "sign_elsewhere"
        yield "sign", vendor
        yield "sign", compare("of that on the loop's thread", "sign_on_loop", "us CPU", library)
    yield "sign", compare("sign an order: lighter, our own signer", "sign", "us CPU", own("sign", "lighter python"))
    signers = {
        "aster": "EIP-712, agent",
        "backpack": "Ed25519",
        "okx": "HMAC",
        "paradex": "Stark, Pedersen",
    }
    for venue, kind in signers.items():
        yield "sign", compare(f"sign an order: {venue}, {kind}", "sign", "us CPU", own("sign", venue), peer("ccxt", "sign", venue))
    title = "sign an order: dydx, secp256k1 over protobuf"
    yield "sign", compare(title, "sign", "us CPU", own("sign", "dydx"), peer("dydx-sdk", "sign", "-"))
    orders = own("orders", url)
    peers_orders = (peer("hyperliquid-sdk", "orders", url), peer("ccxt", "orders", url))
    yield "orders", compare("place an order, loopback round trip: hyperliquid", "order", "us", orders, *peers_orders)
    yield "orders", compare("bare socket under it", "floor", "us", orders)
    imported = {
        "ours": (ours, "from exchange_clients.hyperliquid import HyperliquidClient"),
        "ccxt": (peers.get("ccxt"), "import ccxt.pro"),
        "hyperliquid-sdk": (peers.get("hyperliquid-sdk"), "from hyperliquid.exchange import Exchange"),
        "lighter-sdk": (peers.get("lighter-sdk"), "import lighter"),
    }
    made = {
        "ours": (ours, "from exchange_clients.hyperliquid import HyperliquidClient; HyperliquidClient()"),
        "ccxt": (peers.get("ccxt"), "import ccxt.pro; ccxt.pro.hyperliquid()"),
    }
    every = {
        "ours": (ours, "from exchange_clients import venues; venues.all()"),
        "ccxt": (peers.get("ccxt"), "import ccxt.pro"),
    }
    all_made = {"ours": (ours, "from exchange_clients import venues; [venue.client() for venue in venues.all().values()]")}
    for statements, what in (
        (imported, "import one venue"),
        (made, "import one venue and make a client"),
        (every, "import every registered venue"),
        (all_made, "import every registered venue and make a client of each"),
    ):
        contestants = [Side(name, python, imports_probe(code)) for name, (python, code) in statements.items() if python is not None]
        cpu = compare(f"{what}: CPU", "cpu_ms", "ms", *contestants)
        cpu.rehearsals = 1  # compiles
        yield "imports", cpu
        yield "imports", compare(f"{what}: memory", "rss_mib", "MiB", *contestants)
    for count in BOOKS:
        both = own("books", str(count)), peer("ccxt", "books", str(count))
        yield "books", compare(f"{count} books in one client: message", "frame", "us CPU", *both)
        yield "books", compare(f"{count} books in one client: memory per book", "kib_per_book", "KiB", *both)


def goals(medians: dict[str, dict[str, Figures]]) -> list[tuple[str, ...]]:
    """How the figures of this run stand to what we aim for; a goal whose sides were not all measured is left out."""

    def figure(title: str, side: str, name: str) -> float:
        return next(sides[side][name] for key, sides in medians.items() if key.startswith(title))

    def ratio(title: str, name: str, other: str) -> float:
        return figure(title, "ours", name) / figure(title, other, name)

    def over_the_floor(side: str) -> float:
        return figure("place an order", side, "order") - figure("place an order", "ours", "floor")

    wanted: tuple[tuple[str, Callable[[], float], float], ...] = (
        (
            "frame to best bid and ask, Hyperliquid, of ccxt's CPU",
            lambda: ratio("frame to best bid and ask: hyperliquid", "frame", "ccxt"),
            0.333,
        ),
        ("frame to best bid and ask, Lighter, of ccxt's CPU", lambda: ratio("frame to best bid and ask: lighter", "frame", "ccxt"), 0.333),
        ("signing for Hyperliquid, of its SDK's CPU", lambda: ratio("sign an order: hyperliquid", "sign", "hyperliquid-sdk"), 0.167),
        (
            "signing for Lighter, of its library's CPU",
            lambda: (
                figure("sign an order: lighter, vendor", "ours", "sign")
                / figure("sign an order: lighter, vendor", "lighter-sdk", "sign_elsewhere")
            ),
            1.1,
        ),
        (
            "order over the bare socket, of the Hyperliquid SDK's time",
            lambda: over_the_floor("ours") / over_the_floor("hyperliquid-sdk"),
            0.3,
        ),
        ("import of one venue, of ccxt's CPU", lambda: ratio("import one venue: CPU", "cpu_ms", "ccxt"), 0.4),
        ("import of one venue, of ccxt's memory", lambda: ratio("import one venue: CPU", "rss_mib", "ccxt"), 0.45),
        ("a message with 200 books, of one with 1", lambda: figure("200 books", "ours", "frame") / figure("1 books", "ours", "frame"), 1.6),
        ("memory per book with 200 books, KiB", lambda: figure("200 books", "ours", "kib_per_book"), 130.0),
    )
    rows: list[tuple[str, ...]] = []
    for what, measure, limit in wanted:
        try:
            value = measure()
        except (KeyError, StopIteration):
            continue
        rows.append((what, f"<= {limit:g}", f"{value:.3g}", "met" if value <= limit else "missed"))
    return rows


def table(rows: list[tuple[str, ...]], head: tuple[str, ...] = ("what", "who", "figure", "times ours")) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in (head, ("---",) * len(head), *rows)]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--only", choices=["frames", "sign", "orders", "imports", "books"])
    options.add_argument("--no-peers", action="store_true", help="measure ours alone")
    options.add_argument("--envs", type=Path, default=Path(os.environ.get("PERPKIT_PEERS") or Path.home() / ".cache" / "perpkit" / "peers"))
    options.add_argument("--write", action="store_true", help="write the table into docs/performance.md")
    chosen = options.parse_args()
    peers = {} if chosen.no_peers else {name: python for name in PEERS if (python := peer_python(name, chosen.envs)) is not None}
    rng, rows, notes = random.Random(0), [], []
    measured: dict[tuple[Side, ...], Comparison] = {}
    medians: dict[str, dict[str, Figures]] = {}
    with stub_venue() as url, bytecode():
        for group, comparison in comparisons(peers, url):
            if chosen.only not in (None, group):
                continue
            key = tuple(comparison.sides)
            if key in measured:  # another figure of the same processes
                comparison.medians = measured[key].medians
            else:
                comparison.run(chosen.rounds, rng)
                measured[key] = comparison
                notes += comparison.notes
            medians[comparison.title] = comparison.medians
            rows += comparison.rows()
            print(
                "\n".join(
                    " ".join(cell.ljust(width) for cell, width in zip(row, (70, 34, 18, 6), strict=True)) for row in comparison.rows()
                )
            )
    for note in notes:
        print(f"left out: {note}", file=sys.stderr)
    if chosen.write:
        write(rows, goals(medians), chosen.rounds)


def write(rows: list[tuple[str, ...]], standing: list[tuple[str, ...]], rounds: int) -> None:
    target = ROOT / "docs" / "performance.md"
    load = f"load {os.getloadavg()[2]:.1f} over the last quarter of an hour (durations, unlike CPU times, suffer from it)"
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, CPython {platform.python_version()}, {load}"
    intro = [
        "# Performance",
        "",
        "Written by `make bench ARGS=--write`. What is measured and how: `benchmarks/run.py`. Absolute figures belong to one machine; the",
        "last column, how many times our figure the other side needs, was measured in the same run.",
        "",
        f"Machine: {machine}. Median of {rounds} rounds, each in fresh processes.",
        "",
    ]
    aims = table(standing, ("goal", "at most", "measured", "so"))
    target.write_text("\n".join([*intro, "## Goals", "", *aims, "", NOTES, "", "## Figures", "", *table(rows)]) + "\n")
    print(f"wrote {target.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
