"""Pages of what is there: all runs, one of them, several compared, their files, jobs."""

import asyncio
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from ipad_jax.web import figures, forms
from ipad_jax.web.context import Context, text, to
from ipad_jax.web.runs import Run, find_run
from ipad_jax.web.security import REPORT_POLICY

MOST_COMPARED = 6
CURVE_POINTS = 2000  # of a loss curve


def routes(context: Context) -> list[Route]:
    """Addresses of these pages."""

    def index(request: Request) -> Response:
        rows = [_row(context, run) for run in context.runs()]
        return context.page(request, "runs", rows=rows, roots=context.settings.roots)

    def show(request: Request) -> Response:
        run = context.run(request)
        evaluations = {
            name: {
                "figures": figures.headline(metrics),
                "kinds": figures.by_kind(metrics),
                "metrics": metrics,
            }
            for name, metrics in run.evaluations().items()
        }
        return context.page(
            request,
            "run",
            run=run,
            job=_live(context, run),
            evaluations=evaluations,
            reports=run.reports(),
            calibrations=run.calibrations(),
            detections=run.detections()[:20],
            image_calibrated=(run.folder / "calibration.npz").exists(),
            resume=forms.resume_words(context.jobs.all(), run),
            curve=bool(run.metrics()),
        )

    def curve(request: Request) -> Response:
        run = context.run(request)
        return JSONResponse({"name": run.name, "rows": thinned(run.metrics())})

    def file(request: Request) -> Response:
        path = context.run(request).file(request.path_params["path"])
        answer = FileResponse(path)
        if path.suffix == ".html":
            answer.headers["Content-Security-Policy"] = REPORT_POLICY
        if path.suffix in (".csv", ".json"):
            answer.headers["Content-Type"] = "text/plain; charset=utf-8"
        return answer

    def compare(request: Request) -> Response:
        names = request.query_params.getlist("run")[:MOST_COMPARED]
        runs = [find_run(context.settings.roots, name) for name in dict.fromkeys(names)]
        first = [next(iter(run.evaluations().values()), {}) for run in runs]
        tables = [{f.name: f.value for f in figures.headline(metrics)} for metrics in first]
        rows = list(dict.fromkeys(name for table in tables for name in table))
        return context.page(
            request,
            "compare",
            runs=runs,
            figures=[(name, [table.get(name, "-") for table in tables]) for name in rows],
            differences=figures.differences([run.config for run in runs]),
        )

    async def act(request: Request) -> Response:
        """Resume or evaluate a run."""
        form = await context.form(request)
        run = context.run(request)
        what = text(form, "what")
        if what == "resume":
            words = forms.resume_words(context.jobs.all(), run, text(form, "minutes"))
            kind, title = "train", f"train {run.name}"
            if not words:
                raise ValueError(
                    "this run was started elsewhere: give the same `ipad-jax train` command again there."
                )
        elif what == "evaluate":
            words = ["evaluate", "--workdir", str(run.folder)]
            kind, title = "evaluate", f"evaluate {run.name}"
        else:
            raise ValueError("what is to be done with the run? Use a button of its page.")
        job = context.jobs.start(kind, words, title, run=str(run.folder), back=f"/runs/{run.id}")
        return to(f"/jobs/{job.id}")

    def jobs(request: Request) -> Response:
        return context.page(request, "jobs", jobs=context.jobs.all()[:100])

    def job(request: Request) -> Response:
        found = context.jobs.get(request.path_params["job"])
        log = context.jobs.tail(found.id)
        return context.page(request, "job", job=found, log=log, next=forms.next_step(log))

    async def stop(request: Request) -> Response:
        form = await context.form(request)
        name = request.path_params["job"]
        asked = False
        for _ in range(20):  # most are gone in this time, and the page then says so
            # once: a second signal may mean more; one that was just started has no process yet
            asked = asked or context.jobs.stop(name, at_once=text(form, "at_once") == "yes")
            if not context.jobs.get(name).alive:
                break
            await asyncio.sleep(0.1)
        return to(f"/jobs/{name}")

    return [
        Route("/", index),
        Route("/compare", compare),
        Route("/runs/{run}", show),
        Route("/runs/{run}/curve", curve),
        Route("/runs/{run}/act", act, methods=["POST"]),
        Route("/runs/{run}/file/{path:path}", file),
        Route("/jobs", jobs),
        Route("/jobs/{job}", job),
        Route("/jobs/{job}/stop", stop, methods=["POST"]),
    ]


def _live(context: Context, run: Run) -> Any:
    """The training of a run that is going on; None without."""
    for job in context.jobs.all():
        if job.alive and job.kind == "train" and job.run == str(run.folder):
            return job
    return None


def _row(context: Context, run: Run) -> dict[str, Any]:
    metrics = next(iter(run.evaluations().values()), {})
    first = figures.headline(metrics)[:1]
    step, job = run.step, _live(context, run)
    if job:
        state = "training"
    elif step is None:
        state = "fitted" if (run.folder / "fitted.npz").exists() else "not trained"
    else:
        state = f"step {step:,} of {run.total_steps:,}"
    return {
        "run": run,
        "state": state,
        "job": job,
        "figure": first[0] if first else None,
        "alarms": metrics.get("false_alarms_per_hour"),
        "changed": time.strftime("%Y-%m-%d %H:%M", time.localtime(run.folder.stat().st_mtime)),
    }


def thinned(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every n-th row, so that a browser draws a long run as quickly as a short one."""
    every = max(1, -(-len(rows) // CURVE_POINTS))
    return rows[::every]
