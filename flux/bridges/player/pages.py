"""The HTML of the pages: templates with every value escaped, and the policy they run under.

Links between pages and assets are relative: the pages work below any prefix that a proxy puts in
front of the server.
"""

from html import escape
from string import Template

from flux.bridges.http.response import Header
from flux.bridges.player.assets import Assets

OWN = "_"  # the folder of everything that is no stream; no stream's name begins like this

# Media come over fetch and through blob: URLs (Media Source Extensions); hls.js makes its worker
# from a blob. Nothing is inline, nothing comes from elsewhere.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "media-src 'self' blob:; connect-src 'self'; worker-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors {ancestors}"
)


class Pages:
    """Renders the pages with links to the assets of this version."""

    def __init__(self, assets: Assets, *, lists_streams: bool) -> None:
        self._digest = assets.digest
        self._lists_streams = lists_streams
        self._templates = {name: Template(text) for name, text in assets.templates.items()}

    def player(
        self, name: str, *, is_embedded: bool, is_group: bool = False, video: str = ""
    ) -> bytes:
        """The page of one stream, or of a group of them; for `/NAME/`.

        `video`: the codec of its picture, if it is known.
        """
        view = "embed" if is_embedded else "page"
        depth = name.count("/") + 1
        return self._render(
            "player.html", depth, stream=name, view=view, video=video, kind=" data-group" * is_group
        )

    def streams(self) -> bytes:
        """The list of streams; for `/`."""
        return self._render("streams.html", 0)

    def missing(self, path: str) -> bytes:
        """What a person sees where nothing is."""
        return self._render("missing.html", path.count("/") - 1, path=path)

    def _render(self, template: str, depth: int, **values: str) -> bytes:
        root = "../" * depth or "./"
        escaped = {key: escape(value) for key, value in values.items()}
        listed = "" if self._lists_streams else " hidden"
        return (
            self._templates[template]
            .substitute(escaped, root=root, base=f"{root}{OWN}/{self._digest}/", listed=listed)
            .encode()
        )


def page_headers(*, may_be_framed: bool = False) -> list[Header]:
    """Header fields of every page; only an embedded player may stand in other sites' frames."""
    policy = POLICY.format(ancestors="*" if may_be_framed else "'self'")
    return [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Cache-Control", "no-cache"),
        ("Content-Security-Policy", policy),
        ("Referrer-Policy", "no-referrer"),
        ("X-Content-Type-Options", "nosniff"),
    ]
