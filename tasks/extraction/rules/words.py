"""English words that the rules know, whatever the ontology. Written by hand, none of it learned."""

from typing import Literal


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


Kind = Literal["person", "place", "organization", "work", "event", "date", "number"]

# A run of capitals continues over these if a capital follows.
CONNECTORS = _words("of de la le du des del della di da do dos van von der den ten ter zu y al el bin ibn af av & the")

# Words that aren't names, though they are capitalised at the start of a sentence.
FUNCTION_WORDS = _words(
    """a an the this that these those his her its their our my your he she it they we you i who whom whose which
    what when where why how there here and or but nor so yet if then than as at by for from in into of off on
    onto out over to under up with within without about above across after against along among around before
    behind below beneath beside besides between beyond despite down during except inside like near outside
    past since through throughout till toward towards until upon via while although because though unless once
    whether both either neither each every all any some few many most much more less several other another
    such same own one two three four five six seven eight nine ten not no only also just even still again ever
    never always often later earlier soon today now is are was were be been being am has have had do does did
    will would shall should may might must can could according additionally however moreover meanwhile
    furthermore therefore thus hence instead together originally currently born"""
)

# Words by which a sentence is known to be English; those that other languages have too aren't among them.
ENGLISH_WORDS = _words(
    """the and of to by for from with at is was are were been which who whose that this his he she it its their they them has had
    be not or but into during when where while after before about under made born"""
)

PREPOSITIONS = _words(
    """at by for from in into of off on onto to under with within near during since until between against across over about
    around inside outside beside behind after before through along"""
)
COPULAS = _words("is was are were be been being became becomes remains remained")
DETERMINERS = _words("a an the")
POSSESSIVES = _words("his her its")
# What a sentence may begin with whose subject is no name: "This was the first", "The series was".
SUBJECT_PRONOUNS = _words("this that it they there he she we i these those")
LEADING = _words("the a an this that these those its his her their both all some many several")
PRONOUNS = {"he": "person", "she": "person", "his": "person", "her": "person", "it": "thing", "its": "thing"}
TITLES = _words(
    """mr mrs ms miss dr prof professor sir dame captain admiral commodore colonel lieutenant sergeant president chancellor
    bishop archbishop rabbi judge senator"""
)

# The last word of a class label, or a noun beside a name, gives its kind.
KIND_WORDS: dict[Kind, frozenset[str]] = {
    "person": _words(
        """person human people man woman boy girl child character artist author writer poet novelist painter sculptor
    photographer actor actress director producer singer musician composer conductor architect engineer
    scientist astronomer botanist physicist chemist biologist historian explorer captain skipper sailor keeper
    curator politician president minister mayor king queen athlete player footballer cyclist driver pilot
    astronaut coach teacher professor student soldier officer lawyer judge doctor nurse farmer founder donor
    employee"""
    ),
    "place": _words(
        """place location city town village country state region province county district island islet continent area
    territory river lake sea ocean bay harbour harbor port mountain hill peak valley desert forest reef cape
    coast street square park garden site settlement municipality watercourse building lighthouse station
    airport bridge castle venue"""
    ),
    "organization": _words(
        """organization organisation company corporation institution institute university college school museum
    society association agency council committee ministry department party club team band orchestra league
    federation foundation trust publisher brand manufacturer business firm airline group library observatory
    gallery"""
    ),
    "work": _words(
        """work film movie book novel poem song album single painting sculpture series episode game software program
    play opera symphony newspaper magazine journal report map chart"""
    ),
    "event": _words(
        """event war battle festival competition championship tournament race election expedition voyage exhibition
    conference ceremony season olympics cup"""
    ),
    "date": _words("date time year day month period century era"),
    "number": _words("number quantity amount count integer figure"),
}
# What has a title, whose article belongs to it, and how such things are made.
TITLED_WORDS = (KIND_WORDS["work"] - _words("newspaper magazine journal report map chart")) | _words(
    "anime cartoon comedy drama musical comic story tale serial documentary short sequel trilogy ep"
)
MAKING_WORDS = _words("written illustrated directed released published animated composed filmed sung recorded")
GENERAL_LABELS = _words("person human place location organization organisation work event")
KIND_OF_WORD: dict[str, Kind] = {word: kind for kind, words in KIND_WORDS.items() for word in words}

# Words inside a name that give its kind away.
NAME_WORDS: dict[str, Kind] = {
    **{word: kind for kind in ("place", "organization", "event") for word in KIND_WORDS[kind]},
    **dict.fromkeys(
        _words("university inc ltd corp corporation company co llc plc gmbh bank press records studios pictures"), "organization"
    ),
    **dict.fromkeys(_words("north south east west mount mt lake isle islands mountains hills sound strait fort"), "place"),
    **dict.fromkeys(_words("games championships awards prix"), "event"),
}

# Words without a meaning of their own in a property's label.
LABEL_NOISE = _words("has have is was are be a an the of by in at on to for from with as its")
# Words of a label that tell the kind of value, not what the property is about: they count for little.
LABEL_KINDS = _words(
    """date time year point place location name number entity administrative territorial human person item value
    used member"""
)
DATE_WORDS = _words("date year time inception birthday born founded dissolved")
NUMBER_WORDS = _words(
    """number population height length width depth weight mass area elevation altitude cost price budget capacity
    count tonnage speed distance diameter radius duration age revenue score points"""
)

# Synonyms in a text for a word of a label; after ~ those that say the reverse ("the son of" a father).
# <year> stands for a year before a noun ("a 1962 song"), +by for a following "by".
# A lone comma or preposition counts only between two names.
SYNONYMS: dict[str, str] = {
    "birth": "born",
    "death": "died dies killed",
    "spouse": "married wife husband",
    "father": "~son ~daughter",
    "child": "son daughter children",
    "mother": "~son ~daughter",
    "parent": "~son ~daughter father mother",
    "sibling": "brother sister",
    "publication": "published released appeared <year>",
    "published": "publication released appeared",
    "released": "release publication <year>",
    "inception": "<year> founded established formed created opened built",
    "founded": "established formed founder created",
    "founder": "founded established",
    "dissolved": "dissolved abolished disbanded closed",
    "built": "constructed erected construction builder completed",
    "creator": "created invented made",
    "author": "wrote written novelist novel+by book+by story+by poem+by",
    "director": "film+by",
    "screenwriter": "wrote written",
    "lyrics": "wrote written",
    "lyricist": "wrote written",
    "composer": "wrote written",
    "written": "wrote author",
    "writer": "wrote written",
    "cast": "starring stars starred played featuring features",
    "performer": "sung performed recorded sang song+by album+by single+by",
    "located": "situated lies stands located in at on ,",
    "location": "located situated lies stands in at on ,",
    "educated": "studied graduated attended graduate educated degree",
    "employer": "employed employee professor",
    "works": "worked employed",
    "residence": "lives lived resides moved",
    "lives": "lived resides",
    "member": "joined members belongs",
    "owner": "owns owned bought belongs",
    "owned": "owns owner bought belongs",
    "manufacturer": "built manufactured made produced",
    "producer": "produced",
    "award": "won received awarded prize",
    "received": "won awarded",
    "winner": "won winning",
    "participant": "competed participated took",
    "height": "tall high",
    "elevation": "high above",
    "length": "long",
    "depth": "deep",
    "cost": "budget costs",
    "population": "inhabitants residents people",
    "based": "adaptation adapted",
    "capital": "capital",
    "nominated": "nomination nominee",
    "genre": "genre style",
    "occupation": "works worked career",
    "discoverer": "discovered",
    "discovered": "discovery discoverer",
    "mouth": "flows empties",
    "language": "language languages",
    "position": "served elected appointed",
    "head": "leader president chairman mayor",
}

# Names of places follow these, and so do few others.
PLACE_PREPOSITIONS = _words("in at near")
IRREGULAR_VERBS = _words(
    """built wrote made won led drew kept held sang sung found founded ran met bought sold taught lost gave took
    drawn written known shown grew grown flown flew lit"""
)
NATIONALITIES = _words(
    """american argentine australian austrian belgian brazilian british bulgarian canadian chilean chinese colombian croatian
    cuban czech danish dutch egyptian english estonian finnish french georgian german greek hungarian icelandic indian
    indonesian iranian irish israeli italian jamaican japanese kenyan korean latvian lithuanian malaysian mexican nigerian
    norwegian pakistani peruvian polish portuguese romanian russian scottish serbian slovak slovenian spanish swedish swiss
    thai turkish ugandan ukrainian venezuelan vietnamese welsh african asian european"""
)
