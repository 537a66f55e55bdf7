"""Lists as the API gives them: filtered, ordered, in pages."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from flux.api.query import PageQuery

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page and what it is a page of."""

    item_count: int  # in the whole list, as it is filtered
    page_count: int
    page: int  # from 0
    items_per_page: int
    items: Sequence[T]


def paginate(query: PageQuery, items: Sequence[T]) -> Page[T]:
    """The page that the query asks for; behind the last one there is nothing, which is no fault."""
    size, page = query.items_per_page, query.page
    chosen = items[page * size : (page + 1) * size]
    return Page(len(items), -(-len(items) // size), page, size, chosen)


def order(items: Iterable[T], sort: str, key: Callable[[T, str], Any]) -> list[T]:
    """Ordered by the field that `sort` names, falling if `-` stands before it.

    `items` come in the order that equals keep, whichever way round the rest is.
    """
    field = sort.removeprefix("-")
    is_falling = sort.startswith("-")
    return sorted(items, key=lambda item: key(item, field), reverse=is_falling)
