"""Names across a document, what the text says they are, and the entities they become (CONTRACT 9.4)."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from compat.contracts import Mention
from tasks.extraction.graph import Name
from tasks.extraction.rules.lexicon import Lexicon
from tasks.extraction.rules.words import (
    CONNECTORS,
    COPULAS,
    DETERMINERS,
    FUNCTION_WORDS,
    IRREGULAR_VERBS,
    KIND_OF_WORD,
    NAME_WORDS,
    PLACE_PREPOSITIONS,
    PREPOSITIONS,
    TITLES,
    Kind,
)
from tasks.extraction.sentences import Sentence, Token, stem

_PERSON_ENDINGS = ("ist", "ian", "man", "woman", "ess", "eer")
# A kind that the text states outweighs any number of guesses from the shape of a name.
_SAID, _PLACED, _SHAPE = 1.0, 0.3, 0.2


@dataclass(eq=False)
class Evidence:
    """What a document says about the types of its names, by canonical name."""

    lexicon: Lexicon
    classes: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    kinds: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))

    def add_class(self, name: str, class_iri: str, weight: float) -> None:
        """Note that the name is of a class."""
        known = self.classes[name]
        known[class_iri] = max(known.get(class_iri, 0.0), weight)

    def add_kind(self, name: str, kind: str, weight: float) -> None:
        """Note that the name is of a kind."""
        known = self.kinds[name]
        known[kind] = known.get(kind, 0.0) + weight

    def kind(self, name: str) -> str | None:
        """Return the likeliest kind of a name; ``thing`` for a class of no known kind."""
        known = self.classes.get(name)
        if known:
            return self.lexicon.kinds.get(max(sorted(known), key=lambda iri: known[iri]), "thing")
        found = self.kinds.get(name)
        return max(sorted(found), key=lambda kind: found[kind]) if found else None

    def fit(self, name: str, wanted: tuple[str, ...]) -> float:
        """Return how well a name fits one of the wanted classes: 0 not at all, 0.5 nothing is known, 1 the text says so."""
        if not wanted:
            return 0.6
        ontology = self.lexicon.ontology
        known = self.classes.get(name)
        if known:
            if ontology.is_any(known, wanted):
                return 1.0
            # The text may be less exact than the ontology: a vessel instead of a ship.
            if any(ontology.is_a(one, given) for one in wanted for given in known):
                return 0.7
            return 0.5 if any(self._may_be_both(one, given) for one in wanted for given in known) else 0.0
        kinds = self.kinds.get(name)
        wanted_kinds = {kind for iri in wanted for kind in self.lexicon.kinds_below[iri]}
        if not kinds or not wanted_kinds:
            return 0.5
        if self.kind(name) in wanted_kinds:
            return 0.9 if kinds[str(self.kind(name))] >= _SAID else 0.7
        return 0.0 if max(kinds.values()) >= _SAID else 0.3

    def _may_be_both(self, one: str, other: str) -> bool:
        """Return whether one thing may be of both classes, as a book is a literary work though the ontology doesn't say so."""
        lexicon = self.lexicon
        ancestors = lexicon.ontology.class_ancestors
        return (
            one in lexicon.kinds
            and lexicon.kinds[one] == lexicon.kinds.get(other)
            and not (ancestors.get(one) or ancestors.get(other))
        )

    def narrow(self, name: str, wanted: tuple[str, ...], beside: str | None = None) -> None:
        """Record the class that an accepted relation implies for a name; of several, what it looks like or its neighbour is.

        Where nothing chooses among several, it is the most exact class above all of them, or none.
        """
        ontology = self.lexicon.ontology
        if not wanted or ontology.is_any(self.classes.get(name, ()), wanted):
            return
        if beside is not None:
            wanted = tuple(iri for iri in wanted if ontology.is_any(self.classes.get(beside, ()), (iri,))) or wanted
        kind = self.kind(name)
        # An agent that looks like a person is one, if the ontology has a class for it.
        of_kind = [iri for iri in self.lexicon.roots.get(kind or "", ()) if ontology.is_any([iri], wanted)]
        implied = of_kind[:1] or (list(wanted) if len(wanted) == 1 else self._above(wanted))
        if implied:
            self.add_class(name, implied[0], 0.6)

    def _above(self, classes: Sequence[str]) -> list[str]:
        """Return the classes above all of the given ones, the most exact first."""
        ancestors = self.lexicon.ontology.class_ancestors
        shared = frozenset.intersection(*(ancestors.get(iri, frozenset()) | {iri} for iri in classes))
        known = {each.iri for each in self.lexicon.ontology.classes}
        return sorted(shared & known, key=lambda iri: (-len(ancestors.get(iri, ())), iri))

    def types(self, name: str) -> tuple[tuple[str, ...], float]:
        """Return the classes of a name, the surest and most exact first, and the confidence of the first."""
        known = self.classes.get(name, {})
        if not known:
            kind = self.kind(name)
            said = kind is not None and self.kinds[name].get(kind, 0.0) >= _SAID
            general = self.lexicon.class_of_kind(kind) if kind and said else None
            return ((general,), 0.6) if general else ((), 0.0)
        ontology = self.lexicon.ontology
        exact = [iri for iri in known if not any(other != iri and ontology.is_a(other, iri) for other in known)]
        exact.sort(key=lambda iri: (-known[iri], iri))
        return tuple(exact), known[exact[0]]


def link_names(mentions: Sequence[Mention], words_before: dict[int, str]) -> list[Name]:
    """Return the mentions with the names they go by: ``Vey`` goes by ``Tomas Vey`` if that stood before it.

    ``words_before`` maps a mention's start to the lower-case word before it, which distinguishes people from places.
    """
    full: dict[str, str] = {}
    names = []
    for mention in mentions:
        words = mention.text.split()
        canonical = " ".join(words)
        if len(words) == 1 and words_before.get(mention.start_char) not in PLACE_PREPOSITIONS:
            canonical = full.get(canonical, canonical)
        elif 2 <= len(words) <= 4 and _person_like(words):
            full.setdefault(words[-1], canonical)
        names.append(Name(canonical, mention))
    return names


def _person_like(words: Sequence[str]) -> bool:
    return all(
        word[0].isupper() and word.replace("-", "").replace("'", "").replace(".", "").isalpha() for word in words
    ) and not any(word.lower() in NAME_WORDS or word.lower() in CONNECTORS for word in words)


def gather_evidence(sentences: Iterable[Sentence], names: dict[int, Name], lexicon: Lexicon) -> Evidence:
    """Return what the sentences say about the types of the names, which are keyed by the start of their mention."""
    evidence = Evidence(lexicon)
    for sentence in sentences:
        tokens = sentence.tokens
        for index, token in enumerate(tokens):
            name = names.get(token.start)
            if name is None:
                continue
            end = index
            while end + 1 < len(tokens) and tokens[end + 1].start < name.mention.end_char:
                end += 1
            if name.mention.suggested_type:
                evidence.add_class(name.canonical, name.mention.suggested_type, name.mention.confidence)
            if index and tokens[index - 1].text in '"“«„':
                evidence.add_kind(name.canonical, "work", _PLACED)
            _from_shape(name.canonical, evidence)
            _from_before(name.canonical, tokens, index, evidence)
            _from_after(name.canonical, tokens, end, evidence)
    return evidence


def _from_shape(name: str, evidence: Evidence) -> None:
    if name in evidence.kinds:
        return
    words = name.split()
    end = next((place for place, word in enumerate(words) if place and word in ("of", "for")), len(words))
    words = words[:end]  # what follows says whose it is, not what it is
    for length in range(min(len(words), len(name.split()) - 1), 0, -1):
        # The end of "Gullstone Observatory" says what it is, if the ontology has observatories; "Observatory" names none.
        if _note_class(name, words[-length:], evidence, 0.9):
            return
    # The beginning of "Comet Ilse" does.
    if len(words) > 1 and _note_class(name, words[:1], evidence, 0.8):
        return
    kinds = [NAME_WORDS[word.lower()] for word in words if word.lower() in NAME_WORDS]
    if kinds and " " in name:
        evidence.add_kind(name, kinds[-1], _SAID)
    elif 2 <= len(name.split()) <= 3 and _person_like(name.split()):
        evidence.add_kind(name, "person", _SHAPE)


def _from_before(name: str, tokens: Sequence[Token], index: int, evidence: Evidence) -> None:
    before = index - 1
    if before >= 1 and tokens[before].text == "." and tokens[before - 1].lower in TITLES:
        before -= 1
    if before < 0:
        return
    word = tokens[before].lower
    if word in TITLES and tokens[before].is_capital:
        evidence.add_kind(name, "person", _SAID)
    elif word in PLACE_PREPOSITIONS:
        evidence.add_kind(name, "place", _PLACED)
    elif word not in PREPOSITIONS and word not in FUNCTION_WORDS and tokens[before].is_word:
        _note_noun(name, tokens[max(0, before - 3) : before + 1], evidence)


def _from_after(name: str, tokens: Sequence[Token], end: int, evidence: Evidence) -> None:
    begin = end + 1
    if begin < len(tokens) and tokens[begin].text == "(":
        while begin < len(tokens) and tokens[begin].text != ")":
            begin += 1
        begin += 1
    if begin + 1 >= len(tokens):
        return
    if "born" in (tokens[begin].lower, tokens[begin + 1].lower) or tokens[begin].lower == "died":
        evidence.add_kind(name, "person", _SAID)
    if tokens[begin].text != "," and tokens[begin].lower not in COPULAS:
        return
    apposed = tokens[begin].text == ","
    begin += 1
    # "..., a lighthouse on", "is the old ship that": up to the word that ends the noun and its adjectives.
    if tokens[begin].lower not in DETERMINERS:
        return
    stop = begin + 1
    while stop < len(tokens) and stop - begin < 9 and not _ends_noun(tokens[stop]):
        stop += 1
    _note_noun(name, _without_participles(tokens[begin + 1 : stop]), evidence)
    close = next((index for index in range(stop, min(stop + 9, len(tokens) - 2)) if tokens[index].text == ","), None)
    if apposed and close and "born" in (tokens[close + 1].lower, tokens[close + 2].lower):
        evidence.add_kind(name, "person", _SAID)  # "Leonie Falk, a maker of instruments, was born in"


def _without_participles(noun: Sequence[Token]) -> Sequence[Token]:
    """Return a noun without what follows its last word: ``graphic novel written`` is a novel."""
    stop = len(noun)
    while stop > 1 and (noun[stop - 1].lower.endswith(("ed", "ly")) or noun[stop - 1].lower in IRREGULAR_VERBS):
        stop -= 1
    return noun[:stop]


def _ends_noun(token: Token) -> bool:
    joins = token.text == "-" or token.lower in ("'s", "’s")
    return not (token.is_word or joins) or token.lower in PREPOSITIONS or token.lower in FUNCTION_WORDS


def _note_noun(name: str, noun: Sequence[Token], evidence: Evidence) -> None:
    """Note what a noun with its adjectives says about a name: its last word does, with those before it."""
    stems = [token.stem for token in noun]
    for start in range(max(0, len(stems) - 4), len(stems)):
        if _note_class(name, stems[start:], evidence, 1.0, stemmed=True):
            return
    if noun:
        word = noun[-1].lower
        kind: Kind | None = KIND_OF_WORD.get(word) or ("person" if word.endswith(_PERSON_ENDINGS) else None)
        if kind:
            evidence.add_kind(name, kind, _SAID)


def _note_class(name: str, words: Sequence[str], evidence: Evidence, weight: float, stemmed: bool = False) -> bool:
    stems = tuple(words) if stemmed else tuple(stem(word.lower()) for word in words)
    several = not stemmed and bool(words) and words[-1].endswith("s") and not stems[-1].endswith("s")
    for label, class_iri in evidence.lexicon.classes.get(stems[0], ()) if stems and not several else ():
        if label == stems:
            evidence.add_class(name, class_iri, weight)
            kind = evidence.lexicon.kinds.get(class_iri)
            if kind:
                evidence.add_kind(name, kind, _SAID)
                # A singer is a human, whether the ontology says so or not.
                general = evidence.lexicon.class_of_kind(kind) if kind == "person" else None
                if general:
                    evidence.add_class(name, general, 0.6)
            return True
    return False
