"""Which pairs of names a phrase relates for certain: where the rules would guess, they say nothing."""

from collections.abc import Sequence

from tasks.extraction.rules.cues import Argument, Hit
from tasks.extraction.rules.scenes import Scene
from tasks.extraction.rules.words import COPULAS, IRREGULAR_VERBS, PREPOSITIONS
from tasks.extraction.sentences import Token

# From this fit on a text says that a name is of a class.
_KNOWN = 0.9
# A phrase of this strength has all of its own words.
_FULL = 0.95


def is_sure(one: Argument, fit: float, hit: Hit, other: Argument, other_fit: float, scene: Scene) -> bool:
    """Return whether a pair stands as those do that were mostly right on real sentences; what isn't sure isn't said.

    The phrase stands between the two. Where the text doesn't say what both are, the sentence is about the one, no other
    name stands between, and the phrase is a verb with "by", a verb with a date, or a noun before the other.
    """
    wants = hit.phrase.rule.wants
    ends = (other, one) if hit.converse else (one, other)
    if wants == "entity" and _is_of(ends[0], hit, ends[1], scene.sentence.tokens):
        # "Born in Kelder Haven, the son of" says nothing of the place.
        known = (other_fit if ends[1] is other else fit) >= _KNOWN and scene.evidence.kind(ends[1].name) != "person"
        return known or ends[1].first > hit.last or not scene.is_in_place(ends[1])
    if (one.first < hit.first) == (other.first < hit.first) and not one.possessive and wants == "entity":
        return False
    tokens = scene.sentence.tokens
    known, other_known = fit >= _KNOWN, other_fit >= _KNOWN
    about = one.name == (scene.about.name if scene.about else None) or one.possessive or not one.spoken
    between, other_between = scene.between(one, hit), scene.between(other, hit)
    word = tokens[hit.last].lower
    verb = word.endswith("ed") or word in IRREGULAR_VERBS or word == "born"
    if known and other_known and wants == "entity":
        if hit.phrase.voice == "noun" and not verb and (_is_aside(hit, tokens) or scene.is_in_place(ends[1])):
            return False
        return between + other_between <= (2 if about else 1)
    before = [token.lower for token in tokens[max(0, hit.first - 2) : hit.first] if token.lower not in COPULAS]
    coordinated = verb and before[-1:] in (["and"], [","])
    if verb and hit.phrase.voice == "agent" and other is scene.about and other.last + 1 == hit.first:
        return known and not between  # "Ada Lind built the schooner Harrier"
    if not about or (between and not known and not coordinated):
        return False
    if wants in ("date", "number"):
        if _is_anothers(hit, one, scene):
            return False
        if one.first > hit.last and (hit.first > 0 or "by" in [token.lower for token in tokens[hit.last + 1 : one.first]]):
            return False  # "established in 2007 by Ada Lind": she wasn't
        return (verb or (known and wants == "number")) and other_between <= known
    if other_between:
        return False
    if one.possessive and not verb:
        return hit.strength >= _FULL and known
    if hit.phrase.voice == "agent" and verb:
        # "sung in English by Ada Lind": English is behind the verb, and not behind "by".
        by = [place for place in range(hit.last + 1, min(hit.last + 4, len(tokens))) if tokens[place].lower == "by"]
        return by[0] < other.first if by else known
    if hit.phrase.voice == "agent" and tokens[hit.last + 1].lower == "by":
        return True  # "a novel by"
    if word.endswith("ing") and other.first == hit.last + 1:
        return True  # "starring Ada Lind"
    if verb and known and other.first == hit.last + 2 and tokens[hit.last + 1].lower in PREPOSITIONS:
        return True  # "born in Kelder Haven"
    lone = hit.first == hit.last and word in PREPOSITIONS
    beside = hit.phrase.voice == "forward" or 1 in (other.first - hit.last, hit.first - other.last)
    return (known and (lone or (beside and _is_verbatim(hit, tokens)))) or (
        other_known and hit.phrase.voice == "noun" and not verb
    )


def _is_aside(hit: Hit, tokens: Sequence[Token]) -> bool:
    """Return whether the noun only says what something is: ``the River Stort, a main tributary, joins``."""
    before = [token.lower for token in tokens[max(0, hit.first - 2) : hit.first]]
    return [token.text for token in tokens[hit.last + 1 : hit.last + 2]] == [","] and ("a" in before or "an" in before)


def _is_anothers(hit: Hit, one: Argument, scene: Scene) -> bool:
    """Return whether a verb behind a comma belongs to the name before it: ``from the album Pinkerton, released``."""
    tokens = scene.sentence.tokens
    before = [each for each in scene.before(hit.first) if each.last == hit.first - 2 and each.value is None]
    if tokens[hit.first - 1].text != "," or not before or before[0] is one:
        return False
    return "by" not in [token.lower for token in tokens[max(0, before[0].first - 6) : before[0].first]]


def _is_verbatim(hit: Hit, tokens: Sequence[Token]) -> bool:
    """Return whether the text has the label's words in a row, small ones too: ``born in``."""
    stems = hit.phrase.stems
    starts = range(max(0, hit.first - 2), hit.first + 1)
    return len(stems) > 1 and any(tuple(each.stem for each in tokens[at : at + len(stems)]) == stems for at in starts)


def _is_of(one: Argument, hit: Hit, other: Argument, tokens: Sequence[Token]) -> bool:
    """Return whether it says ``Ada Lind is the captain of the Harrier``, or ``The captain of the Harrier is Ada Lind``."""
    owned = [token.lower for token in tokens[hit.last + 1 : one.first]]
    if not (hit.converse or hit.strength >= _FULL) or owned[:1] != ["of"] or len(owned) > 3:
        return False
    ahead = other.last < hit.first
    between = tokens[other.last + 1 : hit.first] if ahead else tokens[one.last + 1 : other.first]
    joined = bool(between) and ((ahead and between[0].text == ",") or between[0].lower in COPULAS)
    return joined and len(between) < 5 and all(token.is_word and token.lower not in PREPOSITIONS for token in between[1:])
