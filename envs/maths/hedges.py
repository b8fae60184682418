r"""Words that keep a sentence from stating one answer: negation, alternatives, bounds, functions of a number.

A sentence is looked at as a skeleton: lower case, each number or formula as `#`, the one that would be taken as `@`.
`The answer is less than $42$.` has the skeleton `the answer is less than @.` The lists hold the closed classes of
words of English and the commonest ones of other languages; a hedge that uses none of them is not found.
"""

from __future__ import annotations

import re

_SUBORDINATE = re.compile(
    r"\A\W{0,3}(?:since|because|as|if|when|while|although|though|given|after|before|for)\b[^,@]{0,300},"
)
"""A clause before the main one, whose words say nothing about the answer."""
_CONTRAST = re.compile(
    r"[,;(]?\s{0,3}(?:and\s)?(?:not|rather than|instead of)\s(?:just\s)?#[^@]{0,20}\Z"
)
"""`42, not 24` states 42."""

_WORD = re.compile(r"[^\W\d_]+")
_HEDGES = frozenset(
    """
    not never neither nor cannot except excluding unless either wrong incorrect false untrue no don isn
    impossible assume assuming suppose supposing imagine pretend whether unsure unlikely hardly nobody nothing
    between range ranges ranging rhymes diverges diverge divergent undefined
    nicht kein keine weder oder weniger kleiner größer grösser höher niedriger
    pas jamais sauf aucun inférieur inférieure supérieur supérieure ni excepto menos menor mayor
    não maior minore maggiore mniej więcej bukan atau kurang lebih değil veya không hoặc
    не нет или меньше больше кроме ليس ليست أو یا
    """.split()
)
"""Words that hedge anywhere in a sentence, in languages that separate words by spaces."""
_HEDGES_WITHOUT_BLANKS = re.compile(
    r"नहीं|(?<!\S)या(?!\S)|নয়|(?<!\S)বা(?!\S)|نہیں|より|보다|もしくは|か@|不是|不等于|并非|或者|小于|大于|少于|多于|"
    r"ではな|じゃな|ありません|または|未満|아니|아닙|또는|미만|초과"
)
_PHRASE_WORDS = frozenset(
    """
    let but other different than by such e example instance same answer differ differs away far apart close near
    next similar n t
    """.split()
)
"""Words of which every phrase contains one."""
_PHRASES = re.compile(
    r"\A\W*let (?!me\b|us\b)|n['’]t\b|"
    r"\b(?:anything|all|everything) (?:else )?but\b|\bother than\b|\bdifferent from\b|"
    r"\b(?:more|less|greater|fewer|larger|smaller|bigger|higher|lower|bounded) (?:than|by)\b[^@]{0,24}@|"
    r"@[^@#]{0,12}\b(?:more|less|greater|fewer|larger|smaller|bigger|higher|lower) than\b|"
    r"\bsuch as\b|\be\.g\.|\bfor (?:example|instance)\b|"
    r"\bsame as the\b|\banswer\b(?!\W{0,4}(?:of |as |to be |is |would be )?\W{0,3}@)[^@]{0,60}@|"
    r"\b(?:differs?|different|away|far|apart) from\b|\b(?:close|near|next|similar) to\b"
)
_QUESTION = re.compile(r"\?\W{0,4}\Z")
_BEFORE = re.compile(
    r"(?:\b(?:at least|at most|no (?:more|less|fewer)|up to|over|under|above|below|beyond|exceeds?|exceeding|"
    r"nearly|almost|within|until|past|after|before|following|preceding|like|including|besides|≤|≥|<|>|"
    r"(?:square|cube|root|half|third|quarter|double|multiple|factor|divisor|power|percent|negative|inverse|"
    r"reciprocal|opposite|logarithm|log|factorial|fraction|multiples|factors|divisors|powers|%|#%?|one|any|two|some) of|"
    r"twice|thrice|half|double|triple|minus|plus|times|negative)"
    r"|[<>≤≥±]|\+/-)\s{0,3}(?:the |a |an |these |those |numbers? )?(?:# ?(?:,|and|or|&) ?){0,8}@"
)
_AFTER = re.compile(
    r"@[^@#]{0,12}\b(?:(?:upper|lower) (?:bound|limit)|too (?:big|small|large|high|low|many|few))\b|@\W{0,3}(?:to #|through #|times #|plus|minus|divided|multiplied|squared|cubed|factorial|mod|modulo|or|"
    r"and above|and below|and up|and so on|etc|halves|thirds|fourths|fifths|sixths|eighths|tenths|hundredths|"
    r"thousandths|tens)\b|#\s{0,2}(?:to|through)\s{0,2}@|\bfrom\b[^#@]{0,30}#[^#@]{0,30}\bto\b[^#@]{0,12}@|@\s{0,2}(?:-|–|~|\.\.)\s{0,2}#|#\s{0,2}[–~]\s{0,2}@"
)
_ALTERNATIVES = re.compile(
    r"[#@]\s{0,2}(?:或|或者|还是|か|もしくは|또는|혹은|या|বা|یا)\s{0,2}[#@]|#[^@]{0,60}\b(?:or|ou|o|oder|или|atau)\b[^@]{0,60}@|@[^#]{0,60}\b(?:or|ou|o|oder|или|atau)\b[^#]{0,60}#"
)
_UNCERTAIN = re.compile(
    r"可能|也许|或许|かもしれ|아마|\b(?:maybe|perhaps|possibly|possible|might|could|may|guess|candidates?|options?|choices?|alternatively|also|both|peut-être|vielleicht|quizás?|talvez)\b"
)
_LABELS = re.compile(r"(?<!\w)\(?[A-Ha-h][).:]\s{0,3}\S")
_LETTERS = re.compile(r"(?<![\w\\])\(?[A-H]\)?(?![\w'’])")

_RETRACTED = re.compile(
    r"(?:\A|[.!?;\n,*)])\W{0,6}(?:wait|no\b|actually|hmm|oops|sorry|correction|scratch that|just kidding|alternatively,? (?:it |or |maybe )?[^\n.]{0,12}[$\\\d]|"
    r"or (?:is it|maybe|perhaps|possibly|it)|on second thoughts?|but (?:wait|actually|no)|maybe)\b"
    r"(?:\W{1,4}(?:wait|no|actually|sorry|but|rather)\b){0,3}|"
    r"\b(?:this|that|it|which|above) (?:is|was|may be|might be|could be) (?:wrong|incorrect|not (?:right|correct|true)|false|a mistake)\b|"
    r"\b(?:isn['’]t|is not) (?:right|correct|the answer)\b|\bi made (?:a mistake|an error)\b",
    re.IGNORECASE,
)


def hedged(skeleton: str) -> bool:
    """Return whether the words of a skeleton keep it from stating `@` as the one answer."""
    skeleton = _SUBORDINATE.sub(" ", skeleton)
    contrast = _CONTRAST.search(skeleton)
    if contrast is not None and "@" in skeleton[: contrast.start()]:
        skeleton = skeleton[: contrast.start()]
    words = set(_WORD.findall(skeleton))
    if not words.isdisjoint(_HEDGES) or _QUESTION.search(skeleton):
        return True
    if not words.isdisjoint(_PHRASE_WORDS) and _PHRASES.search(skeleton):
        return True
    if not skeleton.isascii() and _HEDGES_WITHOUT_BLANKS.search(skeleton):
        return True
    if _BEFORE.search(skeleton) or _AFTER.search(skeleton):
        return True
    if "#" not in skeleton:
        return False
    return bool(_ALTERNATIVES.search(skeleton) or _UNCERTAIN.search(skeleton))


def lists_options(sentence: str) -> bool:
    """Return whether a sentence lists the options of a choice: `A) 40 B) 41 C) 42`."""
    return len(_LABELS.findall(sentence)) >= 2


def num_letters(sentence: str) -> int:
    """Return how many letters of a choice a sentence names."""
    return len({match.strip("()") for match in _LETTERS.findall(sentence)})


_NEGATED_BEFORE = re.compile(
    r"(?:\b(?:not|never|cannot be|except|excluding|anything but|other than|neither|instead of|rather than|without|(?:or\s)?(?:maybe|perhaps|possibly))|n['’]t(?: be)?)"
    r"\s{1,3}(?:the answer\s)?(?:to be\s)?(?:equal to\s)?[$*\\(\[{ ]{0,8}\Z",
    re.IGNORECASE,
)
_OR_AFTER = re.compile(
    r"[$*\\)\]}.,; ]{0,8}or\b(?: (?:maybe|perhaps|possibly|even|is it|it is|else))?[ $*\\(\[]{0,6}\d"
)
_COMPUTED_AFTER = re.compile(
    r"[$*\\)\]} ]{0,8}(?:plus|minus|times|divided by|multiplied by) [ $*\\(\[]{0,6}\d|[$*\\)\]} ]{0,8}(?:squared|cubed|factorial)\b(?!\s\w)",
    re.IGNORECASE,
)
_NEGATED_AFTER = re.compile(
    r"[$*\\)\]}.,; ]{0,8}(?:text\s?\{\s?)?(?:is|was)(?:n['’]t| not| wrong| incorrect| false| never)\b",
    re.IGNORECASE,
)


def negated(text: str, start: int, end: int) -> bool:
    """Return whether the words right around a box deny it: `not \\boxed{4}`, `\\boxed{4} is wrong`, `or 5`."""
    return bool(
        _NEGATED_BEFORE.search(text[max(0, start - 60) : start])
        or _OR_AFTER.match(text, end, min(len(text), end + 40))
        or _COMPUTED_AFTER.match(text, end, min(len(text), end + 40))
        or _NEGATED_AFTER.match(text, end, min(len(text), end + 40))
    )


_DOUBT = re.compile(
    r"\b(?:not|never|nobody|no one|hardly|wrong|common|false|wrong|untrue|incorrect|suppose|assume|if|unless|imagine|whether|doubt|deny|pretend)\b|n['’]t\b",
    re.IGNORECASE,
)
_CLAUSE_END = re.compile(r"[.!?;:,\n]")
_OPERATION = re.compile(
    r"\b(?:plus|minus|times|divided|multiplied|squared|cubed|factorial(?!\s?\()|modulo|halves|thirds|fourths|fifths|tenths|hundredths|thousandths|tens|twice|half of|or|not|either|maybe|except|than|at least|at most)\b",
    re.IGNORECASE,
)


def leads_in_doubt(text: str, phrase_start: int) -> bool:
    """Return whether the clause that leads to a phrase denies or supposes it: `I do not think the answer is`."""
    before = _CLAUSE_END.split(text[max(0, phrase_start - 48) : phrase_start])[-1]
    return _DOUBT.search(before) is not None


def says_operation(text: str) -> bool:
    """Return whether words of a short text change the value of its number: `42 plus 1`, `41 or 42`."""
    return _OPERATION.search(text) is not None


def retraction(text: str, start: int, end: int) -> tuple[int, int] | None:
    """Return the offsets of words that take an answer back; 400 characters after it are searched."""
    match = _RETRACTED.search(text, start, min(end, start + 400))
    return None if match is None else match.span()
