"""Places in a text that name something (CONTRACT 9.3)."""

import re
from collections.abc import Iterable, Sequence

from compat.contracts import Mention
from tasks.extraction.rules.lexicon import Lexicon
from tasks.extraction.rules.words import (
    CONNECTORS,
    COPULAS,
    DETERMINERS,
    FUNCTION_WORDS,
    IRREGULAR_VERBS,
    KIND_WORDS,
    MAKING_WORDS,
    NAME_WORDS,
    NATIONALITIES,
    PREPOSITIONS,
    TITLED_WORDS,
    TITLES,
)
from tasks.extraction.sentences import Sentence, Token
from tasks.extraction.values import MONTHS, Value, find_values

MIN_CONFIDENCE = 0.5
_CONTEXT_CHARS = 40

# Names go on after these with "for": Academy Award for Best Picture.
_HONOURS = frozenset({"award", "awards", "prize", "medal", "trophy", "oscar"})
_QUOTES = re.compile(r"[“\"«„]([^“”\"«»„]{2,80}?)[”\"»“]")


def find_mentions(sentences: Sequence[Sentence], lexicon: Lexicon) -> list[Mention]:
    """Return every mention in the sentences of a document, in order; they may overlap (``merge_mentions`` chooses).

    Runs of capitals with connectors, names that begin with a number, quotations, the capitalised text before the first
    copula, and the labels of the ontology's individuals. Confidence from 0 to 1.
    """
    small = {token.lower for sentence in sentences for token in sentence.tokens if token.text == token.lower}
    found: list[Mention] = []
    for sentence in sentences:
        values = find_values(sentence)
        runs = [run for run in _runs(sentence.tokens, values) if _is_name(sentence.tokens, run, small)]
        spans = [(sentence.tokens[first].start, sentence.tokens[last].end, 0.8 if last > first else 0.7) for first, last in runs]
        spans += _quotations(sentence)
        subject = _before_copula(sentence.tokens)
        if subject:
            spans.append(subject)
        found += [_mention(sentence, start, end, confidence) for start, end, confidence in spans]
        for start, end, types in _individuals(sentence, lexicon):
            found.append(_mention(sentence, start, end, 0.9, types[0]))
    return found


def merge_mentions(mentions: Iterable[Mention]) -> list[Mention]:
    """Return the mentions of a document that are kept: confidence 0.5 or more, and the first of those that overlap.

    In order of start; at the same start the more confident, then the longer one comes first.
    """
    kept: list[Mention] = []
    for mention in sorted(mentions, key=lambda each: (each.start_char, -each.confidence, -each.end_char)):
        if mention.confidence >= MIN_CONFIDENCE and (not kept or mention.start_char >= kept[-1].end_char):
            kept.append(mention)
    return kept


def _mention(sentence: Sentence, start: int, end: int, confidence: float, suggested: str | None = None) -> Mention:
    left, right = start - sentence.start, end - sentence.start
    return Mention(
        text=sentence.text[left:right],
        start_char=start,
        end_char=end,
        confidence=confidence,
        suggested_type=suggested,
        context=sentence.text[max(0, left - _CONTEXT_CHARS) : right + _CONTEXT_CHARS],
        chunk_index=sentence.chunk_index,
    )


def _runs(tokens: Sequence[Token], values: Sequence[Value]) -> list[tuple[int, int]]:
    """Yield runs of capitalised tokens as (first, last) token."""
    dates = {token for value in values if value.kind == "date" for token in range(value.start, value.end)}
    runs = []
    index = 0
    while index < len(tokens):
        if not _begins_name(tokens, index, dates):
            index += 1
            continue
        first = last = index
        index += 1
        while index < len(tokens):
            token = tokens[index]
            if token.start > tokens[last].end + 1 and index == last + 1:
                break  # a line break or a gap ends a name
            if token.is_capital and token.start not in dates and token.is_word:
                last = index
            elif token.text == "." and len(tokens[index - 1].text) <= 2 and index - 1 == last and _capital_at(tokens, index + 1):
                pass  # an initial, or St. and Dr.
            elif token.text.isdigit() and index == last + 1 and (token.start not in dates or _ends_subject(tokens, index)):
                last = index  # a number, or a year that no date can be: "NGC 1892 is"
            elif _continues(tokens, last, index):
                pass  # "DC/OS", "Academy Award for Best Picture"
            elif not (token.lower in CONNECTORS and index - last <= 2 and _capital_at(tokens, index + 1, over=CONNECTORS)):
                break
            index += 1
        index = last + 1
        runs.append((_first_of_name(tokens, first, last), last))
    return runs


def _first_of_name(tokens: Sequence[Token], first: int, last: int) -> int:
    """Return where the name in a run of capitals begins: after a title, and after what is a capital only in its place."""
    opens = not any(token.is_word for token in tokens[:first])
    if opens and tokens[first].lower in ("the", "a", "our") and _is_work(tokens, last + 1):
        return first  # "The Crossroad is a film" names it with its article
    while first < last:
        small = opens and tokens[first].lower in FUNCTION_WORDS
        if small and tokens[first].lower not in DETERMINERS and _is_small_capital(tokens[first + 1]):
            return first  # "This One Summer": two such capitals are a title's
        if not small and (not _is_title(tokens, first, last) or (opens and tokens[first].lower in NATIONALITIES)):
            return first
        determiner = tokens[first].lower in DETERMINERS
        first += 1
        if tokens[first].text == "." and first < last:
            first += 1
        if determiner and _is_small_capital(tokens[first]):
            return first  # "The Three Pigs"
    return first


def _is_small_capital(token: Token) -> bool:
    return token.is_capital and token.lower in FUNCTION_WORDS


def _ends_subject(tokens: Sequence[Token], index: int) -> bool:
    return index + 1 < len(tokens) and tokens[index + 1].lower in COPULAS


def _is_work(tokens: Sequence[Token], begin: int) -> bool:
    """Return whether what follows a name says that it is a work with a title: ``is a film``, ``was illustrated by``."""
    begin = _past_brackets(tokens, begin)
    if begin + 1 >= len(tokens) or (tokens[begin].lower not in COPULAS and tokens[begin].text != ","):
        return False
    if any(token.lower in MAKING_WORDS for token in tokens[begin + 1 : begin + 3]):
        return True
    noun: list[Token] = []
    for token in tokens[begin + 1 : begin + 14]:
        if token.lower in PREPOSITIONS or not (token.is_word or token.text in "-'’" or token.lower in ("'s", "’s")):
            break
        noun.append(token)
    return any(token.lower in TITLED_WORDS for token in noun)


def _past_brackets(tokens: Sequence[Token], begin: int) -> int:
    if begin < len(tokens) and tokens[begin].text == "(":
        while begin < len(tokens) and tokens[begin].text != ")":
            begin += 1
        return begin + 1
    return begin


def _continues(tokens: Sequence[Token], last: int, index: int) -> bool:
    token = tokens[index]
    slash = token.text == "/" and token.start == tokens[last].end
    return (slash or (token.lower == "for" and tokens[last].lower in _HONOURS)) and _capital_at(tokens, index + 1)


def _begins_name(tokens: Sequence[Token], index: int, dates: set[int]) -> bool:
    token = tokens[index]
    if token.is_word and token.text.isdigit():
        # "the 2006 Winter Olympics", "6042 Cheshirecat", but not "in 1984 Charlie" or "a 2010 Japanese film".
        opens = index == 0 or tokens[index - 1].lower == "the"
        return opens and _capital_at(tokens, index + 1)
    return token.is_word and token.is_capital and token.start not in dates


def _capital_at(tokens: Sequence[Token], index: int, over: frozenset[str] = frozenset()) -> bool:
    while index < len(tokens) and tokens[index].lower in over and not tokens[index].is_capital:
        index += 1
    return index < len(tokens) and tokens[index].is_word and tokens[index].is_capital


def _is_title(tokens: Sequence[Token], first: int, last: int) -> bool:
    """``Captain`` and ``Dr`` before any name, ``Astronomer`` and ``Danish`` before a full one of a person."""
    word = tokens[first].lower
    full = last - first > 1 and not any(
        token.lower in NAME_WORDS or token.lower in CONNECTORS for token in tokens[first : last + 1]
    )
    return word in TITLES or (full and (word in KIND_WORDS["person"] or word in NATIONALITIES))


def _is_name(tokens: Sequence[Token], run: tuple[int, int], small: set[str]) -> bool:
    first, last = run
    word = tokens[first]
    if last > first:
        return True
    after = tokens[first + 1].text if first + 1 < len(tokens) else ""
    if word.lower in NATIONALITIES and after.isalpha() and after.islower() and after not in FUNCTION_WORDS:
        return False  # "a German racer" doesn't name a German
    if len(word.text) == 1 or word.lower in MONTHS or word.lower in FUNCTION_WORDS or word.lower in TITLES:
        return False
    opens = not any(token.is_word for token in tokens[:first]) or tokens[first - 1].text in '"“«(:;'
    if not opens:
        return True
    follower = tokens[first + 1].lower if first + 1 < len(tokens) else ""
    participle = word.lower.endswith(("ed", "ing", "ly")) or word.lower in IRREGULAR_VERBS
    verbal = participle and (follower in PREPOSITIONS or follower in FUNCTION_WORDS or follower == ",")
    return word.lower not in small and not verbal


def _quotations(sentence: Sentence) -> list[tuple[int, int, float]]:
    found = []
    for match in _QUOTES.finditer(sentence.text):
        words = match.group(1).split()
        # Speech is quoted too; a title has capitals and no full stop.
        if words and words[0][:1].isupper() and len(words) <= 10 and not match.group(1).endswith((".", "!", "?", ",")):
            found.append((sentence.start + match.start(1), sentence.start + match.end(1), 0.85))
    return found


def _before_copula(tokens: Sequence[Token]) -> tuple[int, int, float] | None:
    """Return a title with small words in it, which no run of capitals covers: ``The Keeper in the Tower is a novel``."""
    end = next((index for index, token in enumerate(tokens[:10]) if token.lower in COPULAS or token.text in "(,"), None)
    if not end or end < 3 or not tokens[end - 1].is_capital or tokens[0].lower in PREPOSITIONS or tokens[end].text == ",":
        return None
    first = 1 if tokens[0].lower in DETERMINERS else 0
    inner = [token for token in tokens[first + 1 : end - 1] if not token.is_capital]
    # "The Tern and the Sula are" names two, "Salt and Sorrow is" one.
    several = tokens[end].lower not in ("is", "was") and any(token.lower == "and" for token in inner)
    titled = tokens[first].is_capital and not several and all(_in_title(token) for token in inner)
    if not (inner and titled) or (tokens[first].lower in FUNCTION_WORDS and not (first == 0 and _is_small_capital(tokens[1]))):
        return None
    begin = first if tokens[0].lower == "the" and not _is_work(tokens, end) else 0
    return tokens[begin].start, tokens[end - 1].end, 0.82


def _in_title(token: Token) -> bool:
    return token.lower in FUNCTION_WORDS or token.text in ("'", ":", "-", "&", "'s", "’s") or token.text.isdigit()


def _individuals(sentence: Sentence, lexicon: Lexicon) -> list[tuple[int, int, tuple[str, ...]]]:
    found = []
    words = [token.lower for token in sentence.tokens] if lexicon.individuals else []
    for index, word in enumerate(words):
        for label, types in lexicon.individuals.get(word, ()):
            if tuple(words[index : index + len(label)]) == label:
                found.append((sentence.tokens[index].start, sentence.tokens[index + len(label) - 1].end, types))
                break
    return found
