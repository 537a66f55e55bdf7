"""What SRT sessions have measured, under libsrt's names."""

from typing import Annotated, Any, ClassVar, Literal

from aiohttp import web
from pydantic import BeforeValidator, ConfigDict, Field, RootModel

from flux.api.models import Model
from flux.api.observed import Observed
from flux.api.operation import Answer, Operation, model_response
from flux.api.problem import ApiProblem
from flux.api.query import Query

NOT_FOUND = (404, "session-not-found")
WORDS = {"true": True, "false": False}


class SrtQuery(Query):
    """Whether a new interval begins, and the form of the answer."""

    clear: Annotated[bool, BeforeValidator(lambda value: WORDS.get(value, value))] = False
    """The numbers of the interval count from now on; totals stay."""
    format: Literal["flux", "tool"] = "flux"
    """`tool`: the groups and names of `srt-live-transmit -statspf:json`, of the interval."""


class SrtStatistics(Model):
    """One connection: libsrt's numbers beside these three.

    Names with `Total` are of the whole connection, the same without it of the interval; the others
    are of this moment.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="allow")

    msTimeStamp: Annotated[int, Field(ge=0)]
    reasons: dict[str, int]
    flux: dict[str, Any]


class SrtToolStatistics(Model):
    """One connection as srt-live-transmit reports it; numbers count since the last `clear`."""

    sid: int
    timepoint: str
    time: Annotated[int, Field(ge=0)]
    window: dict[str, int | float]
    link: dict[str, int | float]
    send: dict[str, int | float]
    recv: dict[str, int | float]


class SrtReport(RootModel[SrtStatistics | SrtToolStatistics]):
    """One of the two forms."""


class SrtApi:
    """The handlers."""

    def __init__(self, observed: Observed) -> None:
        self._observed = observed

    def operations(self) -> list[Operation]:
        """Its rows of the route table."""
        return [
            Operation(
                id="getSessionSrt",
                method="GET",
                path="/api/v1/sessions/{id}/srt",
                tag="sessions",
                summary="What the connection of an SRT session has measured",
                handler=self.get,
                query=SrtQuery,
                answers=(Answer(200, "The statistics.", SrtReport),),
                problems=(NOT_FOUND,),
            )
        ]

    async def get(self, request: web.Request, query: SrtQuery) -> web.Response:
        """The statistics of one session."""
        is_tool = query.format == "tool"
        session = request.match_info["id"]
        found = self._observed.srt(session, is_clearing=query.clear, is_tool=is_tool)
        if found is None:
            raise ApiProblem(404, NOT_FOUND[1], "There is no SRT session of this id.")
        form = SrtToolStatistics if is_tool else SrtStatistics
        return model_response(form.model_validate(found))
