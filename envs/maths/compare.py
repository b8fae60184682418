"""What may equal what: scalars, lists, tuples, sets, intervals, relations, matrices, and one for another.

`Judge.same(reference, answer)` is `True`, `False`, or `None` if this process cannot decide. `Judge.rung` names the
most expensive rung that was needed. The rules are symmetric unless an option or a written form says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import combinations, pairwise
from typing import Any

from stepgym.envs.maths import (
    ellipsis,
    integersets,
    lists,
    matrices,
    quantities,
    realsets,
    relations,
    setalgebra,
)
from stepgym.envs.maths.draws import Draws
from stepgym.envs.maths.effort import spend
from stepgym.envs.maths.exact import NotRational, exact
from stepgym.envs.maths.latex_commands import OTHERWISE
from stepgym.envs.maths.measures import LastRung, ScalarJudge
from stepgym.envs.maths.options import MathOptions
from stepgym.envs.maths.tree import INF, Node, has, mentions, substitute, symbols, walk

_COLLECTIONS = frozenset(
    (
        "list",
        "set",
        "group",
        "where_set",
        "cup",
        "cap",
        "setminus",
        "ratio",
        "mod",
        "cases",
        "dots",
        "rel",
        "text",
    )
)
_BEYOND_SCALARS = (
    _COLLECTIONS
    | frozenset("seq mat call +- -+ where j R Z N Q C R+ R- R* Z+ Z- N+ Q+".split())
    | frozenset(matrices.UNIT_VECTORS)
)
"""What a scalar's tree does not hold; a letter of the same name only costs time."""
_IMAGINARY_LETTERS = frozenset(("j", "I"))
_DOTS = ("dots",)


class Judge:
    """Compares one answer with one reference. `last_rung` is asked for scalars that all cheaper rungs pass on."""

    def __init__(self, options: MathOptions, rng: Draws, last_rung: LastRung | None = None) -> None:
        self.options = options
        self.rng = rng
        self.scalars = ScalarJudge(options, rng, last_rung)
        self.depth = 0

    @property
    def rung(self) -> str:
        """The most expensive rung that was needed."""
        return self.scalars.rung

    @property
    def hopeless(self) -> bool:
        """Whether a scalar is too large for every rung."""
        return self.scalars.hopeless

    def same(self, a: Node, b: Node) -> bool | None:
        """Compare two parsed forms; `a` is the reference."""
        if type(a) is int and type(b) is int:
            self.scalars.used("rational")
            return a == b
        self.depth += 1
        if self.depth > 60:
            self.depth -= 1
            return None
        try:
            if not mentions(_BEYOND_SCALARS, a, b):
                return self._same_scalars(a, b)
            return self._same(lists.plain_form(a), lists.plain_form(b))
        finally:
            self.depth -= 1

    def all_same(self, pairs: Sequence[tuple[Node, Node]]) -> bool | None:
        unknown = False
        for x, y in pairs:
            spend(4)
            found = self.same(x, y)
            if found is False:
                return False
            unknown |= found is None
        return None if unknown else True

    def _same(self, a: Any, b: Any) -> bool | None:
        kind_a = a[0] if isinstance(a, tuple) else ""
        kind_b = b[0] if isinstance(b, tuple) else ""
        if kind_a == "text" or kind_b == "text":
            return bool(a == b or (a == ("text", "infinitely many") and b == INF))
        if kind_a == "seq" or kind_b == "seq":
            return self.sequences(a, b)
        if kind_a == "rel" or kind_b == "rel":
            return self.relation(a, b)
        if kind_a == "list" or kind_b == "list":
            return self.list_pair(a, b)
        if kind_a == "cases" or kind_b == "cases":
            return self.cases(a, b)
        if kind_a == "mod" or kind_b == "mod":
            return self.congruence(a, b)
        if has(a, "mat") or has(b, "mat"):
            a, b = matrices.determinants(a), matrices.determinants(b)
            if has(a, "mat") or has(b, "mat"):
                return self.matrix(a, b)
        if kind_a == "call" or kind_b == "call":
            found = self.labelled(a, b)
            if found is not None:
                return found
        if has(a, "group") or has(b, "group"):
            a, b = matrices.as_group(a), matrices.as_group(b)
            kind_a, kind_b = _kind(a), _kind(b)
        if kind_a in ("+", "*", "v", "-") or kind_b in ("+", "*", "v", "-"):
            vector_a, vector_b = matrices.unit_vectors(a), matrices.unit_vectors(b)
            if vector_a is None and vector_b is not None and kind_a != "group":
                vector_a = matrices.unit_vectors(matrices.in_bold(a))
            if vector_b is None and vector_a is not None and kind_b != "group":
                vector_b = matrices.unit_vectors(matrices.in_bold(b))
            if vector_a is not None or vector_b is not None:
                return self._same_groups(vector_a or a, vector_b or b, vector_a, vector_b)
        if kind_a == "set" and kind_b == "set":
            return self.unordered(lists.parts_of(a), lists.parts_of(b))
        if kind_a in _SETS or kind_b in _SETS:
            return self.real_sets(a, b)
        if {kind_a, kind_b} & {"f", "^"} and (has(a, *_OPERATORS) or has(b, *_OPERATORS)):
            return self._operands(a, b)  # a complement of sets
        if kind_a == "group" or kind_b == "group":
            return self.groups(a, b)
        if kind_a == "ratio" or kind_b == "ratio":
            return self.ratios(a, b)
        if _is_number_set(a) or _is_number_set(b):
            return bool(a == b)
        if has(a, "dots") or has(b, "dots"):
            return self.patterns(a, b)
        return self._same_scalars(a, b)

    def _same_scalars(self, a: Node, b: Node) -> bool | None:
        if self.depth == 1 and _is_name(a) and _is_name(b):
            return a == b  # AB and BA name different things
        found = self.scalars.same(a, b, top=self.depth == 1)
        if found is False and mentions(_IMAGINARY_LETTERS, a, b):
            read = _imaginary(a, b)
            if read != (a, b):
                return self.scalars.same(*read, top=self.depth == 1)
        return found

    def list_pair(self, a: Node, b: Node) -> bool | None:
        """Two things of which at least one is a list."""
        if mentions(_DIVISIBILITIES, a, b):
            with suppress(integersets.NotIntegerSet):
                p, q = integersets.read(a), integersets.read(b)
                if integersets.overlap(p, p) and integersets.overlap(q, q):
                    return integersets.equal(
                        p, q
                    )  # not `n = 1 (mod 4) and n = 3 (mod 4)`, which lists both
        first, second = lists.system(a), lists.system(b)
        if first and second:
            if set(first.names) == set(second.names):
                other = dict(zip(second.names, second.values))
                return self.all_same(
                    [(value, other[name]) for name, value in zip(first.names, first.values)]
                )
            return False
        for one, whole, swapped in ((first, b, False), (second, a, True)):
            if one is not None:
                found = self._system_against(one, whole, swapped)
                if found is not None:
                    return found
        with suppress(realsets.NotRealSet):
            return self._as_sets(a, b)
        if lists.has_dots(a) or lists.has_dots(b):
            return self.item_by_item(lists.parts_of(a), lists.parts_of(b))
        if lists.names_of(a) and lists.names_of(b) and lists.names_of(a) != lists.names_of(b):
            return False
        p_items, q_items = (
            lists.parts_of(lists.values_only(a)),
            lists.parts_of(lists.values_only(b)),
        )
        if _kind(a) == _kind(b) == "list" and self.options.order_matters:
            return (
                self.all_same(list(zip(p_items, q_items)))
                if len(p_items) == len(q_items)
                else False
            )
        if (
            {_kind(a), _kind(b)} & {"group", "cup", "cap", "setminus", "where_set", "mat"}
            and min(len(p_items), len(q_items)) == 1
            and len(p_items) != len(q_items)
        ):
            return False
        same_length = _kind(a) == _kind(b) == "list" and len(p_items) == len(q_items)
        counted = same_length or (
            _kind(a) == "list" and self._repeats(p_items, isinstance(a, tuple) and a[1] == "or")
        )
        return self.unordered(p_items, q_items, counted=counted)

    def _repeats(self, items: Sequence[Node], alternatives: bool) -> bool:
        """Whether a list holds some value more than once, so that its repetitions count: prime factors.

        Alternatives are ways of writing one value (`3/4 or 0.75`) unless they are written alike.
        """
        if alternatives:
            return len(set(items)) < len(items)
        values = lists.exact_values(items) or items
        if len(set(values)) < len(items):
            return True
        return (
            values is items
            and len(items) <= _MAX_PAIRED
            and any(self.same(x, y) for x, y in combinations(items, 2))
        )

    def _system_against(self, one: lists.System, whole: Any, swapped: bool) -> bool | None:
        """Named values against a bare tuple or a list in the same order, or against the one value of all names."""
        if _kind(whole) == "group":
            values = whole[3]
            if whole[1] != "(" or whole[2] != ")" or len(values) != len(one.values):
                return False
        elif _kind(whole) == "list":
            items = whole[2]
            if any(_kind(item) == "rel" for item in items):
                return None
            values = items
        elif one.are_one:
            return self.same(whole, one.values[0]) if swapped else self.same(one.values[0], whole)
        else:
            return None
        if len(values) != len(one.values):
            return False
        pairs = list(zip(one.values, values))
        return self.all_same([(y, x) for x, y in pairs] if swapped else pairs)

    def _as_sets(self, a: Any, b: Any) -> bool | None:
        """Lists of inequalities as sets of reals; raises `NotRealSet`."""
        if not any(
            _kind(item) == "rel" and not set(item[1]) <= {"=", "~", "==="}
            for side in (a, b)
            for item in lists.parts_of(side)
        ):
            raise realsets.NotRealSet
        names_a: set[str] = set()
        names_b: set[str] = set()
        p, q = realsets.read(a, names_a), realsets.read(b, names_b)
        if len(names_a) > 1 or len(names_b) > 1:
            raise realsets.NotRealSet
        if names_a and names_b and names_a != names_b:
            return False
        return realsets.equal(p, q, self.same)

    def unordered(
        self, a: Sequence[Node], b: Sequence[Node], *, counted: bool = False
    ) -> bool | None:
        """Match the items of two collections in any order; repeated items count once, unless `counted`."""
        x, y = lists.exact_values(a), lists.exact_values(b)
        if counted and len(a) != len(b):
            return False
        if x is not None and y is not None:
            self.scalars.used("rational")
            if sorted(x) == sorted(y) if counted else set(x) == set(y):
                return True
            if not any(_kind(item) in ("dec", "*", "-") for item in (*a, *b)):
                return False
        if len(a) > 400 or len(b) > 400:
            return None
        in_order = lists.by_size(a), lists.by_size(b)
        if len(a) == len(b) and in_order[0] is not None and in_order[1] is not None:
            found = self.all_same(list(zip(in_order[0], in_order[1])))
            if found:
                return True
        return self._covers(a, b, counted)

    def _covers(self, a: Sequence[Node], b: Sequence[Node], counted: bool) -> bool | None:
        """Every item of each side has its equal on the other; one of its own, if `counted`."""
        if len(a) * len(b) > 40_000:
            return None
        unknown = False
        met: set[int] = set()
        for x in a:
            found_any = False
            for i, y in enumerate(b):
                if counted and i in met:
                    continue
                spend(4)
                found = self.same(x, y)
                if found:
                    met.add(i)
                    found_any = True
                    if len(a) == len(b):
                        break
                unknown |= found is None
            if not found_any:
                return None if unknown else False
        for i, y in enumerate(b):
            if i not in met and (counted or not any(self.same(x, y) for x in a)):
                return None if unknown else False
        return True

    def is_true_chain(self, relation: Any) -> bool | None:
        """Whether every link of a chain of equalities holds, after the name that it may begin with."""
        sides = relation[2]
        if relations.assignment(relation) is not None or _kind(sides[0]) == "unit":
            sides = sides[1:]
        return self._all_links(sides)

    def _before_rounding(self, sides: Sequence[Node]) -> Node | None:
        """The exact value in `x = 5/3 = 1.67`; `None` if the last side is no rounding of the one before."""
        if len(sides) < 3 or _kind(sides[-1]) != "dec" or self.same(sides[-2], sides[-1]):
            return None
        return sides[-2]

    def _all_links(self, sides: Sequence[Node]) -> bool | None:
        unknown = False
        for x, y in pairwise(sides):
            found = self.same(x, y)
            if not found and (self.same(y, x) or self.scalars.rounds_to(x, y)):
                continue
            if found is False:
                return False
            unknown |= found is None
        return None if unknown else True

    def labelled(self, a: Any, b: Any) -> bool | None:
        """A point with its name, `A(1, 2)`, or a number of combinations or permutations, `C(5, 2)`."""
        for one, other, swapped in ((a, b, False), (b, a, True)):
            if _kind(one) != "call" or len(one[2]) != 2 or not one[1].isupper():
                continue
            n, k = one[2]
            if _kind(other) == "group":
                meant: Node = ("group", "(", ")", one[2])
            elif one[1] == "C" and _kind(other) not in (*_COLLECTIONS, "call"):
                meant = ("f", "binom", (n, k))
            elif one[1] == "P" and _kind(other) not in (*_COLLECTIONS, "call"):
                bottom: Node = ("f", "factorial", (("+", n, ("-", k)),))
                meant = ("/", ("f", "factorial", (n,)), bottom)
            else:
                continue
            return self.same(other, meant) if swapped else self.same(meant, other)
        return None

    def patterns(self, a: Node, b: Node) -> bool | None:
        """Two sums or products with an ellipsis."""
        if a == b:
            return True
        p, q = ellipsis.pattern(a), ellipsis.pattern(b)
        if p is None or q is None or (p.operator, p.first, p.step) != (q.operator, q.first, q.step):
            return self._written_out(a, b)
        return self.all_same([(p.body, q.body), (p.last, q.last)])

    def _written_out(self, a: Node, b: Node) -> bool | None:
        """Two expressions with an ellipsis in each, compared for several lengths of it."""
        if not (has(a, "dots") and has(b, "dots")):
            return None
        lengths = [
            (ellipsis.written_out(a, length), ellipsis.written_out(b, length))
            for length in ellipsis.LENGTHS
        ]
        pairs = [(p, q) for p, q in lengths if p is not None and q is not None]
        if not pairs:
            return None
        if ellipsis.counting_letters(a) != ellipsis.counting_letters(b):
            return False
        same = self.all_same(pairs)
        return same if same is False or len(pairs) >= ellipsis.MIN_LENGTHS else None

    def sequences(self, a: Any, b: Any) -> bool | None:
        """Numbers in a row, and lists with the same order."""
        if not {_kind(a), _kind(b)} <= {"seq", "list"}:
            return False
        return self.item_by_item(
            *(side[1] if side[0] == "seq" else lists.parts_of(side) for side in (a, b))
        )

    def item_by_item(self, p: Sequence[Node], q: Sequence[Node]) -> bool | None:
        """Items in the same order. Those that an ellipsis stands for are not compared."""
        dots_p, dots_q = ([i for i, x in enumerate(items) if x == _DOTS] for items in (p, q))
        if dots_p == dots_q and len(p) == len(q):
            return self.all_same(list(zip(p, q)))
        if not dots_p and not dots_q:
            return False
        start = list(zip(_before_dots(p), _before_dots(q)))
        end = list(zip(_before_dots(p[::-1]), _before_dots(q[::-1])))
        return False if self.all_same(start + end) is False else None

    def groups(self, a: Any, b: Any) -> bool | None:
        """Tuples, points and intervals."""
        if not (
            isinstance(a, tuple) and isinstance(b, tuple) and a[0] == "group" and b[0] == "group"
        ):
            if _is_number_set(a) or _is_number_set(b):
                return self.real_sets(a, b)
            return False
        if len(a[3]) == len(b[3]) == 2 and (a[1], a[2]) != (b[1], b[2]) and not _nested(a):
            return False
        return self.item_by_item(a[3], b[3])

    def _same_groups(
        self, a: Node, b: Node, vector_a: Node | None, vector_b: Node | None
    ) -> bool | None:
        if vector_a is None or vector_b is None:
            other = b if vector_b is None else a
            if not (isinstance(other, tuple) and other[0] == "group"):
                return False
        p, q = matrices.pad(a, b)
        return self.groups(p, q)

    def real_sets(self, a: Node, b: Node) -> bool | None:
        if isinstance(a, tuple) and isinstance(b, tuple) and a[0] == b[0] == "where_set":
            found = self._builders(a, b)
            if found:
                return True
        if _is_scalar_set(a, b):
            return self.same(_only(a), _only(b))
        names_a: set[str] = set()
        names_b: set[str] = set()
        try:
            p, q = realsets.read(_call_names(a), names_a), realsets.read(_call_names(b), names_b)
        except realsets.NotRealSet:
            return self._operands(a, b)
        if names_a and names_b and names_a != names_b:
            return False
        found = realsets.equal(p, q, self.same)
        self.scalars.used("rational")
        return found

    def _operands(self, a: Any, b: Any) -> bool | None:
        """Set operations on sets that are none of reals."""
        if a == b:
            return True
        if mentions(_INTEGER_SETS, a, b):
            with suppress(integersets.NotIntegerSet):
                return integersets.same_members(a, b)
        try:
            return setalgebra.Algebra(self.same).equal(a, b) or False
        except setalgebra.NotSet:
            return False

    def _builders(self, a: Any, b: Any) -> bool | None:
        """Set-builder notation: the same element and the same conditions, up to the letters used."""
        names_a, names_b = sorted(symbols(a)), sorted(symbols(b))
        if len(names_a) != len(names_b) or len(a[2]) != len(b[2]):
            return False
        renamed = substitute(b, {old: ("v", new) for old, new in zip(names_b, names_a)})
        if self.same(a[1], renamed[1]) is not True:
            return False
        return self.unordered(a[2], renamed[2])

    def ratios(self, a: Any, b: Any) -> bool | None:
        if isinstance(a, int):
            return False  # an answer of 42 to 1 does not say 42
        if quantities.written(a) is not None and _kind(b) == "ratio" and len(b[1]) == 2:
            return self.same(a, ("/", *b[1]))  # 20:3 rounds to 6.67
        first, second = _ratio_parts(a), _ratio_parts(b)
        if first is None or second is None:
            return False
        if all(part == 0 for part in first) or all(part == 0 for part in second):
            return False
        if len(first) != len(second) or _DOTS in (*first, *second):
            return self.item_by_item(first, second)
        pairs: list[tuple[Node, Node]] = []
        for i in range(1, len(first)):
            pairs.append((("*", first[0], second[i]), ("*", first[i], second[0])))
        return self.all_same(pairs)

    def matrix(self, a: Node, b: Node) -> bool | None:
        p, q = matrices.rows_of(a), matrices.rows_of(b)
        if p is None or q is None:
            return False if p is not q else (a == b or None)
        if [len(row) for row in p] != [len(row) for row in q]:
            flat_p, flat_q = matrices.as_vector(p), matrices.as_vector(q)
            if not (flat_p and flat_q and "group" in (_kind(a), _kind(b))):
                return False
            p, q = [flat_p], [flat_q]
            if len(p[0]) != len(q[0]):
                return False
        return self.all_same([(x, y) for row_p, row_q in zip(p, q) for x, y in zip(row_p, row_q)])

    def cases(self, a: Any, b: Any) -> bool | None:
        if not (
            isinstance(a, tuple)
            and isinstance(b, tuple)
            and a[0] == b[0] == "cases"
            and len(a[1]) == len(b[1])
        ):
            return False
        left = list(b[1])
        unknown = False
        for value, condition in a[1]:
            found: list[bool | None] = []
            for other, its_condition in left:
                same = self.same(value, other)
                if same is not False:
                    fits = self._conditions(a, condition, b, its_condition)
                    same = None if fits and same is None else same and fits
                found.append(same)
            if True in found:
                del left[found.index(True)]
            elif None in found:
                unknown = True
            else:
                return False
        return None if unknown else True

    def _conditions(self, a: Any, condition: Node, b: Any, its_condition: Node) -> bool | None:
        """Compare the conditions of two rows; `otherwise` is where no other condition of its own cases holds."""
        for case, rest, explicit in ((a, condition, its_condition), (b, its_condition, condition)):
            if rest == OTHERWISE != explicit:
                others = [c for _, c in case[1] if c != OTHERWISE]
                return self._is_complement(others, explicit) if others else False
        return self._same_condition(condition, its_condition)

    def _same_condition(self, a: Node, b: Node) -> bool | None:
        """Compare two conditions; words that are not read may say anything."""
        if a == b or mentions(_WORDS, a, b):
            return True if a == b else None
        if mentions(_DIVISIBILITIES, a, b):
            with suppress(integersets.NotIntegerSet):
                return integersets.equal(integersets.read(a), integersets.read(b))
        found = self.same(a, b)
        if found is False and mentions(_UNITS, a) != mentions(_UNITS, b):
            return None  # a word that is not read was taken for a unit
        return found

    def _is_complement(self, others: Sequence[Node], stated: Node) -> bool | None:
        """Whether `stated` holds exactly where none of the others does; `None` where no complement can be built.

        Letters that mostly are integers may have a domain in which sets of reals that differ are the same: `None`.
        """
        if any(self._same_condition(each, stated) for each in others):
            return False
        whole = relations.negation(("list", "or", tuple(others)) if len(others) > 1 else others[0])
        same = None if whole is None else self._same_condition(whole, stated)
        if same:
            return True
        if mentions(_DIVISIBILITIES, stated, *others):
            return self._is_integer_complement(others, stated)
        names: set[str] = set()
        its_names: set[str] = set()
        try:
            outside = realsets.outside([realsets.read(each, names) for each in others])
            inside = realsets.read(stated, its_names)
        except realsets.NotRealSet:
            return None
        if len(names) != 1 or len(its_names) != 1:
            return None
        if names == its_names and realsets.equal(outside, inside, self.same):
            return True
        if (symbols(stated) | names) & _INTEGERS:
            return None
        if realsets.has_symbols(outside) or realsets.has_symbols(inside):
            is_plain = whole is not None and _kind(whole) == _kind(stated) == "rel"
            return same if is_plain else None
        return False

    def _is_integer_complement(self, others: Sequence[Node], stated: Node) -> bool | None:
        """The same for conditions of divisibility; `None` for a part of the complement, as the question may rule the rest out."""
        try:
            covered = integersets.union([integersets.read(each) for each in others])
            inside = integersets.read(stated)
        except integersets.NotIntegerSet:
            return None
        outside = replace(covered, holds=lambda n: not covered.holds(n))
        if integersets.equal(outside, inside):
            return True
        return False if integersets.overlap(covered, inside) else None

    def _divisibility(self, a: Any, b: Any) -> bool | None:
        """Compare `p | n` or a denied congruence with another such relation; `None` if a congruence remains."""
        p, q = relations.divisibility(a), relations.divisibility(b)
        if p is not None and q is not None:
            if p.holds != q.holds or not self.same(p.modulus, q.modulus):
                return False
            if self.same(p.dividend, q.dividend) or self.same(p.dividend, ("-", q.dividend)):
                return True
        try:
            return integersets.equal(integersets.read(a), integersets.read(b)) is True
        except integersets.NotIntegerSet:
            return False

    def congruence(self, a: Any, b: Any) -> bool | None:
        if mentions(_BEYOND_RESIDUES, a, b):
            return self._divisibility(a, b)
        p = relations.residue(a) or relations.progression(a)
        q = relations.residue(b) or relations.progression(b)
        if p is None or q is None or p.name != q.name:
            return False
        if not self.same(p.modulus, q.modulus):
            return False
        try:
            return bool((exact(p.value) - exact(q.value)) % exact(p.modulus) == 0)
        except (NotRational, ZeroDivisionError):
            return self.same(p.value, q.value) or None  # `a` and `a + 5` are one residue modulo 5

    def relation(self, a: Any, b: Any) -> bool | None:
        if _is_divisibility(a) or _is_divisibility(b):
            return self._divisibility(a, b)
        if _kind(a) == "rel" and _kind(b) == "rel":
            return self.both_relations(a, b)
        if _kind(a) == "mod" or _kind(b) == "mod":
            return self.congruence(a, b)
        reference, other, is_a = (a, b, True) if _kind(a) == "rel" else (b, a, False)
        if _kind(other) == "list":
            return self._zero_product(reference, other) or self.list_pair(a, b)
        if other == ("set", ()) and set(reference[1]) == {"="} and not symbols(reference):
            true = self.is_true_chain(reference)
            return None if true is None else not true  # 0 = 3 has no solution
        named = relations.assignment(reference)
        if named is not None:
            true = self.is_true_chain(reference)
            if not true:
                return true
            value = self._before_rounding(reference[2]) or named.value
            return self.same(value, other) if is_a else self.same(other, value)
        tuple_value = lists.tuple_assignment(reference)
        if tuple_value is not None:
            other = _parameter_renamed(reference[2][0], tuple_value, other)
            return self.same(tuple_value, other) if is_a else self.same(other, tuple_value)
        if set(reference[1]) <= {"=", "~"}:
            if symbols(reference):
                return self._solved_for(reference, other) if is_a else False
            if "~" in reference[1]:
                return self.approximated(reference, other, is_a)
            closed = reference[2][-1]  # a computation: every equality in it must hold
            true = self.is_true_chain(reference)
            if not true:
                return true
            return self.same(closed, other) if is_a else self.same(other, closed)
        if _kind(other) in (
            "group",
            "set",
            "cup",
            "cap",
            "setminus",
            "where_set",
        ) or _is_number_set(other):
            return self.real_sets(a, b)
        return False

    def _solved_for(self, equation: Any, value: Node) -> bool | None:
        """`6/x` answers the equation `xy = 6`: it is linear in the one letter that the value lacks, and gives the value."""
        missing = symbols(equation) - symbols(value)
        if equation[1] != ("=",) or len(missing) != 1 or not missing <= _DEPENDENT:
            return False
        gap, name = relations.difference(equation), missing.pop()
        at = [substitute(gap, {name: k}) for k in (0, 1, 2)]
        slopes = [("+", y, ("-", x)) for x, y in pairwise(at)]
        if not self.same(*slopes) or self.same(slopes[0], 0) is not False:
            return False
        return self.same(("/", ("-", at[0]), slopes[0]), value)

    def _zero_product(self, relation: Any, whole: Any) -> bool:
        """`ab = 0` says that `a = 0 or b = 0`, for letters."""
        if relation[1] != ("=",) or relation[2][1] != 0 or _kind(relation[2][0]) != "*":
            return False
        factors = relation[2][0][1:]
        items = [item[2][0] for item in whole[2] if _kind(item) == "rel" and item[2][1:] == (0,)]
        return (
            whole[1] == "or"
            and len(items) == len(whole[2])
            and all(_kind(factor) == "v" for factor in factors)
            and set(items) == set(factors)
        )

    def approximated(self, relation: Any, other: Node, is_a: bool) -> bool | None:
        """`5/3 ~ 1.67` says 5/3, as long as the decimal is its rounding."""
        at = relation[1].index("~")
        exactly, rounded = relation[2][at], relation[2][at + 1]
        if len(relation[2]) != at + 2 or not self.scalars.rounds_to(exactly, rounded):
            return False
        if at:
            true = self.is_true_chain(("rel", relation[1][:at], relation[2][: at + 1]))
            if not true:
                return true
        return self.same(exactly, other) if is_a else self.same(other, exactly)

    def both_relations(self, a: Any, b: Any) -> bool | None:
        tuples = lists.tuple_assignment(a), lists.tuple_assignment(b)
        if tuples[0] is not None and tuples[1] is not None:
            systems = lists.system(a), lists.system(b)
            if systems[0] and systems[1] and set(systems[0].names) == set(systems[1].names):
                return self.list_pair(a, b)
            return self.all_same([(a[2][0], b[2][0]), (a[2][-1], b[2][-1])])
        first, second = relations.assignment(a), relations.assignment(b)
        if first is not None and second is not None and relations.same_name(first, second):
            for chain in (a, b):
                true = self.is_true_chain(chain) if len(chain[2]) > 2 else True
                if not true:
                    return true
            return self.same(first.value, relations.aligned(first, second))
        if a[1] == b[1] == ("=",):
            return self._equation(a, b, closed=not symbols(a) | symbols(b))
        if len(a[1]) == len(b[1]) == 1 and a[1][0] in _ORDERINGS and b[1][0] in _ORDERINGS:
            found = relations.same_inequality(a, b, self.rng)
            if found:
                self.scalars.used("modular")
                return True
        if a[1] == b[1] and self.all_same(list(zip(a[2], b[2]))):
            return True
        turned = tuple(_FLIP.get(op, op) for op in reversed(b[1]))
        if a[1] == turned and self.all_same(list(zip(a[2], reversed(b[2])))):
            return True
        return self._solved(a, b) or False

    def _equation(self, a: Any, b: Any, *, closed: bool) -> bool | None:
        if closed:
            return bool(a == b)
        self.scalars.used("modular")
        same = relations.same_equation(relations.difference(a), relations.difference(b), self.rng)
        if not same and has(a, "dots") and has(b, "dots") and self.all_same(list(zip(a[2], b[2]))):
            return True  # `x_1 + x_2 + ... + x_n = 1`, with more terms
        return same

    def _solved(self, a: Node, b: Node) -> bool | None:
        names_a: set[str] = set()
        names_b: set[str] = set()
        try:
            p, q = realsets.read(_call_names(a), names_a), realsets.read(_call_names(b), names_b)
        except realsets.NotRealSet:
            return None
        if names_a != names_b:
            return False
        return realsets.equal(p, q, self.same)


_WORDS = frozenset(("text",))
_UNITS = frozenset(("unit",))
_INTEGER_SETS = frozenset("Z N Z+ N+ N*".split())
_BEYOND_RESIDUES = frozenset(("divides", "ndivides", "!==="))
_DIVISIBILITIES = _BEYOND_RESIDUES | {"mod"}
_OPERATORS = ("cup", "cap", "setminus")
_SETS = frozenset((*_OPERATORS, "where_set", "set"))
_ORDERINGS = frozenset(("<", ">", "<=", ">=", "!="))
_DEPENDENT = frozenset("y z w r rho".split())
"""Letters that a bare expression stands for: `6 - x` is `y`, but `6 - y` is not `x`."""
_INTEGERS = frozenset("i j k l m n".split())
"""Letters that mostly are integers."""
_MAX_PAIRED = 12
"""Members of a longer list are compared with each other only if they are rational."""
_FLIP = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}


def _is_divisibility(node: Any) -> bool:
    """Whether a relation is `p | n` or denies a congruence; not `P(A | B) = 1/2`."""
    inner = node[1] if _kind(node) == "mod" else node
    return _kind(inner) == "rel" and not _BEYOND_RESIDUES.isdisjoint(inner[1])


def _is_name(node: Any) -> bool:
    """Two to four capital letters in a row: `AB`."""
    return (
        _kind(node) == "*"
        and 3 <= len(node) <= 5
        and all(_kind(f) == "v" and len(f[1]) == 1 and f[1].isupper() for f in node[1:])
    )


def _imaginary(a: Node, b: Node) -> tuple[Node, Node]:
    """Read an engineer's `j` or SymPy's `I` as the imaginary unit, if the other side has `i` and none has both."""
    for one, other in ((a, b), (b, a)):
        if ("k", "i") in walk(one) or ("k", "i") not in walk(other):
            continue
        for letter in _IMAGINARY_LETTERS:
            if letter in symbols(one) and letter not in symbols(other):
                unit: dict[str, Node] = {letter: ("k", "i")}
                return substitute(a, unit), substitute(b, unit)
    return a, b


def _parameter_renamed(names: Node, value: Node, other: Node) -> Node:
    """`other` with its one parameter called as that of `(names) = value`: `(3t, 5t)` for `(x, y) = (3k, 5k)`."""
    ours, theirs = symbols(value) - symbols(names), symbols(other) - symbols(names)
    if len(ours) == len(theirs) == 1 and ours != theirs:
        renamed: Node = substitute(other, {theirs.pop(): ("v", ours.pop())})
        return renamed
    return other


def _kind(node: Node) -> str:
    return node[0] if isinstance(node, tuple) else ""


def _before_dots(items: Sequence[Node]) -> Sequence[Node]:
    """The items before an ellipsis, or all."""
    return items[: items.index(_DOTS)] if _DOTS in items else items


def _nested(group: Any) -> bool:
    return any(isinstance(item, tuple) and item[0] == "group" for item in group[3])


def _is_number_set(node: Node) -> bool:
    return (
        isinstance(node, tuple) and node[0] == "k" and node[1][0] in "RZNQC" and len(node[1]) <= 2
    )


def _is_scalar_set(a: Any, b: Any) -> bool:
    """A set of one thing against that thing."""
    for one, other in ((a, b), (b, a)):
        if (
            _kind(one) == "set"
            and len(one[1]) == 1
            and _kind(other) not in _COLLECTIONS
            and not _is_number_set(other)
        ):
            return True
    return False


def _only(node: Node) -> Node:
    return node[1][0] if isinstance(node, tuple) and node[0] == "set" else node


def _ratio_parts(node: Node) -> Sequence[Node] | None:
    if isinstance(node, tuple) and node[0] == "ratio":
        parts: Sequence[Node] = node[1]
        return parts
    if _kind(node) in _COLLECTIONS:
        return None
    return (node[1], node[2]) if isinstance(node, tuple) and node[0] == "/" else (node, 1)


def _call_names(node: Any) -> Any:
    if not isinstance(node, tuple):
        return node
    if node and node[0] == "call":
        return ("v", node[1])
    if node and node[0] in ("v", "k", "dec", "unit", "text", "base"):
        return node
    return tuple(_call_names(item) for item in node)
