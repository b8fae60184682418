"""Units: phrases to a factor and dimensions, so that 5 m meets 500 cm and never 5 km.

Unknown words are units of their own kind: 3 apples are 3 apples.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple


class Unit(NamedTuple):
    """`factor` in base units of `dimensions`, a sorted tuple of (base name, power)."""

    factor: Fraction
    dimensions: tuple[tuple[str, int], ...]


def _table() -> dict[str, Unit]:
    rows = """
length m 1: m meter meters metre metres
length cm 1/100: cm centimeter centimeters centimetre centimetres cms
length mm 1/1000: mm millimeter millimeters millimetre millimetres
length km 1000: km kilometer kilometers kilometre kilometres kms
length dm 1/10: dm decimeter decimeters
length nm 1/1000000000: nm nanometer nanometers
length um 1/1000000: um micrometer micrometers
length in 254/10000: inch inches in
length ft 3048/10000: ft foot feet
length yd 9144/10000: yd yard yards
length mi 1609344/1000: mi mile miles
mass kg 1: kg kilogram kilograms kgs
mass g 1/1000: g gram grams gm
mass mg 1/1000000: mg milligram milligrams
mass t 1000: ton tons tonne tonnes
mass lb 45359237/100000000: lb lbs pound pounds
mass oz 45359237/1600000000: oz ounce ounces
time s 1: s sec secs second seconds
time ms 1/1000: ms millisecond milliseconds
time min 60: min mins minute minutes
time h 3600: h hr hrs hour hours
time d 86400: d day days
time week 604800: week weeks
time year 31536000: year years yr yrs
time month 2628000: month months
money dollar 1: dollar dollars usd bucks
money cent 1/100: cent cents
euro euro 1: euro euros eur
sterling pound 1: gbp
yuan yuan 1: yuan rmb cny
rupee rupee 1: rupee rupees rs inr
volume L 1/1000: l liter liters litre litres
volume mL 1/1000000: ml milliliter milliliters cc
volume gal 3785411784/1000000000000: gallon gallons gal
current A 1: ampere amperes amp amps
temperature K 1: kelvin kelvins
celsius C 1: celsius
fahrenheit F 1: fahrenheit
substance mol 1: mol mole moles
force N 1: newton newtons
energy J 1: j joule joules
energy kJ 1000: kj kilojoule kilojoules
energy eV 1602176634/10000000000000000000000000000: ev
power W 1: w watt watts
power kW 1000: kw kilowatt kilowatts
voltage V 1: volt volts
frequency Hz 1: hz hertz
pressure Pa 1: pa pascal pascals
resistance ohm 1: ohm ohms
charge C 1: coulomb coulombs
angle rad 1: rad rads radian radians
speed mph 1: mph
"""
    table: dict[str, Unit] = {}
    for line in rows.strip().splitlines():
        head, names = line.split(":")
        kind, _, factor = head.split()
        dimension = (("length", 3),) if kind == "volume" else ((kind, 1),)
        for name in names.split():
            table[name] = Unit(Fraction(factor), dimension)
    for name, count in (
        ("dozen", 12),
        ("hundred", 100),
        ("thousand", 10**3),
        ("million", 10**6),
        ("billion", 10**9),
        ("trillion", 10**12),
    ):
        table[name] = Unit(Fraction(count), ())
    table["permille"] = Unit(Fraction(1, 1000), ())
    table["basispoints"] = Unit(Fraction(1, 10_000), ())
    table["mph"] = Unit(Fraction(1609344, 1000 * 3600), (("length", 1), ("time", -1)))
    for name in ("kmh", "kph"):
        table[name] = Unit(Fraction(1000, 3600), (("length", 1), ("time", -1)))
    return table


_UNITS = _table()
_CASED = {
    "N": "newton",
    "J": "joule",
    "W": "watt",
    "V": "volt",
    "A": "ampere",
    "K": "kelvin",
    "C": "coulomb",
    "L": "liter",
    "Pa": "pascal",
    "Hz": "hertz",
    "M": "molar",
    "F": "fahrenheit",
    "T": "tesla",
}
_POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_NOISE = frozenset(
    "of the a an in units unit exactly about approximately is are total each".split()
)
_WORD = re.compile(r"[A-Za-z]+|/|\^?-?\d+|per")
UNITLESS = Unit(Fraction(1), ())


def is_unit(word: str) -> bool:
    """Whether a bare run of letters after a number is read as a unit; single letters never are."""
    return (
        len(word) >= 2
        and (word.lower() in _UNITS or word in ("pt", "pts"))
        and word not in ("in", "ab")
    )


def multiply(a: Unit, b: Unit, power: int = 1) -> Unit:
    """`a * b**power`."""
    dimensions = dict(a.dimensions)
    for name, exponent in b.dimensions:
        dimensions[name] = dimensions.get(name, 0) + exponent * power
    kept = tuple(sorted((n, e) for n, e in dimensions.items() if e))
    return Unit(a.factor * b.factor**power, kept)


@lru_cache(maxsize=4096)
def read_unit(phrase: str) -> Unit:
    """Read `square centimeters`, `km/h`, `miles per hour`, `apples`; every phrase is some unit."""
    unit, power, sign = UNITLESS, 1, 1
    last: Unit | None = None
    for word in _WORD.findall(phrase):
        if word in ("/", "per"):
            sign = -1
        elif word.lower() in _POWERS:
            power = _POWERS[word.lower()]
        elif word[0] in "^-0123456789":
            extra = max(-9, min(9, int(word.lstrip("^")))) - 1
            if last is not None:
                unit = multiply(unit, last, sign * extra)
        elif (
            word == "of"
            and last is not None
            and last.dimensions
            and "'" not in last.dimensions[0][0]
        ):
            break  # `grams of sugar` are grams
        elif word.lower() not in _NOISE or phrase.strip() == "in":
            last = _one(word)
            unit = multiply(unit, last, sign * power)
            power = 1
    return unit


def _one(word: str) -> Unit:
    cased = _CASED.get(word, word.lower())
    known = _UNITS.get(cased)
    if known is not None:
        return known
    singular = (
        cased[:-1] if len(cased) > 3 and cased.endswith("s") and not cased.endswith("ss") else cased
    )
    return Unit(Fraction(1), ((f"'{singular}'", 1),))
