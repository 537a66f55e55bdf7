"""Pages of a list: `?page=0&items_per_page=100`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from aiohttp import web

from flux.api.problem import ApiProblem

T = TypeVar("T")

DEFAULT_ITEMS = 100
MAX_ITEMS = 1000
MAX_PAGE = 1_000_000


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page and what it is a page of."""

    item_count: int  # in the whole list
    page_count: int
    page: int  # from 0
    items_per_page: int
    items: Sequence[T]


def paginate(request: web.Request, items: Sequence[T]) -> Page[T]:
    """The page that the query asks for; raises `ApiProblem` if it asks for nonsense."""
    size = _number(request, "items_per_page", DEFAULT_ITEMS, 1, MAX_ITEMS)
    page = _number(request, "page", 0, 0, MAX_PAGE)
    chosen = items[page * size : (page + 1) * size]
    return Page(len(items), -(-len(items) // size), page, size, chosen)


def check_query(request: web.Request, known: frozenset[str]) -> None:
    """Refuse query parameters that the resource does not know, by name."""
    for name in request.query:
        if name not in known:
            detail = f"Unknown query parameter {name[:40]!r}; known: {', '.join(sorted(known))}."
            raise ApiProblem(400, "query-unknown", detail)


def _number(request: web.Request, name: str, default: int, low: int, high: int) -> int:
    values = request.query.getall(name, [])
    if not values:
        return default
    text = values[0]
    valid = len(values) == 1 and text.isascii() and text.isdigit() and len(text) < 10
    if not valid or not low <= int(text) <= high:
        detail = f"{name} must be one whole number from {low} to {high}."
        raise ApiProblem(400, "query-invalid", detail)
    return int(text)
