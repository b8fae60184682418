"""Shopping, work and travel in words, with numbers that do not matter. Levels add quantities and distractors."""

from __future__ import annotations

import random
from fractions import Fraction

from stepgym.envs.families.text import draft, scaled, text_family
from stepgym.envs.problem_sets import Draft

NAME = "stepgym/WordProblems-v0"
NAMES = ("Ada", "Ben", "Chi", "Dana", "Emil", "Farah", "Goran", "Hana")
THINGS = ("pens", "apples", "candles", "notebooks", "stamps", "tickets", "plates", "ribbons")


def generate(rng: random.Random, level: int) -> Draft:
    """Draw one story."""
    return rng.choice((_shopping, _work, _travel))(rng, level)


def _told(rng: random.Random, level: int, facts: list[str], question: str) -> str:
    """Return the facts in order, with sentences mixed in that do not matter."""
    for _ in range(scaled(level, 0, 3)):
        who = rng.choice(NAMES)
        idle = rng.choice(
            (
                f"{who} is {rng.randint(8, 80)} years old.",
                f"The weather has been dry for {rng.randint(3, 30)} days.",
                f"{who} owns {rng.randint(2, 40)} books.",
            )
        )
        facts.insert(rng.randint(0, len(facts)), idle)
    return " ".join([*facts, question])


def _shopping(rng: random.Random, level: int) -> Draft:
    who = rng.choice(NAMES)
    things = rng.sample(THINGS, scaled(level, 2, 5))
    numbers = [
        (rng.randint(2, scaled(level, 6, 30)), rng.randint(2, scaled(level, 9, 40))) for _ in things
    ]
    facts = [
        f"{who} buys {count} {thing} at {price} coins each."
        for thing, (count, price) in zip(things, numbers)
    ]
    costs = [count * price for count, price in numbers]
    steps = [f"{count} * {price} = {cost}" for (count, price), cost in zip(numbers, costs)]
    total = sum(costs)
    steps.append(f"{' + '.join(map(str, costs))} = {total}")
    if level >= 4:
        percent = rng.choice((10, 20, 25, 50))
        facts.append(f"The shop takes {percent} percent off the whole bill.")
        before, reduced = total, Fraction(total * (100 - percent), 100)
        steps.append(f"{before} * {100 - percent} / 100 = {reduced}")
    else:
        reduced = Fraction(total)
    paid = -(-reduced.numerator // reduced.denominator) + rng.randint(1, 50)
    facts.append(f"{who} pays with {paid} coins.")
    value = paid - reduced
    steps.append(f"{paid} - {reduced} = {value}")
    return draft(_told(rng, level, facts, f"How many coins does {who} get back?"), value, steps)


def _work(rng: random.Random, level: int) -> Draft:
    people = rng.sample(NAMES, scaled(level, 2, 4))
    hours = [rng.randint(2, scaled(level, 6, 20)) for _ in people]
    facts = [f"{who} alone paints the fence in {count} hours." for who, count in zip(people, hours)]
    rate = sum((Fraction(1, count) for count in hours), Fraction(0))
    steps = [
        f"{' + '.join(f'1/{count}' for count in hours)} = {rate}",
        f"1 / ({rate}) = {1 / rate}",
    ]
    question = "How many hours do they need if all of them paint together? Give an exact number."
    return draft(_told(rng, level, facts, question), 1 / rate, steps)


def _travel(rng: random.Random, level: int) -> Draft:
    legs = [
        (rng.randint(1, 6), 4 * rng.randint(5, scaled(level, 12, 30)))
        for _ in range(scaled(level, 1, 4))
    ]
    facts = [
        f"A train runs for {hours} hours at {speed} kilometres per hour."
        if not k
        else f"Then it runs for {hours} hours at {speed} kilometres per hour."
        for k, (hours, speed) in enumerate(legs)
    ]
    way = [hours * speed for hours, speed in legs]
    steps = [f"{hours} * {speed} = {length}" for (hours, speed), length in zip(legs, way)]
    total, time = sum(way), sum(hours for hours, _ in legs)
    steps.append(f"{' + '.join(map(str, way))} = {total}")
    if level < 5:
        return draft(
            _told(rng, level, facts, "How many kilometres does it go in all?"), total, steps
        )
    value = Fraction(total, time)
    steps.append(f"{total} / {time} = {value}")
    question = "What is its average speed in kilometres per hour? Give an exact number."
    return draft(_told(rng, level, facts, question), value, steps)


make = text_family(NAME, generate)
