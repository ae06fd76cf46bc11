"""Relations that a sentence states between its names and values (CONTRACT 9.5)."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from rdflib import XSD

from tasks.extraction.graph import Proposal
from tasks.extraction.rules.certainty import is_sure
from tasks.extraction.rules.cues import Argument, Hit, find_hits
from tasks.extraction.rules.entities import Evidence
from tasks.extraction.rules.scenes import Scene
from tasks.extraction.rules.words import COPULAS, DETERMINERS, IRREGULAR_VERBS, PREPOSITIONS
from tasks.extraction.sentences import Sentence, Token
from tasks.extraction.values import literal_as

MIN_CONFIDENCE = 0.5
# Members of a list that are read: a long sentence must not cost more than its length.
_LIST = 20
_AND = ("and", "&", "or")


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A pair that a phrase may relate. ``score`` from 0.5 to 1."""

    score: float
    one: Argument
    other: Argument
    hit: Hit


def propose_relations(
    sentence: Sentence, arguments: Sequence[Argument], subject: str | None, evidence: Evidence
) -> list[Proposal]:
    """Return the relations of one sentence, the surest first; at most one between two places.

    ``arguments`` in order, none overlapping; ``subject`` is the name the sentence is about, which is preferred.
    Accepted relations narrow the types in ``evidence`` for the sentences that follow.
    """
    if len(arguments) < 2:
        return []
    about = next((argument for argument in arguments if argument.name == subject), None)
    scene = Scene(sentence, arguments, [argument.first for argument in arguments], about, evidence)
    candidates = [candidate for hit in find_hits(sentence, arguments, evidence.lexicon) for candidate in _candidates(hit, scene)]
    candidates.sort(key=lambda each: (-each.score, each.one.first, each.other.first, each.hit.phrase.rule.property.iri))
    used: dict[tuple[int, int], Hit] = {}
    said: set[tuple[int, str]] = set()
    accepted: list[Proposal] = []
    for candidate in candidates:
        one, other, hit = candidate.one, candidate.other, candidate.hit
        place = (hit.first, hit.phrase.rule.property.iri)
        if place in said or not _free(_pair(one, other), hit, used, sentence) or not _fits(one, other, hit, evidence):
            continue
        said.add(place)
        ones = [one, *_listed(one, hit, scene)]
        others = [other, *_listed(other, hit, scene)] if hit.phrase.rule.wants == "entity" else [other]
        for each, each_other in product(ones, others):
            if _free(_pair(each, each_other), hit, used, sentence) and _fits(each, each_other, hit, evidence):
                used[_pair(each, each_other)] = hit
                evidence.narrow(each.name, hit.phrase.rule.property.domains, one.name)
                if not hit.phrase.rule.literal:
                    evidence.narrow(each_other.name, hit.phrase.rule.property.ranges, other.name)
                accepted.append(_proposal(each, each_other, candidate, sentence))
    return accepted


def _pair(one: Argument, other: Argument) -> tuple[int, int]:
    return min(one.first, other.first), max(one.first, other.first)


def _free(pair: tuple[int, int], hit: Hit, used: Mapping[tuple[int, int], Hit], sentence: Sentence) -> bool:
    """Return whether a pair has no relation yet, or only one from the same phrase: ``written and illustrated by``."""
    before = used.get(pair)
    if before is None:
        return True
    low, high = sorted((before, hit), key=lambda each: each.first)
    return high.first - low.last == 2 and sentence.tokens[low.last + 1].lower in _AND


def _candidates(hit: Hit, scene: Scene) -> Iterator[_Candidate]:
    """Yield the pairs that a phrase may relate, scored by how clear it is, how well the types fit, and how near they are."""
    tokens = scene.sentence.tokens
    rule = hit.phrase.rule
    left, right = scene.before(hit.first), scene.after(hit.last)
    if rule.wants in ("date", "number"):
        # A year may be the cue itself: "a 1962 song".
        itself = scene.at(hit.first)
        ones, others = [*left, *right], [itself] if itself else [*left, *right]
    else:
        ones, others = _sides(hit, tokens, left, right)
        if hit.converse:
            ones, others = others, ones
    for one in ones:
        fit = 0.0 if one.value is not None else scene.evidence.fit(one.name, rule.property.domains)
        if not fit or not scene.is_whole(one, hit):
            continue
        near_one = _nearness(hit, one, tokens, one is scene.about)
        if ones is right and one.first and tokens[one.first - 1].lower in PREPOSITIONS:
            near_one *= 0.75  # "built three of the lights of Marrow Sound" doesn't say who built the sound
        for other in others:
            if (
                other.name == one.name
                or other.possessive
                or scene.describes(other)
                or not scene.is_whole(other, hit)
                or not _wanted(other, hit)
                or not _joins(one, hit, other, scene)
            ):
                continue
            other_fit = 1.0 if rule.literal or other.value is not None else scene.evidence.fit(other.name, rule.property.ranges)
            score = hit.strength * (0.5 + 0.25 * fit + 0.25 * other_fit) * near_one * _nearness(hit, other, tokens)
            if other_fit and score >= MIN_CONFIDENCE and is_sure(one, fit, hit, other, other_fit, scene):
                yield _Candidate(min(score, 1.0), one, other, hit)


def _sides(
    hit: Hit, tokens: Sequence[Token], left: list[Argument], right: list[Argument]
) -> tuple[list[Argument], list[Argument]]:
    """Return where the subject and the object of a phrase may be, by its form."""
    word = tokens[hit.last].lower
    after = [token.lower for token in tokens[hit.last + 1 : hit.last + 4]]
    before = [token.lower for token in tokens[max(0, hit.first - 3) : hit.first]]
    passive = "by" in after
    of_follows = after[:1] == ["of"]
    verb = word.endswith("ed") or word in IRREGULAR_VERBS
    voice = hit.phrase.voice
    owner = [argument for argument in left if argument.possessive and hit.first - argument.last <= 4][-1:]
    if voice == "forward":
        return (right, left) if passive else (left, right)
    if owner and not verb:
        # "its keeper, Tomas Vey" and "Tomas Vey was its keeper".
        if right and _follows(hit, right[0], tokens):
            return owner, right
        return owner, [each for each in left if _is_said_to_be(tokens[each.last + 1 : owner[0].first])]
    if of_follows and not verb:
        # "Tomas Vey, keeper of the Skerry Light" and "The keeper of the Skerry Light is Tomas Vey".
        return right[:2], [*left, *right[1:]] if left else right[1:]
    if voice == "agent" and verb:
        if passive:
            return left, right
        return ([], []) if any(word in COPULAS for word in before) else (right, left)
    return (right, left) if passive and verb else (left, right)


def _joins(one: Argument, hit: Hit, other: Argument, scene: Scene) -> bool:
    """Return whether the word is more than a lone comma or preposition, or one that joins the two.

    ``Sudbury, Ontario``; ``Kelder Boatyard in Port Aldery``; ``Gannet Light is a lighthouse on Torsay``.
    """
    tokens = scene.sentence.tokens
    word = tokens[hit.last].lower
    if hit.first != hit.last or (word != "," and word not in PREPOSITIONS):
        return True
    between = tokens[one.last + 1 : hit.first]
    if one.first > hit.first or other.first - hit.last > (1 if word == "," else 2):
        return False
    if word == ",":
        after = tokens[other.last + 1].lower if other.last + 1 < len(tokens) else "."
        return not between and after in (",", ".", ")") and scene.evidence.kind(one.name) == "place"
    is_noun = len(between) > 2 and (between[0].text == "," or between[0].lower in COPULAS) and between[1].lower in DETERMINERS
    return not between or (is_noun and not any(token.lower in PREPOSITIONS or not token.is_word for token in between[1:]))


def _is_said_to_be(between: Sequence[Token]) -> bool:
    """Return whether a copula, with an adverb perhaps, is all that stands between: ``has been``, ``was once``."""
    return 0 < len(between) < 4 and any(token.lower in COPULAS for token in between)


def _follows(hit: Hit, argument: Argument, tokens: Sequence[Token]) -> bool:
    between = tokens[hit.last + 1 : argument.first]
    joining = COPULAS | {"today", "now", "currently"}
    return all(token.text in ',:“"' or token.lower in joining or token.is_capital for token in between)


def _nearness(hit: Hit, argument: Argument, tokens: Sequence[Token], is_subject: bool = False) -> float:
    """1 beside the phrase, less with every word between; a clause that ends between counts as several."""
    low, high = (argument.last + 1, hit.first) if argument.last < hit.first else (hit.last + 1, argument.first)
    gap = max(0, high - low)
    gap += 4 * sum(token.text in ";:" or token.lower in ("while", "but", "whose", "who") for token in tokens[low:high])
    if is_subject:
        gap = min(gap, 1)
    return 1 - 0.03 * min(gap, 16)


def _wanted(argument: Argument, hit: Hit) -> bool:
    wants = hit.phrase.rule.wants
    if wants in ("date", "number"):
        value = argument.value
        return value is not None and value.kind == wants and literal_as(value, hit.phrase.rule.datatype) is not None
    return argument.value is None and (argument.spoken or not hit.phrase.rule.literal)


def _fits(one: Argument, other: Argument, hit: Hit, evidence: Evidence) -> bool:
    """Return whether a pair still fits after what was accepted before it."""
    rule = hit.phrase.rule
    if one.value is not None or one.name == other.name or not _wanted(other, hit):
        return False
    return evidence.fit(one.name, rule.property.domains) > 0 and (
        other.value is not None or rule.literal or evidence.fit(other.name, rule.property.ranges) > 0
    )


def _listed(argument: Argument, hit: Hit, scene: Scene) -> list[Argument]:
    """Return the other arguments on the same list, on the same side of the phrase: ``Ada Lind, Per Holm and Ines Aldana``."""
    tokens = scene.sentence.tokens
    at = bisect_left(scene.firsts, argument.first)
    ahead = argument.first > hit.last
    found = [argument]
    words: set[str] = set()
    for following in scene.arguments[at + 1 : at + _LIST]:
        between = _list_words(tokens[found[-1].last + 1 : following.first])
        if not between or (following.first > hit.last) != ahead:
            break
        words |= between
        found.append(following)
    for leading in reversed(scene.arguments[max(0, at - _LIST) : at]):
        between = _list_words(tokens[leading.last + 1 : found[0].first])
        if not between or (leading.first > hit.last) != ahead:
            break
        words |= between
        found.insert(0, leading)
    # A comma alone may also precede a place's place ("Sudbury, Ontario"); a list has "and". A verb begins a new clause.
    last = found[-1].last
    after = tokens[last + 1 : last + 2] if ahead else tokens[last + 1 : hit.first]
    if not words & {*_AND} or any(token.lower in ("is", "was") for token in after):
        return []
    return [each for each in found if each is not argument and scene.is_whole(each, hit)]


def _list_words(between: Sequence[Token]) -> set[str]:
    """Return the words that join two members of a list, or nothing if they aren't on one."""
    # "the schooner Harrier and the schooner Petrel": a noun may precede each.
    words = [token for token in between if token.lower not in DETERMINERS]
    if not words or len(words) > 3 or words[0].lower not in (",", *_AND):
        return set()
    rest = [token for token in words[1:] if token.lower not in _AND]
    if any(
        not token.is_word or token.lower in PREPOSITIONS or token.lower in COPULAS or token.lower.endswith(("ed", "ing", "s"))
        for token in rest
    ):
        return set()
    return {token.lower for token in words}


def _proposal(one: Argument, other: Argument, candidate: _Candidate, sentence: Sentence) -> Proposal:
    rule, hit = candidate.hit.phrase.rule, candidate.hit
    text, literal_type = other.name, None
    if rule.literal:
        text, literal_type = (other.value and literal_as(other.value, rule.datatype)) or (other.name, str(XSD.string))
    start = min(one.start, other.start, sentence.tokens[hit.first].start)
    end = max(one.end, other.end, sentence.tokens[hit.last].end)
    return Proposal(one.name, rule.property.iri, text, literal_type, round(candidate.score, 4), (start, end))
