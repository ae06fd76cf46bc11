"""Relations that a sentence says between its names and values (CONTRACT 9.5)."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from rdflib import XSD

from tasks.extraction.entities import Evidence
from tasks.extraction.lexicon import Cue, Lexicon, Phrase
from tasks.extraction.mentions import Value
from tasks.extraction.sentences import Sentence, Token
from tasks.extraction.words import COPULAS, DETERMINERS, IRREGULAR_VERBS, PREPOSITIONS

MIN_CONFIDENCE = 0.5
# Words of one phrase may stand this far apart in a sentence.
_REACH = 4
# Arguments tried on each side of a cue: the nearest ones, so that the work grows with the text and no faster.
_NEAREST = 4


@dataclass(frozen=True, slots=True)
class Argument:
    """What may be a subject or an object: a name, or a value. Tokens ``first`` to ``last`` of its sentence.

    ``possessive``: stands for an owner (``its``, ``Vey's``). ``spoken`` is false for a pronoun, which no document
    gives as a name.
    """

    name: str
    first: int
    last: int
    start: int
    end: int
    value: Value | None = None
    possessive: bool = False
    spoken: bool = True


@dataclass(frozen=True, slots=True)
class Proposal:
    """A relation as a sentence says it. ``object`` is a name, or the literal's text if ``literal_type`` is set."""

    subject: str
    predicate_iri: str
    object: str
    literal_type: str | None
    confidence: float
    evidence: tuple[int, int]

    @property
    def key(self) -> str:
        """What makes two relations of a document the same."""
        return f"{self.subject}|{self.predicate_iri}|{self.object}".lower()


@dataclass(frozen=True, slots=True)
class _Hit:
    """A phrase found at the tokens ``first`` to ``last``."""

    phrase: Phrase
    strength: float
    first: int
    last: int


def propose_relations(
    sentence: Sentence, arguments: Sequence[Argument], subject: str | None, evidence: Evidence
) -> list[Proposal]:
    """The relations of one sentence, the surest first; at most one between two places.

    ``arguments`` in order, none overlapping; ``subject`` is the name the sentence is about, which is preferred.
    What is accepted narrows the types in ``evidence`` for the sentences that follow.
    """
    if len(arguments) < 2:
        return []
    candidates = sorted(
        (
            candidate
            for hit in _hits(sentence, arguments, evidence.lexicon)
            for candidate in _pairs(hit, sentence, arguments, subject, evidence)
        ),
        key=lambda each: (-each[0], each[1].first, each[2].first, each[3].phrase.rule.property.iri),
    )
    used: set[tuple[int, int]] = set()
    said: set[tuple[int, str]] = set()
    accepted: list[Proposal] = []
    for score, one, other, hit in candidates:
        pair = (min(one.first, other.first), max(one.first, other.first))
        place = (hit.first, hit.phrase.rule.property.iri)
        if pair in used or place in said or not _fits(one, other, hit, evidence):
            continue
        said.add(place)
        ones = (one, *_listed(one, arguments, sentence.tokens, hit))
        others = (other, *_listed(other, arguments, sentence.tokens, hit)) if hit.phrase.rule.wants == "entity" else (other,)
        for each, each_other in product(ones, others):
            pair = (min(each.first, each_other.first), max(each.first, each_other.first))
            if pair not in used and _fits(each, each_other, hit, evidence):
                used.add(pair)
                accepted.append(_proposal(sentence, (each, one), (each_other, other), hit, score, evidence))
    return accepted


def deduplicate(proposals: Iterable[Proposal]) -> list[Proposal]:
    """One relation a key (lower-case subject, predicate, object), in order of its first place; the surest wins."""
    best: dict[str, Proposal] = {}
    for proposal in proposals:
        if proposal.key not in best or proposal.confidence > best[proposal.key].confidence:
            best[proposal.key] = proposal
    return list(best.values())


def _hits(sentence: Sentence, arguments: Sequence[Argument], lexicon: Lexicon) -> list[_Hit]:
    """Where the words of the properties' labels stand, outside the arguments."""
    inside = {index for argument in arguments if argument.spoken for index in range(argument.first, argument.last + 1)}
    places: dict[int, list[tuple[int, Cue]]] = defaultdict(list)
    for index, token in enumerate(sentence.tokens):
        if index not in inside:
            for cue in lexicon.cues.get(token.stem, ()):
                places[cue.phrase].append((index, cue))
    hits = []
    for number, found in places.items():
        phrase = lexicon.phrases[number]
        for group in _clusters(found):
            best: dict[int, float] = {}
            for _, cue in group:
                best[cue.slot] = max(best.get(cue.slot, 0.0), cue.strength)
            strength = sum(phrase.weights[slot] * weight for slot, weight in best.items())
            if strength >= 0.6:
                hits.append(_Hit(phrase, strength, group[0][0], group[-1][0]))
    return hits


def _clusters(found: Sequence[tuple[int, Cue]]) -> Iterator[list[tuple[int, Cue]]]:
    """Cues that stand near each other; a word that is said again begins a new group."""
    group: list[tuple[int, Cue]] = []
    for index, cue in found:
        if group and (index - group[-1][0] > _REACH or any(cue.slot == other.slot and index != at for at, other in group)):
            yield group
            group = []
        group.append((index, cue))
    yield group


def _pairs(
    hit: _Hit, sentence: Sentence, arguments: Sequence[Argument], subject: str | None, evidence: Evidence
) -> Iterator[tuple[float, Argument, Argument, _Hit]]:
    """Scored (subject, object) for a phrase that was found."""
    tokens = sentence.tokens
    left = [argument for argument in arguments if argument.last < hit.first]
    right = [argument for argument in arguments if argument.first > hit.last]
    near_left, near_right = left[-_NEAREST:], right[:_NEAREST]
    about = [argument for argument in left if argument.name == subject and argument not in near_left][:1]
    if hit.phrase.rule.wants in ("date", "number"):
        ones, others = [*about, *near_left, *near_right], [*near_left, *near_right]
    else:
        ones, others = _sides(hit, tokens, [*about, *near_left], near_right)
    rule = hit.phrase.rule
    active = ones is near_right and rule.wants == "entity"
    for one in ones:
        if one.value is not None:
            continue
        fit = evidence.fit(one.name, rule.property.domains)
        if not fit:
            continue
        for other in others:
            if other is one or other.name == one.name or not _wanted(other, hit):
                continue
            other_fit = 1.0 if other.value is not None or rule.literal else evidence.fit(other.name, rule.property.ranges)
            near = _nearness(hit, one, tokens, one.name == subject) * _nearness(hit, other, tokens, False)
            if active and one.first and tokens[one.first - 1].lower in PREPOSITIONS:
                near *= 0.75  # "built three of the lights of Marrow Sound" doesn't say who built the sound
            score = hit.strength * (0.5 + 0.25 * fit + 0.25 * other_fit) * near
            if tokens[hit.last].lower in PREPOSITIONS and hit.first == hit.last and not _beside(one, hit, other, tokens):
                continue
            if other_fit and score >= MIN_CONFIDENCE:
                yield min(score, 1.0), one, other, hit


def _sides(
    hit: _Hit, tokens: Sequence[Token], left: list[Argument], right: list[Argument]
) -> tuple[list[Argument], list[Argument]]:
    """Where the subject and where the object of a phrase may stand, by how it is said."""
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
        others = [argument for argument in left if argument is not owner[0]]
        return owner, right if right and _follows(hit, right[0], tokens) else [*others, *right]
    if of_follows and not verb:
        # "Tomas Vey, keeper of the Skerry Light" and "The keeper of the Skerry Light is Tomas Vey".
        return right[:2], [*left, *right[1:]] if left else right[1:]
    if voice == "agent" and verb:
        if passive:
            return left, right
        return ([], []) if any(word in COPULAS for word in before) else (right, left)
    return (right, left) if passive and verb else (left, right)


def _beside(one: Argument, hit: _Hit, other: Argument, tokens: Sequence[Token]) -> bool:
    """Whether a lone preposition joins the two: ``Kelder Boatyard in Port Aldery``, ``Gannet Light is a lighthouse on Torsay``."""
    between = tokens[one.last + 1 : hit.first]
    if other.first - hit.last > 2 or other.first < hit.first or one.first > hit.first:
        return False
    is_noun = len(between) > 2 and (between[0].text == "," or between[0].lower in COPULAS) and between[1].lower in DETERMINERS
    return not between or (is_noun and not any(token.lower in PREPOSITIONS or not token.is_word for token in between[1:]))


def _follows(hit: _Hit, argument: Argument, tokens: Sequence[Token]) -> bool:
    between = tokens[hit.last + 1 : argument.first]
    return all(token.text in ',:“"' or token.lower in COPULAS or token.is_capital for token in between)


def _nearness(hit: _Hit, argument: Argument, tokens: Sequence[Token], is_subject: bool) -> float:
    """1 beside the phrase, less with every word between; a clause that ends between counts as several."""
    low, high = (argument.last + 1, hit.first) if argument.last < hit.first else (hit.last + 1, argument.first)
    gap = max(0, high - low)
    gap += 4 * sum(token.text in ";:" or token.lower in ("while", "but", "whose", "who") for token in tokens[low:high])
    if is_subject:
        gap = min(gap, 4)
    return 1 - 0.03 * min(gap, 16)


def _wanted(argument: Argument, hit: _Hit) -> bool:
    wants = hit.phrase.rule.wants
    if wants in ("date", "number"):
        return argument.value is not None and argument.value.kind == wants
    return argument.value is None and (argument.spoken or not hit.phrase.rule.literal)


def _fits(one: Argument, other: Argument, hit: _Hit, evidence: Evidence) -> bool:
    """Whether a pair still fits after what was accepted before it."""
    rule = hit.phrase.rule
    if one.value is not None or one.name == other.name or not _wanted(other, hit):
        return False
    return evidence.fit(one.name, rule.property.domains) > 0 and (
        other.value is not None or rule.literal or evidence.fit(other.name, rule.property.ranges) > 0
    )


def _listed(argument: Argument, arguments: Sequence[Argument], tokens: Sequence[Token], hit: _Hit) -> list[Argument]:
    """The arguments on one list with this one, away from the phrase: ``Ada Lind, Per Holm and Ines Aldana``."""
    position = next(index for index, each in enumerate(arguments) if each is argument)
    ahead = argument.first > hit.last
    found: list[Argument] = []
    joined = False
    last = argument
    for following in arguments[position + 1 :] if ahead else reversed(arguments[:position]):
        low, high = (last, following) if ahead else (following, last)
        between = [token for token in tokens[low.last + 1 : high.first] if token.lower not in DETERMINERS]
        # "the schooner Harrier and the schooner Petrel": a noun may stand before each.
        if not between or between[0].lower not in (",", "and", "&", "or") or len(between) > 3:
            break
        rest = [token for token in between[1:] if token.lower not in ("and", "&", "or")]
        if any(not token.is_word or token.lower in PREPOSITIONS or token.lower in COPULAS for token in rest):
            break
        joined = joined or any(token.lower in ("and", "&", "or") for token in between)
        found.append(following)
        last = following
    # A comma alone also stands before a place's place; a list says "and". What is followed by a verb begins a new clause.
    after = tokens[last.last + 1 : last.last + 2] if ahead else tokens[argument.last + 1 : hit.first]
    return found if joined and not any(token.lower in ("is", "was") for token in after) else []


def _proposal(
    sentence: Sentence,
    subjects: tuple[Argument, Argument],
    objects: tuple[Argument, Argument],
    hit: _Hit,
    score: float,
    evidence: Evidence,
) -> Proposal:
    """Each end is given with the argument that leads its list."""
    (one, first_one), (other, first_other) = subjects, objects
    rule = hit.phrase.rule
    literal_type = None
    text = other.name
    evidence.narrow(one.name, rule.property.domains, first_one.name)
    if rule.literal:
        literal_type = str(XSD.string)
        if other.value is not None:
            text, literal_type = other.value.literal, other.value.datatype
    else:
        evidence.narrow(other.name, rule.property.ranges, first_other.name)
    start = min(one.start, other.start, sentence.tokens[hit.first].start)
    end = max(one.end, other.end, sentence.tokens[hit.last].end)
    return Proposal(one.name, rule.property.iri, text, literal_type, round(score, 4), (start, end))
