import pytest
from extraction.ships import SHIPS
from hypothesis import given, settings
from hypothesis import strategies as st

from compat.contracts import Mention
from tasks.extraction import parse_ontology
from tasks.extraction.chunking import split
from tasks.extraction.rules.lexicon import lexicon_of
from tasks.extraction.rules.mentions import find_mentions, merge_mentions
from tasks.extraction.sentences import read_sentences
from tasks.extraction.values import Value, find_values


def found(text: str, ontology: str = SHIPS) -> list[Mention]:
    lexicon = lexicon_of(parse_ontology(ontology))
    return merge_mentions(mention for chunk in split(text) for mention in find_mentions(read_sentences(chunk), lexicon))


def names(text: str, ontology: str = SHIPS) -> list[str]:
    return [mention.text for mention in found(text, ontology)]


def values(text: str) -> list[Value]:
    return [value for chunk in split(text) for sentence in read_sentences(chunk) for value in find_values(sentence)]


@given(
    st.lists(
        st.sampled_from(
            [
                "Ada Lind",
                " of the ",
                "Sea",
                ". ",
                "“The Tide”",
                " is a ",
                "1984",
                " 😀 ",
                "é",
                " Zoë",
                "6042 Comet",
                ", ",
                "'s ",
                "مرحبا ",
                "\n",
            ]
        )
        | st.text(max_size=8),
        max_size=40,
    ).map("".join)
)
@settings(max_examples=300, deadline=None)
def test_every_mention_is_the_text_at_its_offsets(text: str) -> None:
    end = 0
    for mention in found(text):
        assert mention.text == text[mention.start_char : mention.end_char]
        assert mention.start_char >= end
        assert mention.confidence >= 0.5
        end = mention.end_char
    for value in values(text):
        assert value.text == text[value.start : value.end]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("In the fog Ada Lind met Per Holm.", ["Ada Lind", "Per Holm"]),
        ("We saw the University of Kelder and the Isle of the Dead.", ["University of Kelder", "Isle of the Dead"]),
        ("The asteroid 6042 belongs to no one. 6042 Cheshirecat is an asteroid.", ["6042 Cheshirecat"]),
        ("They read “The Quiet Tide” aloud.", ["The Quiet Tide"]),
        ("The Keeper in the Tower is a novel.", ["The Keeper in the Tower"]),
        ("The Harrier sailed. In March she returned.", ["Harrier"]),
        ("Captain Jonas Brandt met Dr. Ada Lind.", ["Jonas Brandt", "Ada Lind"]),
        ("A German racer saw Germany.", ["Germany"]),
        ("Built by nobody, it sank. However, it rose.", []),
        ("J. R. Vey wrote to St. Olaf.", ["J. R. Vey", "St. Olaf"]),
        ("On 4 March 1851 the Petrel left.", ["Petrel"]),
        ("🎉 Zoë Çelik came.", ["Zoë Çelik"]),
        ("nothing here has a capital", []),
    ],
)
def test_names_are_found(text: str, expected: list[str]) -> None:
    assert names(text) == expected


def test_an_individual_of_the_ontology_is_found_in_small_letters() -> None:
    ontology = f'{SHIPS} :gaff a :Schooner ; rdfs:label "gaff ketch" .'
    mention = found("Once a gaff ketch left.", ontology)[0]
    assert (mention.text, mention.suggested_type) == ("gaff ketch", "https://example.org/ships#Schooner")


@pytest.mark.parametrize(
    ("text", "literal", "datatype"),
    [
        ("born on 4 March 1851", "1851-03-04", "date"),
        ("born on March 4, 1851", "1851-03-04", "date"),
        ("born 1851-03-04", "1851-03-04", "date"),
        ("in March 1851", "1851-03", "gYearMonth"),
        ("in 1851", "1851", "gYear"),
        ("it cost 1,250 crowns", "1250", "integer"),
        ("31.5 metres", "31.5", "decimal"),
    ],
)
def test_values_come_in_their_xsd_form(text: str, literal: str, datatype: str) -> None:
    assert [(value.literal, value.datatype.rpartition("#")[2]) for value in values(text)] == [(literal, datatype)]


@pytest.mark.parametrize("text", ["on 1851-19-04", "on 31 February 1851", "on 1851-02-30"])
def test_a_day_that_does_not_exist_is_no_date(text: str) -> None:
    assert not [value for value in values(text) if value.datatype.endswith("#date")]


def test_digits_of_other_scripts_are_no_xsd_numbers() -> None:
    assert values("في ١٩٨٤ و ١٢") == []


def test_of_two_that_overlap_the_earlier_stays() -> None:
    one = Mention(text="Ada Lind", start_char=0, end_char=8, confidence=0.6)
    other = Mention(text="Lind Light", start_char=4, end_char=14, confidence=0.9)
    assert merge_mentions([other, one]) == [one]


def test_of_two_at_the_same_place_the_surer_stays() -> None:
    one = Mention(text="Ada", start_char=0, end_char=3, confidence=0.6)
    other = Mention(text="Ada Lind", start_char=0, end_char=8, confidence=0.9)
    assert merge_mentions([one, other]) == [other]


def test_a_mention_below_a_half_is_dropped() -> None:
    assert merge_mentions([Mention(text="Ada", start_char=0, end_char=3, confidence=0.49)]) == []
