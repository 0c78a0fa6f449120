"""SEARCH=FUZZY (RFC 6203): every word of a text instead of the text, also as HTML may spell it, with a score of how well it fits."""

from __future__ import annotations

from collections.abc import Iterable

from dovecotpy.imap.registry import extension
from dovecotpy.message.preview import NAMED_CHARACTERS
from dovecotpy.search import query as q

FUZZY = extension("SEARCH=FUZZY")
MAX_WORDS = 16
"""Words of one text that are looked for; further ones do not matter."""

_ENTITIES = {character: f"&{name};" for name, character in NAMED_CHARACTERS.items() if len(character) == 1}


class Fuzzy(q.Or):
    """The keys behind FUZZY, first as they were typed, then loosened, which match all that those match and more."""

    __slots__ = ()


def loosened(query: q.Query) -> q.Query:
    """A query that matches also where only all words of a text occur. What NOT denies stays as it is."""
    if isinstance(query, q.And):
        return q.And(tuple(map(loosened, query.terms)))
    if isinstance(query, q.Or):
        return q.Or(tuple(map(loosened, query.terms)))
    if isinstance(query, q.Header):
        return all_of([q.Header(query.name, word) for word in words(query.text)], query)
    if isinstance(query, (q.Body, q.Text)):
        kind = type(query)
        return all_of([_spelled(kind, word) for word in words(query.text)], query)
    return query


def words(text: str) -> list[str]:
    return text.split()[:MAX_WORDS]


def all_of(terms: list[q.Query], instead: q.Query) -> q.Query:
    if not terms:
        return instead
    return terms[0] if len(terms) == 1 else q.And(tuple(terms))


def _spelled(kind: type[q.Body] | type[q.Text], word: str) -> q.Query:
    """A word, or what stands for it in HTML: characters beyond ASCII as entities by name or by number, tags inside it."""
    shown = q.And((q.Text("text/html"), q.Shown(word)))
    if word.isascii():
        return q.Or((kind(word), shown))
    named = "".join(each if each.isascii() else _ENTITIES.get(each, each) for each in word)
    numbered = "".join(each if each.isascii() else f"&#{ord(each)};" for each in word)
    return q.Or((*(kind(each) for each in dict.fromkeys((word, named, numbered))), shown))


def is_fuzzy(query: q.Query) -> bool:
    """Whether FUZZY is among the keys."""
    if isinstance(query, Fuzzy):
        return True
    if isinstance(query, (q.And, q.Or)):
        return any(map(is_fuzzy, query.terms))
    return isinstance(query, q.Not) and is_fuzzy(query.term)


def exact(query: q.Query) -> q.Query:
    """As if FUZZY were not there."""
    if isinstance(query, Fuzzy):
        return query.terms[0]
    if isinstance(query, q.And):
        return q.And(tuple(map(exact, query.terms)))
    return q.Or(tuple(map(exact, query.terms))) if isinstance(query, q.Or) else query


def texts(query: q.Query) -> Iterable[str]:
    """The texts that FUZZY keys look for."""
    if isinstance(query, (q.And, q.Or)):
        for term in query.terms[:1] if isinstance(query, Fuzzy) else query.terms:
            yield from texts(term)
    elif isinstance(query, (q.Header, q.Body, q.Text)):
        yield query.text
