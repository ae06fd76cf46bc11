"""The arguments of a sentence: its names and values, and what pronouns and descriptions such as ``the ship`` refer to."""

from collections.abc import Iterator, Mapping, Sequence

from tasks.extraction.graph import Name
from tasks.extraction.rules.cues import Argument
from tasks.extraction.rules.entities import Evidence
from tasks.extraction.rules.words import (
    DETERMINERS,
    FUNCTION_WORDS,
    LEADING,
    POSSESSIVES,
    PREPOSITIONS,
    PRONOUNS,
    SUBJECT_PRONOUNS,
)
from tasks.extraction.sentences import Sentence, Token
from tasks.extraction.values import find_values

# A description may refer back over this many names, so that a sentence costs no more in a long document.
_REMEMBERED = 8


class Reader:
    """Reads a document's sentences in order and remembers who they are about.

    ``names`` are keyed by the start of their mention.
    """

    def __init__(self, names: Mapping[int, Name], evidence: Evidence) -> None:
        self._names = names
        self._evidence = evidence
        self._topics: dict[str, str] = {}
        self._recent: list[str] = []

    def read(self, sentence: Sentence) -> tuple[tuple[Argument, ...], str | None]:
        """Return the arguments of the next sentence, in order and without overlap, and the name that it is about."""
        arguments: list[Argument] = []
        for argument in sorted(self._arguments(sentence), key=lambda each: (each.first, -each.last)):
            if not arguments or argument.first > arguments[-1].last:
                arguments.append(argument)
        tokens = sentence.tokens
        subject = next(
            (
                each.name
                for each in arguments
                if each.value is None and not each.possessive and not _is_governed(tokens[: each.first])
            ),
            None,
        )
        if arguments and (_begins_with_noun(tokens[: arguments[0].first]) or _is_cut(tokens)):
            subject = None  # "The journal was": what is meant isn't known
        return tuple(arguments), subject

    def remember(self, arguments: tuple[Argument, ...], subject: str | None) -> None:
        """Note what a sentence was about, once its relations have shown what its names are."""
        for argument in arguments:
            if argument.value is None:
                if argument.name in self._recent:
                    self._recent.remove(argument.name)
                self._recent.append(argument.name)
        del self._recent[:-_REMEMBERED]
        if subject is not None:
            kind = self._evidence.kind(subject)
            if kind in (None, "person"):
                self._topics["person"] = subject
            if kind != "person":
                self._topics["thing"] = subject

    def _arguments(self, sentence: Sentence) -> Iterator[Argument]:
        tokens = sentence.tokens
        starts = {token.start: index for index, token in enumerate(tokens)}
        ends = {token.end: index for index, token in enumerate(tokens)}
        for index, token in enumerate(tokens):
            name = self._names.get(token.start)
            if name is not None:
                end = name.mention.end_char
                last = ends.get(end, index)
                owner = last + 1 < len(tokens) and tokens[last + 1].lower in ("'s", "’s")
                yield Argument(name.canonical, index, last, token.start, end, possessive=owner)
            elif (role := PRONOUNS.get(token.lower)) and (topic := self._topics.get(role) or self._she_who_sails(token.lower)):
                owner = token.lower in POSSESSIVES
                topic = self._owner(topic, tokens[index + 1 : index + 2]) if owner else topic
                yield Argument(topic, index, index, token.start, token.end, possessive=owner, spoken=False)
            elif token.lower == "the" and (described := self._described(sentence, index)):
                topic, last = described
                yield Argument(topic, index, last, token.start, tokens[last].end, spoken=False)
        for value in find_values(sentence):
            if value.start in starts and value.end in ends:
                yield Argument(value.text, starts[value.start], ends[value.end], value.start, value.end, value=value)

    def _she_who_sails(self, pronoun: str) -> str | None:
        """Return whether "she" may be a ship: if no person was mentioned."""
        return self._topics.get("thing") if pronoun in ("she", "her") else None

    def _owner(self, topic: str, noun: Sequence[Token]) -> str:
        """Return who has what the noun says: the topic, or else the latest name that the noun's property is for."""
        lexicon = self._evidence.lexicon
        cues = lexicon.cues.get(noun[0].stem, ()) if noun else ()
        rules = [
            lexicon.phrases[cue.phrase].rule for cue in cues if cue.strength == 1 and len(lexicon.phrases[cue.phrase].stems) == 1
        ]
        domains = tuple(dict.fromkeys(iri for rule in rules for iri in rule.property.domains))
        if not domains or self._evidence.fit(topic, domains) > 0:
            return topic
        return next((name for name in reversed(self._recent) if self._evidence.fit(name, domains) == 1), topic)

    def _described(self, sentence: Sentence, index: int) -> tuple[str, int] | None:
        """Return the latest name that ``the ship`` or ``the society`` may refer to, and the last token of the description."""
        tokens = sentence.tokens
        lexicon = self._evidence.lexicon
        if index + 1 >= len(tokens) or tokens[index + 1].is_capital or not self._recent:
            return None
        stems = tuple(token.stem for token in tokens[index + 1 : index + 5])
        label = next(((words, iri) for words, iri in lexicon.classes.get(stems[0], ()) if stems[: len(words)] == words), None)
        last = index + (len(label[0]) if label else 1)
        follower = tokens[last + 1] if last + 1 < len(tokens) else None
        if follower is not None and (follower.start in self._names or follower.lower == "of"):
            return None
        for name in reversed(self._recent):
            if label and lexicon.ontology.is_any(self._evidence.classes.get(name, ()), (label[1],)):
                return name, last
            if " " in name and name.rpartition(" ")[2].lower() == tokens[index + 1].lower:
                return name, index + 1
        return None


def _is_governed(before: Sequence[Token]) -> bool:
    """Return whether the words before a name take it as their object: ``in``, ``Under the``, ``starring``."""
    words = [token.lower for token in before[-2:]]
    return bool(words) and (
        words[-1] in PREPOSITIONS or words[-1].endswith("ing") or (words[-1] in DETERMINERS and words[0] in PREPOSITIONS)
    )


def _is_cut(tokens: Sequence[Token]) -> bool:
    """Return whether a sentence lacks its beginning: ``"Old Light") is a film``, ``and Old Light 2, is a film``."""
    marks = [token.text for token in tokens if token.text in "()"]
    return marks[:1] == [")"] or tokens[0].text in ("is", "was", "and", "or")


def _begins_with_noun(before: Sequence[Token]) -> bool:
    """Return whether the words before a sentence's first name are its subject, and not only the kind of what is named."""
    if not before:
        return False
    if before[0].lower in SUBJECT_PRONOUNS:
        return True
    kind = all(token.is_word and token.lower not in FUNCTION_WORDS | PREPOSITIONS for token in before[1:])
    return before[0].lower in LEADING and len(before) > 1 and not kind
