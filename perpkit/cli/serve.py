"""`perpkit serve`: the funding-rate service with its web page."""

import asyncio
import errno
import gc
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, validators

from perpkit.cli.failure import OK, UNAVAILABLE, Failure
from perpkit.cli.logs import logged_to
from perpkit.cli.options import DatabaseOption, Target, state_folder
from perpkit.cli.output import counted, emit_json_line

if TYPE_CHECKING:
    from exchange_clients.model import InstrumentId
    from exchange_clients.transport.offload import Offload
    from exchange_clients.transport.runtime import Runtime
    from funding_rate_service.board import Board
    from funding_rate_service.config import ServiceConfig
    from funding_rate_service.service import PositionsProvider, Service
    from perpkit.service.demo import DemoWorld
    from perpkit.service.positions import Source
    from perpkit.service.settings import Settings

LOG_FILE = "serve.log"
DEMO_HOME = Path(".perpkit-demo/service")


def serve(
    *,
    host: str | None = None,
    port: Annotated[int | None, Parameter(validator=validators.Number(gte=0, lte=65_535))] = None,
    venue: list[str] | None = None,
    config: Path | None = None,
    journal: list[str] | None = None,
    collect: Annotated[bool, Parameter(negative="--no-collect")] = True,
    environment: str | None = None,
    endpoint: list[str] | None = None,
    demo: bool = False,
    data: Path | None = None,
    seed: int = 7,
    place: DatabaseOption | None = None,
    json: bool = False,
) -> int:
    """Collect funding rates of all venues and serve them: web page, HTTP API, stream. Until Ctrl-C.

    A venue that cannot be reached is named, asked again and holds up no other. The log goes to serve.log in the state folder.

    Parameters
    ----------
    host:
        Address to listen at; default 127.0.0.1. Others need TLS (listen: in --config).
    port:
        Default 8786; 0 takes a free one.
    venue:
        Only these venues; may be repeated. Default: those of --config, else all.
    config:
        YAML file: interval_s, venues: {aster: {interval_s: 30}}, retention, listen: {host, port, tls_cert, tls_key}, journals.
    journal:
        Journal of a bot whose positions are shown, as file or URL; may be repeated. Default: those in the state folder.
    collect:
        --no-collect asks no venue and writes nothing: it shows what another service puts into the same database.
    environment:
        mainnet (default) or testnet of every venue asked.
    endpoint:
        Another address: VENUE=URL, or URL where one venue is asked. May be repeated.
    demo:
        Simulated venues on this machine with a past of several days, a bot that trades on them, and no network.
    data:
        With --demo: folder of recordings that take the place of the seeded market where there are any.
    seed:
        With --demo: of the simulated market.
    json:
        One JSON object per line: address, venues as they come and go.
    """
    from exchange_clients.errors import ConfigError
    from perpkit.service.settings import read, settings

    if data is not None and not demo:
        raise Failure("--data belongs to --demo", hint="add --demo, or leave --data out")
    if demo and (not collect or environment or endpoint):
        raise Failure("--demo brings its own venues", hint="leave --no-collect, --environment and --endpoint out")
    if data is not None and not data.is_dir():
        raise Failure(f"{data} is no folder", hint="--data wants the folder with the recordings")
    where = place or DatabaseOption()
    if demo and where.home is None:
        where = DatabaseOption(home=DEMO_HOME, database=where.database)
    try:
        values = read(config) if config is not None else {}
        listen = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
        chosen = _venues(values, venue, environment, endpoint or [])
        plan = settings(values, venues=chosen, listen=listen, journals=tuple(journal or ()))
    except ConfigError as e:
        hint = f"mend {config}" if config is not None else "perpkit serve --help lists the options"
        raise Failure("; ".join(e.message.splitlines()), hint=hint) from e
    home = state_folder(where.home)
    told = _Told(json)
    with logged_to(home / LOG_FILE, "uvicorn"):
        asyncio.run(_serve(plan, where, home, told, collect=collect, demo=_Demo(seed, data) if demo else None))
    gc.freeze()  # everything is closed: the interpreter's last look for garbage would go through all of it once more
    return OK


@dataclass(frozen=True, slots=True)
class _Demo:
    seed: int
    data: Path | None


def _venues(
    values: dict[str, Any], asked: list[str] | None, environment: str | None, endpoint: list[str]
) -> dict[str, dict[str, Any]] | None:
    """The venues to collect with what the options say of each; None where they say nothing."""
    from exchange_clients import venues

    if not (asked or environment or endpoint):
        return None
    named = values.get("venues") or {}
    names = list(dict.fromkeys(asked or list(named) or venues.names()))
    target = Target(environment=environment, endpoint=endpoint)
    target.check(names)
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        given = named.get(name) if isinstance(named, dict) else None
        default = str((given or {}).get("environment", "mainnet"))
        made = target.settings(venues.get(name).spec, default=default)
        found[name] = made if endpoint or environment else {}
    return found


async def _serve(plan: "Settings", where: DatabaseOption, home: Path, told: "_Told", *, collect: bool, demo: _Demo | None) -> None:
    from exchange_clients.transport.runtime import Runtime
    from funding_rate_service.api.server import serving
    from perpkit.service.compose import composed

    _try_port(plan)
    runtime = Runtime.system()
    ended = asyncio.Event()
    try:
        with _signals(ended):
            async with AsyncExitStack() as stack:
                world = await stack.enter_async_context(_demo_world(demo, runtime, home, told, plan)) if demo is not None else None
                database = stack.enter_context(_database(where, collect, world))
                config = world.config if world is not None else plan.service
                make = _positions(plan, config, home, runtime, world)
                service = await stack.enter_async_context(composed(config, runtime, database, collect=collect, positions=make))
                try:
                    serves = await stack.enter_async_context(serving(service, plan.listen))
                except OSError as e:
                    raise _cannot_listen(e, plan) from e
                told.address(serves.url, home, database.shown)
                stack.callback(service.board.subscribe(lambda venue, _: told.venue(venue, service)))
                for name in service.board.names:
                    told.venue(name, service)
                if world is not None:
                    due = ("persistence", "roll-up", "figures")
                    await stack.enter_async_context(world.past(database, lambda: [service.tasks.run_now(task) for task in due]))
                    await stack.enter_async_context(world.bot())
                await ended.wait()
                told.ending()
    finally:
        runtime.offload.close()


def _try_port(plan: "Settings") -> None:
    """Before anything is built: whether the address can be had."""
    family = socket.AF_INET6 if ":" in plan.listen.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((plan.listen.host, plan.listen.port))
    except OSError as e:
        raise _cannot_listen(e, plan) from e


def _cannot_listen(error: OSError, plan: "Settings") -> Failure:
    at = f"{plan.listen.host}:{plan.listen.port}"
    if error.errno == errno.EADDRINUSE:
        hint = "choose another --port (0 takes a free one), or stop the other program"
        return Failure(f"{at} is taken", hint=hint, code=UNAVAILABLE)
    if error.errno == errno.EACCES:
        return Failure(f"listening at {at} is not allowed", hint="choose a --port from 1024 on")
    return Failure(f"cannot listen at {at}: {error.strerror or error}", hint="--host names an address of this machine")


@contextmanager
def _database(where: DatabaseOption, collect: bool, world: "DemoWorld | None") -> Iterator[Any]:
    """The database; the collecting side of it is ours alone."""
    from perpkit.service.lock import AnotherService, only_service

    url = where.url
    with where.open(read_only=not collect) as database:
        if not collect:
            yield database
            return
        try:
            with only_service(database, url):
                yield database
        except AnotherService as e:
            raise Failure(
                f"another service collects into {e}", hint="stop it, give this one a --home or --database of its own, or add --no-collect"
            ) from None


def _positions(
    plan: "Settings", config: "ServiceConfig", home: Path, runtime: "Runtime", world: "DemoWorld | None"
) -> "Callable[[Board, Offload], PositionsProvider]":
    from perpkit.service.positions import JournalPositions, Source, journals_of, url_of

    def sources() -> "list[Source]":
        own = [Source(url, own_world=True) for url in world.journals] if world is not None else []
        given = [url_of(entry) for entry in plan.journals] or ([] if world is not None else journals_of(home))
        return [*own, *(Source(url) for url in given)]

    def make(board: "Board", reads: "Offload") -> "PositionsProvider":
        def mark(instrument: "InstrumentId") -> Decimal | None:
            quote = board.quote(instrument)
            return quote.mark if quote is not None and board.is_fresh(quote) else None

        worlds = {name: config.of(name).environment for name in config.names}
        return JournalPositions(sources, reads, runtime.clock, marks=mark, environments=worlds)

    return make


@asynccontextmanager
async def _demo_world(demo: _Demo, runtime: "Runtime", home: Path, told: "_Told", plan: "Settings") -> "AsyncIterator[DemoWorld]":
    from exchange_simulator.world.recordings import RecordingError
    from perpkit.service.demo import demo_world

    told.say("building the simulated venues")
    try:
        async with demo_world(runtime, home, seed=demo.seed, data=demo.data, venues=tuple(plan.service.venues)) as world:
            for note in world.notes:
                told.say(note)
            yield world
    except RecordingError as e:
        raise Failure(str(e), hint="--data wants the folder with the recordings") from e


@dataclass(slots=True)
class _Told:
    """What is printed: the address, and each venue when it comes, goes or comes back."""

    json: bool
    _states: dict[str, str] = field(default_factory=dict)

    def say(self, text: str) -> None:
        if not self.json:
            print(text, flush=True)

    def address(self, url: str, home: Path, database: str) -> None:
        if self.json:
            emit_json_line({"event": "listening", "url": url, "database": database, "home": str(home)})
        else:
            print(f"funding rates at {url}   (API {url}/api/v1, database {database}, log {home / LOG_FILE}; Ctrl-C ends)", flush=True)

    def venue(self, name: str, service: "Service") -> None:
        """One line when the state of a venue is another than it was."""
        health = service.board.venues()[name]
        state = health.state.value if health.consecutive_failures < 1 or health.fresh == 0 else "failing"
        if state == "waiting" or self._states.get(name) == state:
            return
        before, self._states[name] = self._states.get(name), state
        if self.json:
            told = {"markets": health.markets, "latency_ms": health.latency_ms, "error": health.last_error if state != "ok" else None}
            emit_json_line({"event": "venue", "venue": name, "state": state, **told})
        elif state == "ok":
            back = "back, " if before is not None else ""
            print(f"  {name:<12} {back}{counted(health.markets, 'market')}, {health.latency_ms} ms", flush=True)
        else:
            what = "rates are too old" if state == "stale" else "not reachable" if health.fresh == 0 else "the last round failed"
            print(f"  {name:<12} {what}: {health.last_error or 'no answer'}; it is asked again", flush=True)

    def ending(self) -> None:
        if self.json:
            emit_json_line({"event": "ending"})
        else:
            print("ending", flush=True)


@contextmanager
def _signals(ended: asyncio.Event) -> Iterator[None]:
    """SIGINT and SIGTERM ask for the end."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None

    def asked() -> None:
        if ended.is_set():  # twice: at once
            task.cancel()
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
