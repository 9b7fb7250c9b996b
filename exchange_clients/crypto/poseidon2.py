"""Poseidon2 over the Goldilocks field: width 12, rate 8, x^7, 8 full and 22 partial rounds, with a sponge that overwrites and does not pad.

Constants as published for this width (Plonky3 diagonal).

Source: L. Grassi, D. Khovratovich, M. Schofnegger, "Poseidon2", IACR ePrint 2023/323.
"""

from __future__ import annotations

from collections.abc import Sequence

from exchange_clients.crypto.goldilocks import P

WIDTH = 12
RATE = 8

# fmt: off
_EXTERNAL = (
    (15492826721047263190, 11728330187201910315, 8836021247773420868, 16777404051263952451, 5510875212538051896, 6173089941271892285,
     2927757366422211339, 10340958981325008808, 8541987352684552425, 9739599543776434497, 15073950188101532019, 12084856431752384512),
    (4584713381960671270, 8807052963476652830, 54136601502601741, 4872702333905478703, 5551030319979516287, 12889366755535460989,
     16329242193178844328, 412018088475211848, 10505784623379650541, 9758812378619434837, 7421979329386275117, 375240370024755551),
    (3331431125640721931, 15684937309956309981, 578521833432107983, 14379242000670861838, 17922409828154900976, 8153494278429192257,
     15904673920630731971, 11217863998460634216, 3301540195510742136, 9937973023749922003, 3059102938155026419, 1895288289490976132),
    (5580912693628927540, 10064804080494788323, 9582481583369602410, 10186259561546797986, 247426333829703916, 13193193905461376067,
     6386232593701758044, 17954717245501896472, 1531720443376282699, 2455761864255501970, 11234429217864304495, 4746959618548874102),
    (13571697342473846203, 17477857865056504753, 15963032953523553760, 16033593225279635898, 14252634232868282405, 8219748254835277737,
     7459165569491914711, 15855939513193752003, 16788866461340278896, 7102224659693946577, 3024718005636976471, 13695468978618890430),
    (8214202050877825436, 2670727992739346204, 16259532062589659211, 11869922396257088411, 3179482916972760137, 13525476046633427808,
     3217337278042947412, 14494689598654046340, 15837379330312175383, 8029037639801151344, 2153456285263517937, 8301106462311849241),
    (13294194396455217955, 17394768489610594315, 12847609130464867455, 14015739446356528640, 5879251655839607853, 9747000124977436185,
     8950393546890284269, 10765765936405694368, 14695323910334139959, 16366254691123000864, 15292774414889043182, 10910394433429313384),
    (17253424460214596184, 3442854447664030446, 3005570425335613727, 10859158614900201063, 9763230642109343539, 6647722546511515039,
     909012944955815706, 18101204076790399111, 11588128829349125809, 15863878496612806566, 5201119062417750399, 176665553780565743),
)
_INTERNAL = (
    11921381764981422944, 10318423381711320787, 8291411502347000766, 229948027109387563, 9152521390190983261, 7129306032690285515,
    15395989607365232011, 8641397269074305925, 17256848792241043600, 6046475228902245682, 12041608676381094092, 12785542378683951657,
    14546032085337914034, 3304199118235116851, 16499627707072547655, 10386478025625759321, 13475579315436919170, 16042710511297532028,
    1411266850385657080, 9024840976168649958, 14047056970978379368, 838728605080212101,
)
_DIAGONAL = (
    0xc3b6c08e23ba9300, 0xd84b5de94a324fb6, 0x0d0c371c5b35b84f, 0x7964f570e7188037, 0x5daf18bbd996604b, 0x6743bc47b9595257,
    0x5528b9362c59bb70, 0xac45e25b7127b68b, 0xa2077d7dfbb606b5, 0xf3faac6faee378ae, 0x0c6388b51545e883, 0xd27dbb6944917b60,
)
# fmt: on


def _external_layer(s: Sequence[int]) -> list[int]:
    """circ(2, 3, 1, 1) on each four, then every entry plus its column's sum. Not reduced: entries grow by a factor of 28."""
    mixed: list[int] = []
    for i in (0, 4, 8):
        a, b, c, d = s[i : i + 4]
        total = a + b + c + d
        mixed += (total + a + 2 * b, total + b + 2 * c, total + c + 2 * d, total + d + 2 * a)
    sums = [mixed[i] + mixed[i + 4] + mixed[i + 8] for i in range(4)] * 3
    return [m + t for m, t in zip(mixed, sums, strict=True)]


def _full_round(s: Sequence[int], constants: Sequence[int]) -> list[int]:
    powers = []
    for entry, constant in zip(s, constants, strict=True):
        x = (entry + constant) % P
        cube = x * x % P * x % P
        powers.append(cube * cube % P * x % P)
    return _external_layer(powers)


def permute(state: Sequence[int]) -> list[int]:
    """The permutation of twelve elements; the result is canonical."""
    s = _external_layer(state)
    for constants in _EXTERNAL[:4]:
        s = _full_round(s, constants)
    s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11 = s
    d0, d1, d2, d3, d4, d5, d6, d7, d8, d9, d10, d11 = _DIAGONAL
    for constant in _INTERNAL:
        x = (s0 + constant) % P
        cube = x * x % P * x % P
        s0 = cube * cube % P * x % P
        total = s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7 + s8 + s9 + s10 + s11
        s0 = s0 * d0 + total
        s1 = (s1 * d1 + total) % P
        s2 = (s2 * d2 + total) % P
        s3 = (s3 * d3 + total) % P
        s4 = (s4 * d4 + total) % P
        s5 = (s5 * d5 + total) % P
        s6 = (s6 * d6 + total) % P
        s7 = (s7 * d7 + total) % P
        s8 = (s8 * d8 + total) % P
        s9 = (s9 * d9 + total) % P
        s10 = (s10 * d10 + total) % P
        s11 = (s11 * d11 + total) % P
    s = [s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11]
    for constants in _EXTERNAL[4:]:
        s = _full_round(s, constants)
    return [x % P for x in s]


def sponge(inputs: Sequence[int], outputs: int) -> list[int]:
    """`outputs` elements from any number of elements: blocks overwrite the first eight, no padding."""
    state = [0] * WIDTH
    for i in range(0, len(inputs), RATE):
        block = inputs[i : i + RATE]
        state[: len(block)] = block
        state = permute(state)
    result = state[:RATE]
    while len(result) < outputs:
        state = permute(state)
        result += state[:RATE]
    return result[:outputs]


def hash_to_quintic(inputs: Sequence[int]) -> tuple[int, int, int, int, int]:
    """Five elements: one of GF(p^5)."""
    a, b, c, d, e = sponge(inputs, 5)
    return a, b, c, d, e


def hash_n_to_one(digests: Sequence[Sequence[int]]) -> list[int]:
    """Digests of four elements folded from the left, two at a time; a single one stays as it is."""
    result = list(digests[0])
    for digest in digests[1:]:
        result = sponge([*result, *digest], 4)
    return result
