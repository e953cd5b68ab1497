"""Pages of alarms: one detection, all events with their marks, live watching, help."""

import time

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ipad_jax.web import forms, sources
from ipad_jax.web.context import Context, text, to
from ipad_jax.web.runs import MARKS, Detection, Event
from ipad_jax.web.settings import NotThereError

MOST_EVENTS, MOST_DETECTIONS, MOST_IMAGES = 200, 40, 200
FRESH_S = 10.0  # a watch whose scores.csv is older is not running


def routes(context: Context) -> list[Route]:
    """Addresses of these pages."""

    def detection(request: Request) -> Response:
        run = context.run(request)
        found = run.detection(request.query_params.get("of", ""))
        images = found.images()
        return context.page(
            request,
            "detection",
            run=run,
            found=found,
            events=found.events()[:MOST_EVENTS],
            images=images[:MOST_IMAGES],
            num_images=len(images),
            num_alarms=sum(row.get("alarm") == "1" for row in images),
            num_unjudged=sum(not row.get("score") for row in images),
            marks=MARKS,
        )

    def events(request: Request) -> Response:
        runs, run = context.chosen(request)
        wanted = request.query_params.get("mark", "")
        if wanted not in ("", "none", *MARKS):
            raise ValueError(f"mark {wanted!r} is none of {', '.join(MARKS)}, none.")
        groups, left = [], MOST_EVENTS
        for found in run.detections()[:MOST_DETECTIONS] if run else ():
            every = _alarms(found) if run and run.judges_images else found.events()
            some = [one for one in every if not wanted or (_mark(one) or "none") == wanted][:left]
            left -= len(some)
            if some:
                groups.append((found, some))
        return context.page(
            request,
            "events",
            runs=runs,
            run=run,
            groups=groups,
            wanted=wanted,
            marks=MARKS,
            full=left <= 0,
        )

    async def mark(request: Request) -> Response:
        form = await context.form(request)
        run = context.run(request)
        found = run.detection(text(form, "of"))
        if run.judges_images:
            before = {int(row["number"]): row["mark"] for row in found.images()}
        else:
            before = {event.number: event.mark for event in found.events()}
        marks = {}
        for number, old in before.items():
            new = text(form, f"mark{number}")
            if new and new != old:
                marks[number] = new
        table, what = ("results.csv", "images") if run.judges_images else ("events.csv", "events")
        words = forms.mark_words(run, found.folder / table, marks)
        back = f"/events?run={run.id}"
        job = context.jobs.start("review", words, f"mark {what} of {found.title}", back=back)
        return to(f"/jobs/{job.id}")

    async def learn(request: Request) -> Response:
        form = await context.form(request)
        run = context.run(request)
        words = ["learn", "--workdir", str(run.folder)]
        words += ["--undo"] if text(form, "what") == "undo" else []
        job = context.jobs.start(
            "learn", words, f"learn from the marks of {run.name}", back=f"/events?run={run.id}"
        )
        return to(f"/jobs/{job.id}")

    def live(request: Request) -> Response:
        runs, run = context.chosen(request, "video")
        watches = [w for w in run.detections() if w.title.count("/")] if run else []
        wanted = request.query_params.get("of", "")
        chosen = next((w for w in watches if not wanted or w.name == wanted), None)
        if wanted and chosen is None:
            raise NotThereError("there is no such watch.")
        values = {
            "run": run,
            "watch": chosen,
            "on": chosen is not None and time.time() - chosen.changed < FRESH_S,
            "events": list(reversed(chosen.events()))[:30] if chosen else [],
        }
        if request.query_params.get("part") == "events":
            return context.page(request, "live_events", **values)
        job = next((j for j in context.jobs.all() if j.kind == "watch"), None)
        return context.page(
            request,
            "live",
            runs=runs,
            watches=watches[:30],
            cameras=sources.cameras(context),
            videos=sources.videos(context) if run else [],
            job=job,
            **values,
        )

    async def watch(request: Request) -> Response:
        form = await context.form(request)
        run = context.run(request)
        camera = sources.address_of(context, text(form, "camera"))
        words = ["detect", "--workdir", str(run.folder), "--camera", camera]
        title, back = f"watch {sources.shown_address(camera)}", f"/live?run={run.id}"
        context.jobs.start("watch", words, title, run=str(run.folder), back=back)
        return to(back)

    def help_page(request: Request) -> Response:
        return context.page(request, "help", settings=context.settings)

    return [
        Route("/runs/{run}/detection", detection),
        Route("/events", events),
        Route("/events/{run}/mark", mark, methods=["POST"]),
        Route("/events/{run}/learn", learn, methods=["POST"]),
        Route("/live", live),
        Route("/live/{run}/start", watch, methods=["POST"]),
        Route("/help", help_page),
    ]


def _alarms(found: Detection) -> list[dict[str, str]]:
    """Images that raised an alarm, or that somebody marked."""
    return [row for row in found.images() if row.get("alarm") == "1" or row["mark"]]


def _mark(one: Event | dict[str, str]) -> str:
    return one.mark if isinstance(one, Event) else one["mark"]
