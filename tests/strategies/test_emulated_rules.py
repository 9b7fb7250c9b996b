"""The pure rules of emulated orders against a venue that does what it likes: partial fills, refusals, late ends, prices that vanish."""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange_clients.model import NS_PER_S, Side
from strategies.execution.emulated.base import Action, Cancel, Finish, OrderView, Place, PlaceGroup, Price, RoleView, Seen, Tell, Watch
from strategies.execution.emulated.bracket import Bracket
from strategies.execution.emulated.exits import EXIT_ROLES, MAX_ATTEMPTS, Exits, Stance
from strategies.execution.emulated.iceberg import Iceberg, slice_of
from strategies.execution.emulated.oco import Oco
from strategies.execution.emulated.runner import State, decide
from strategies.execution.emulated.trailing import Trailing

D = Decimal
UNIT = D("0.001")
ZERO, HUNDRED = D(0), D(100)


@dataclass
class Order:
    role: str
    side: Side
    left: Decimal
    trigger: Decimal | None
    filled: Decimal = ZERO
    ending: bool = False
    over: bool = False
    refused: bool = False


@dataclass
class World:
    """A venue as far as the rules can tell it from a real one."""

    state: State
    own: Decimal
    price: Decimal | None = HUNDRED
    now_ns: int = NS_PER_S
    orders: list[Order] = field(default_factory=list)
    finish: Finish | None = None
    told: list[str] = field(default_factory=list)

    def seen(self, *, restarted: bool = False) -> Seen:
        roles: dict[str, RoleView] = {}
        for role in {o.role for o in self.orders}:
            mine = [o for o in self.orders if o.role == role]
            dry = refused = 0
            for o in reversed(mine):
                if not o.over or o.filled > 0:
                    break
                dry += 1
            for o in reversed(mine):
                if not o.refused:
                    break
                refused += 1
            roles[role] = RoleView(
                live=tuple(OrderView(remaining=o.left, trigger_price=o.trigger) for o in mine if not o.over),
                filled=sum((o.filled for o in mine), D(0)),
                sent=len(mine),
                dry=dry,
                refused=refused,
                most_refused=max((o.left for o in mine[len(mine) - refused :]), default=ZERO),
            )
        price = None if self.price is None else Price(self.price, self.price)
        return Seen(now_ns=self.now_ns, own=self.own, price=price, roles=roles, restarted=restarted)

    def turn(self, *, refuse: bool = False, restarted: bool = False) -> list[Action]:
        before = self.state
        self.state, actions = decide(before, self.seen(restarted=restarted))
        self.state = msgspec.json.decode(msgspec.json.encode(self.state), type=State)  # what a crash leaves of it
        if not isinstance(before, Iceberg) and not isinstance(self.state, Iceberg) and self.price is None:
            assert before.exits.stance is self.state.exits.stance or self.state.exits.stance is not Stance.OUT, "never blindly"
        for action in actions:
            self.act(action, refuse)
        return actions

    def act(self, action: Action, refuse: bool) -> None:
        match action:
            case Place():
                self.place(action, refuse)
            case PlaceGroup():
                for place in (action.entry, *action.exits):
                    self.place(place, refuse, grouped=place is not action.entry)
            case Cancel():
                for order in self.live(action.role):
                    order.ending = True
            case Tell():
                self.told.append(action.event)
            case Finish():
                self.finish = action

    def place(self, place: Place, refuse: bool, *, grouped: bool = False) -> None:
        assert place.quantity > 0
        if place.reduce_only and not grouped:
            others = [o for o in self.orders if not o.over and o.role in EXIT_ROLES and o.role != place.role]
            assert not others, f"{place.role} while {[o.role for o in others]} may still fill"
            assert place.quantity + sum((o.left for o in self.live(place.role)), D(0)) <= abs(self.own), "more than is held"
        order = Order(place.role, place.side, place.quantity, place.trigger_price, over=refuse, refused=refuse)
        self.orders.append(order)

    def live(self, role: str) -> list[Order]:
        return [o for o in self.orders if o.role == role and not o.over]

    def fill(self, order: Order, quantity: Decimal) -> None:
        if order.role in EXIT_ROLES:
            quantity = min(quantity, abs(self.own))
        quantity = min(quantity, order.left)
        order.left -= quantity
        order.filled += quantity
        self.own += order.side.sign * quantity
        order.over = order.left == 0

    def end(self) -> None:
        for order in self.orders:
            order.over |= order.ending

    def shrink(self) -> None:
        """What the desk does when the own share got smaller: reducing orders that exceed it come off."""
        exiting = [o for o in self.orders if not o.over and o.role in EXIT_ROLES]
        excess = sum((o.left for o in exiting), D(0)) - abs(self.own)
        for order in reversed(exiting):
            if excess > 0:
                excess -= order.left
                order.over = True

    def filled(self, *roles: str) -> Decimal:
        return sum((o.filled for o in self.orders if o.role in roles), D(0))


def exits(side: Side, at_venue: bool, *, take: bool = True) -> Exits:
    """Around a price of 100: the stop 5 against the position, the take-profit 5 in its favour."""
    stop, profit = (D(95), D(105)) if side is Side.SELL else (D(105), D(95))
    return Exits(side=side, stop=stop, take_profit=profit if take else None, at_venue=at_venue, watch=Watch.BBO)


SIDES = st.sampled_from(list(Side))
STEPS = st.lists(
    st.tuples(st.sampled_from(["price", "blind", "fill", "end", "refuse", "wait", "hand"]), st.integers(90, 110), st.integers(1, 12)),
    max_size=40,
)


def drive(world: World, steps: list[tuple[str, int, int]], check: Callable[[], None]) -> None:
    for what, price, amount in steps:
        match what:
            case "price":
                world.price = D(price)
            case "blind":
                world.price = None
            case "fill":
                for order in [o for o in world.orders if not o.over][:amount]:
                    world.fill(order, amount * UNIT)
            case "end":
                world.end()
            case "wait":
                world.now_ns += amount * NS_PER_S
            case "hand":
                world.own -= (world.own > 0) * min(UNIT, world.own)
                world.shrink()
        if world.finish is None:
            world.turn(refuse=what == "refuse")
        check()


def settle(world: World, price: Decimal) -> None:
    """From here on the venue does what it is asked."""
    world.price = price
    for _ in range(80):
        if world.finish is not None:
            return
        world.end()
        world.now_ns += NS_PER_S
        world.turn()
        for order in [o for o in world.orders if not o.over and o.role in ("exit", "stop")]:
            if order.role == "exit" or (order.trigger is not None and (price - order.trigger) * order.side.sign >= 0):
                world.fill(order, order.left)


@settings(max_examples=100, deadline=None)
@given(SIDES, st.booleans(), st.sampled_from([D(0), D("0.020")]), STEPS)
def test_e17_an_oco_never_exits_more_than_it_protects(side: Side, at_venue: bool, rest: Decimal, steps: list[tuple[str, int, int]]) -> None:
    """Alone in the holding, or for a part of it."""
    quantity = D("0.010")
    world = World(Oco(quantity=quantity, exits=exits(side, at_venue)), own=-side.sign * (quantity + rest))
    taken = [what == "hand" for what, *_ in steps].count(True) * UNIT

    def check() -> None:
        assert world.filled(*EXIT_ROLES) <= quantity
        assert world.own * -side.sign >= 0, "never through zero"

    drive(world, steps, check)
    settle(world, D(90) if side is Side.SELL else D(110))
    check()
    assert world.finish is not None
    if world.finish.good:
        assert world.filled(*EXIT_ROLES) >= quantity - taken
    else:
        assert sum(o.role == "exit" and o.filled == 0 for o in world.orders) >= MAX_ATTEMPTS


@settings(max_examples=100, deadline=None)
@given(SIDES, st.booleans(), STEPS)
def test_e17_a_bracket_exits_what_its_entry_filled(side: Side, at_venue: bool, steps: list[tuple[str, int, int]]) -> None:
    entry = Bracket(quantity=D("0.010"), price=D(100), exits=exits(side.opposite, at_venue), entry_s=20.0)
    world = World(entry, own=D(0))

    def check() -> None:
        assert sum(o.role == "entry" for o in world.orders) <= 1, "it enters once"
        assert world.filled(*EXIT_ROLES) <= world.filled("entry")
        assert world.own * side.sign >= 0

    world.turn()
    drive(world, [s for s in steps if s[0] != "refuse"], check)
    world.now_ns += 30 * NS_PER_S
    settle(world, D(90) if side is Side.BUY else D(110))
    check()
    assert world.finish is not None
    assert world.finish.good
    assert world.own == 0


@settings(max_examples=100, deadline=None)
@given(SIDES, st.lists(st.one_of(st.none(), st.integers(80, 120)), min_size=1, max_size=30))
def test_a_trailing_stop_never_goes_back_and_never_moves_blindly(side: Side, prices: list[int | None]) -> None:
    none = Exits(side=side, stop=None, take_profit=None, at_venue=True, keep_within=D(1))
    state: State = Trailing(quantity=D("0.01"), exits=none, tick=D("0.5"), fraction=D("0.05"))
    world = World(state, own=-side.sign * D("0.01"))
    best: Decimal | None = None
    for price in prices:
        world.price = None if price is None else D(price)
        before = world.state
        world.turn()
        world.end()
        assert isinstance(before, Trailing)
        assert isinstance(world.state, Trailing)
        held, now = before.exits.stop, world.state.exits.stop
        if held is not None:
            assert now is not None
            assert (held - now) * side.sign >= 0, "never back"
        if price is None:
            assert now == held
        elif before.exits.stance is Stance.GUARD:
            best = D(price) if best is None or (best - D(price)) * side.sign > 0 else best
            assert now is not None
            assert (now - (best * (1 + side.sign * D("0.05")))) * side.sign <= 0, "never further away than asked"
            assert now % D("0.5") == 0


def test_a_trailing_stop_waits_for_its_activation() -> None:
    none = Exits(side=Side.SELL, stop=D(90), take_profit=None, at_venue=False)
    world = World(Trailing(quantity=D(1), exits=none, tick=D("0.1"), distance=D(2), activation=D(103)), own=D(1))
    levels = []
    for price in (100, 102, 103, 102, 104):
        world.price = D(price)
        world.turn()
        assert isinstance(world.state, Trailing)
        levels.append(world.state.exits.stop)
    assert levels == [D(90), D(90), D(101), D(101), D(102)]


def test_a_stop_is_not_pulled_by_a_price_that_is_not_fresh_and_is_looked_at_when_it_is_back() -> None:
    world = World(Oco(quantity=D(1), exits=exits(Side.SELL, at_venue=False)), own=D(1))
    world.turn()
    world.price = None
    for _ in range(3):
        world.turn()
    assert world.told == ["protection.blind"]
    assert not world.live("exit")
    world.price = D(94)
    world.turn()
    world.end()
    world.turn()
    assert world.told == ["protection.blind", "protection.sees"]
    assert [o.left for o in world.live("exit")] == [D(1)]


def test_a_stop_that_the_venue_refuses_is_watched_from_here() -> None:
    world = World(Oco(quantity=D(1), exits=exits(Side.SELL, at_venue=True, take=False)), own=D(1))
    for _ in range(5):
        world.turn(refuse=True)
    assert world.told == ["protection.here"]
    assert len(world.orders) == 3
    world.price = D(95)
    world.turn()
    assert [o.role for o in world.orders if not o.over] == ["exit"]


def test_e20_a_way_out_that_nobody_takes_ends_in_a_failure_that_is_told() -> None:
    world = World(Oco(quantity=D(1), exits=exits(Side.SELL, at_venue=False, take=False)), own=D(1))
    world.price = D(90)
    for _ in range(40):
        if world.finish is None:
            world.turn()
        for order in world.live("exit"):
            order.over = True
    assert sum(o.role == "exit" for o in world.orders) == MAX_ATTEMPTS
    assert world.told == ["protection.failed"]
    assert world.finish is not None
    assert not world.finish.good


def test_a_group_of_the_venue_that_does_not_act_is_taken_over() -> None:
    """At once while its entry still fills, after its grace when it is complete."""
    for complete in (False, True):
        world = World(Bracket(quantity=D(1), price=D(100), exits=exits(Side.SELL, at_venue=True), native=True), own=D(0))
        world.turn()
        assert sorted(o.role for o in world.orders) == ["entry", "stop", "tp"]
        world.fill(world.orders[0], D(1) if complete else D("0.4"))
        world.price = D(94)
        turns = 0
        while not world.told and turns < 10:
            world.now_ns += NS_PER_S
            world.turn()
            turns += 1
        assert turns == (4 if complete else 1)
        for _ in range(12):
            world.end()
            world.now_ns += NS_PER_S
            world.turn()
        assert [o.left for o in world.live("exit")] == [D(1) if complete else D("0.4")]


def test_a_bracket_whose_entry_was_never_sent_does_not_enter_after_a_restart() -> None:
    world = World(Bracket(quantity=D(1), price=D(100), exits=exits(Side.SELL, at_venue=True)), own=D(0))
    world.turn(restarted=True)
    assert world.orders == []
    assert world.finish == Finish("restarted before its entry was sent")


@settings(max_examples=100, deadline=None)
@given(st.integers(10, 400), st.integers(2, 60), st.integers(0, 90), st.one_of(st.none(), st.integers(0, 9)), st.data())
def test_an_iceberg_trades_exactly_its_quantity_and_shows_no_more_than_it_may(
    total: int, display: int, spread: int, seed: int | None, data: st.DataObject
) -> None:
    quantity, shown = total * UNIT, min(display, total) * UNIT
    iceberg = Iceberg(
        side=Side.BUY,
        quantity=quantity,
        display=shown,
        price=D(100),
        step=UNIT,
        smallest=2 * UNIT,
        reduce_only=False,
        spread=D(spread) / 100,
        seed=seed,
    )
    world = World(iceberg, own=D(0), price=None)
    for _ in range(2_000):
        if world.finish is not None:
            break
        world.turn()
        for order in world.live("slice"):
            most = shown * (1 + D(spread) / 100) if seed is not None else shown
            assert order.left + order.filled <= max(most, 2 * UNIT) + 2 * UNIT
            world.fill(order, data.draw(st.integers(1, 60)) * UNIT)
        assert len(world.live("slice")) <= 1
    assert world.own == quantity
    assert world.finish == Finish("all of it has traded")


def test_the_slices_of_an_iceberg_are_the_same_after_a_restart() -> None:
    iceberg = Iceberg(
        side=Side.BUY, quantity=D(9), display=D(1), price=D(1), step=UNIT, smallest=UNIT, reduce_only=False, spread=D("0.5"), seed=3
    )
    restored = msgspec.json.decode(msgspec.json.encode(iceberg), type=Iceberg)
    made, again = ([slice_of(one, n, D(9)) for n in range(5)] for one in (iceberg, restored))
    assert made == again
    assert len(set(made)) > 1


def test_e09_an_iceberg_that_adds_waits_for_its_owner_after_a_restart() -> None:
    def world(*, reduce_only: bool) -> World:
        side = Side.SELL if reduce_only else Side.BUY
        iceberg = Iceberg(side=side, quantity=D(9), display=D(1), price=D(1), step=UNIT, smallest=UNIT, reduce_only=reduce_only)
        return World(iceberg, own=D(9))

    adds, reduces = world(reduce_only=False), world(reduce_only=True)
    assert adds.turn(restarted=True) == []
    assert len(reduces.turn(restarted=True)) == 1
