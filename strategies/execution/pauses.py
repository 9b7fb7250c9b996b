"""How long to wait before something is tried again."""

MOST_DOUBLINGS = 30


def growing(first_s: float, tries: int, most_s: float) -> float:
    """`first_s`, doubled with each try before, at most `most_s`; also after so many tries that the power has no float any more."""
    return min(first_s * float(2 ** min(tries, MOST_DOUBLINGS)), most_s)
