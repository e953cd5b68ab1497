"""What every page needs: settings, jobs, templates, forms."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jinja2
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from ipad_jax.web import figures
from ipad_jax.web.jobs import Jobs
from ipad_jax.web.runs import Run, find_run, find_runs
from ipad_jax.web.security import FORM, cookie, same
from ipad_jax.web.settings import NotThereError, Settings

MAX_FIELDS, MAX_FIELD_BYTES = 600, 100_000  # of a form; an events page has a field an event
NAV = (
    ("/", "Runs"),
    ("/data", "Data"),
    ("/train", "Train"),
    ("/threshold", "Threshold"),
    ("/try", "Try"),
    ("/live", "Live"),
    ("/events", "Events"),
    ("/jobs", "Jobs"),
    ("/help", "Help"),
)


class ForbiddenError(ValueError):
    """A form that did not come from a page of this process."""


@dataclass
class Context:
    """One a process: settings, jobs, templates."""

    settings: Settings
    jobs: Jobs = field(init=False)
    templates: jinja2.Environment = field(init=False)

    def __post_init__(self) -> None:
        self.jobs = Jobs(self.settings.home, self.settings.program)
        self.templates = jinja2.Environment(
            loader=jinja2.PackageLoader("ipad_jax.web", "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.templates.filters |= {
            "number": figures.shown,
            "percent": partial(figures.shown, unit="%"),
            "duration": figures.duration,
        }

    def page(self, request: Request, template: str, status: int = 200, **values: Any) -> Response:
        """A page, with the form token in it and in a cookie."""
        text = self.templates.get_template(f"{template}.html.j2").render(
            nav=NAV,
            here=request.url.path,
            form_token=self.settings.form_token,
            **values,
        )
        answer = HTMLResponse(text, status)
        answer.set_cookie(FORM, self.settings.form_token, httponly=True, samesite="strict")
        return answer

    async def form(self, request: Request) -> FormData:
        """The fields of a form that one of our pages sent.

        Raises:
          ForbiddenError: it has not this process's token.
        """
        found = await request.form(
            max_files=1, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES
        )
        self.check_form(request, text(found, "form_token"))
        return found

    def check_form(self, request: Request, given: str) -> None:
        """Raises ForbiddenError unless field and cookie are this process's token."""
        wanted = self.settings.form_token
        if not same(given, wanted) or not same(cookie(request.headers, FORM), wanted):
            raise ForbiddenError(
                "this form is of an earlier start of the page: reload it and send it again."
            )

    def runs(self) -> list[Run]:
        """All runs below the roots."""
        return find_runs(self.settings.roots)

    def run(self, request: Request) -> Run:
        """The run that an address names."""
        return find_run(self.settings.roots, request.path_params["run"])

    def chosen(self, request: Request, family: str = "") -> tuple[list[Run], Run | None]:
        """(all runs, the one that `?run=` names, else the newest of a family)."""
        runs = [run for run in self.runs() if not family or run.family == family]
        wanted = request.query_params.get("run", "")
        if not wanted:
            return runs, runs[0] if runs else None
        for run in runs:
            if run.id == wanted:
                return runs, run
        raise NotThereError("there is no such run.")


def text(form: FormData, name: str, default: str = "") -> str:
    """A field's text without blanks around; the default where it is missing or a file."""
    value = form.get(name, default)
    return value.strip() if isinstance(value, str) else default


def to(address: str) -> Response:
    """Leads a browser on after a form."""
    return RedirectResponse(address, 303)
