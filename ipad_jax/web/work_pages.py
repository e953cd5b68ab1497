"""Pages that start work: look into a folder and prepare it, train, try a file, set the threshold."""

import asyncio
import base64
import math
import os
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from urllib.parse import urlencode

from PIL import Image
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ipad_jax.run.files import check_name
from ipad_jax.web import figures, forms, uploads
from ipad_jax.web.context import Context, text, to
from ipad_jax.web.runs import Run, find_run, read_object, run_id
from ipad_jax.web.settings import HIDDEN, NotThereError, place

THUMBNAIL_PX = 240
MOST_THUMBNAILS, MOST_LISTED, MOST_WALKED = 12, 300, 20_000
OF_OBJECTS = ("transforms.json", "sparse")  # camera poses, beside the photographs
CHOSEN = "chosen-"  # begins the names of calibrations made here


def routes(context: Context) -> list[Route]:
    """Addresses of these pages."""
    return [*_data(context), *_train(context), *_try(context), *_threshold(context)]


def _data(context: Context) -> list[Route]:
    def show(request: Request) -> Response:
        query = request.query_params
        number, at = query.get("root", "0"), query.get("at", "")
        folder = place(context.settings, number, at)
        if not folder.is_dir():
            raise NotThereError("no such folder.")
        inner = sorted(p for p in folder.iterdir() if not p.name.startswith(HIDDEN))
        root = context.settings.roots[int(number)]
        inside = folder.relative_to(root)
        crumbs = [(part, "/".join(inside.parts[: i + 1])) for i, part in enumerate(inside.parts)]
        below = sorted(_files_below(folder))
        pictures = [p for p in below if p.suffix.lower() in uploads.IMAGES]
        has_videos = any(p.suffix.lower() in uploads.VIDEOS for p in below)
        kind = "image_folder" if pictures and not has_videos else "video_folder"
        if any((folder / name).exists() for name in OF_OBJECTS):
            kind = "object_folder"
        if query.get("kind") in forms.FOLDERS:  # as it was checked
            kind = query["kind"]
        some = pictures[:: max(1, len(pictures) // MOST_THUMBNAILS)][:MOST_THUMBNAILS]
        return context.page(
            request,
            "data",
            roots=context.settings.roots,
            number=int(number),
            at="" if str(inside) == "." else inside.as_posix(),
            crumbs=crumbs,
            folders=[(p.name, p.relative_to(root).as_posix()) for p in inner if p.is_dir()],
            files=[p.name for p in inner if p.is_file()][:MOST_LISTED],
            pictures=[(p.name, p.relative_to(root).as_posix()) for p in some],
            kind=kind,
            kinds=forms.FOLDERS,
            datasets=forms.datasets(context.settings.data_dir),
        )

    def picture(request: Request) -> Response:
        query = request.query_params
        path = place(context.settings, query.get("root", "0"), query.get("at", ""))
        if path.suffix.lower() not in uploads.IMAGES:
            raise NotThereError("no picture.")
        return Response(thumbnail(path), media_type="image/jpeg")

    async def work(request: Request) -> Response:
        form = await context.form(request)
        folder = place(context.settings, text(form, "root", "0"), text(form, "at"))
        builder, fps = text(form, "kind"), text(form, "fps")
        if text(form, "what") == "prepare":
            name = text(form, "name")
            words = forms.prepare_words(
                builder,
                folder,
                name,
                text(form, "size"),
                text(form, "cycle"),
                fps,
                context.settings.data_dir,
            )
            job = context.jobs.start("prepare", words, f"prepare {name}", back="/train")
        else:
            words = forms.validate_words(builder, folder, fps)
            at = {"root": text(form, "root", "0"), "at": text(form, "at"), "kind": builder}
            back = f"/data?{urlencode(at)}"
            job = context.jobs.start("validate", words, f"check {folder.name}", back=back)
        return to(f"/jobs/{job.id}")

    return [
        Route("/data", show),
        Route("/data/picture", picture),
        Route("/data/work", work, methods=["POST"]),
    ]


def _files_below(folder: Path) -> list[Path]:
    """Files below a folder, the first ones of many; links are not followed."""
    found: list[Path] = []
    for parent, inner, files in os.walk(folder):
        inner[:] = sorted(name for name in inner if not name.startswith(HIDDEN))
        found += [Path(parent, name) for name in files if not name.startswith(HIDDEN)]
        if len(found) > MOST_WALKED:
            break
    return found


def thumbnail(path: Path) -> bytes:
    """A small JPEG of a picture.

    Raises:
      ValueError: it is none, or too large.
    """
    try:
        with Image.open(path, formats=("JPEG", "PNG", "BMP", "TIFF", "WEBP")) as image:
            if image.width * image.height > 100_000_000:
                raise ValueError("the picture has more than 100 million pixels.")
            image.draft("RGB", (2 * THUMBNAIL_PX, 2 * THUMBNAIL_PX))
            image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
            out = BytesIO()
            image.convert("RGB").save(out, "JPEG", quality=80)
            return out.getvalue()
    except ValueError:
        raise
    except Exception as error:  # whatever a damaged file makes the library raise
        raise ValueError("the picture cannot be read.") from error


def _train(context: Context) -> list[Route]:
    def show(request: Request) -> Response:
        datasets = forms.datasets(context.settings.data_dir)
        first = [bool(datasets) and datasets[0].builder in one.builders for one in forms.PURPOSES]
        return context.page(
            request,
            "train",
            first=first.index(True) if True in first else 0,
            purposes=forms.PURPOSES,
            losses=forms.LOSSES,
            datasets=datasets,
            data_dir=context.settings.data_dir,
            place=context.settings.roots[0] / "runs",
            running=[job for job in context.jobs.all() if job.alive and job.kind == "train"],
        )

    async def start(request: Request) -> Response:
        form = await context.form(request)
        dataset = forms.Dataset(*text(form, "dataset").partition("/")[::2])
        if dataset not in forms.datasets(context.settings.data_dir):
            raise ValueError("choose a dataset that is prepared; the page Data prepares one.")
        name = check_name(text(form, "name"), "name of the run")
        folder = context.settings.roots[0] / "runs" / name
        if (folder / "config.json").exists():
            raise ValueError(
                f"there is a run {name} already: resume it on its page, or take another name."
            )
        words = forms.train_words(
            text(form, "purpose"),
            dataset,
            context.settings.data_dir,
            folder,
            text(form, "minutes"),
            text(form, "steps"),
            batch_size=text(form, "batch_size"),
            rate=text(form, "rate"),
            loss=text(form, "loss"),
        )
        back = f"/runs/{run_id(folder.resolve())}"
        job = context.jobs.start("train", words, f"train {name}", run=str(folder), back=back)
        return to(f"/jobs/{job.id}")

    return [Route("/train", show), Route("/train/start", start, methods=["POST"])]


def _try(context: Context) -> list[Route]:
    lock = asyncio.Lock()

    def show(request: Request) -> Response:
        uploads.remove_old(context)
        runs, run = context.chosen(request)
        settings = context.settings
        return context.page(request, "try", runs=runs, run=run, settings=settings)

    async def start(request: Request) -> Response:
        _, upload = await uploads.receive(context, request, lock)
        try:
            run = await asyncio.to_thread(
                find_run, context.settings.roots, request.path_params["run"]
            )
            if run.judges_images != upload.is_image:
                kinds = ("videos", "pictures")
                raise ValueError(
                    f"{run.name} judges {kinds[run.judges_images]}, and this is none of them."
                )
            words = ["detect", "--workdir", str(run.folder)]
            words += ["--images" if upload.is_image else "--video", str(upload.path)]
            words += [] if upload.is_image else ["--side-by-side"]
            back = f"/runs/{run.id}/detection?of=detect/{upload.path.stem}"
            job = context.jobs.start("try", words, f"try a file with {run.name}", back=back)
        except BaseException:
            upload.path.unlink(missing_ok=True)
            raise
        return to(f"/jobs/{job.id}")

    async def clear(request: Request) -> Response:
        await context.form(request)
        number = uploads.remove_old(context, all_of_them=True)
        return context.page(
            request,
            "message",
            title="Removed",
            text=f"{number} files that were sent are gone.",
            back="/try",
        )

    return [
        Route("/try", show),
        Route("/try/{run}/start", start, methods=["POST"]),
        Route("/uploads/remove", clear, methods=["POST"]),
    ]


def _threshold(context: Context) -> list[Route]:
    def show(request: Request) -> Response:
        runs, run = context.chosen(request)
        table = read_object(_table_path(context, run)) if run else {}
        if run and run.judges_images:
            return context.page(
                request,
                "threshold_images",
                runs=runs,
                run=run,
                table=table,
                places=figures.places(table.get("normal"), table.get("threshold")),
                tested=figures.tested(table),
                above=figures.above,
                names=run.image_calibrations(),
            )
        sets = run.calibrations() if run else []
        # One that this page chose rests on the scores that the table shows.
        newer = bool(sets) and not sets[0].name.startswith(CHOSEN)
        stale = bool(table) and newer and table.get("calibration") != sets[0].name
        wish = sets[0].number("wish", "false_alarms_per_hour") if sets else math.nan
        return context.page(
            request,
            "threshold",
            runs=runs,
            run=run,
            table=table,
            stale=stale,
            sets=sets,
            wish=None if math.isnan(wish) else wish,
        )

    def table(request: Request) -> Response:
        found = read_object(_table_path(context, context.run(request)))
        if not found:
            raise NotThereError("there is no table yet.")
        faults = found.get("faults")
        for fault in faults if isinstance(faults, list) else ():
            if isinstance(fault, dict):  # pictures are asked for one by one
                fault["picture"] = bool(fault.get("picture"))
        return JSONResponse(found)

    def fault_picture(request: Request) -> Response:
        found = read_object(_table_path(context, context.run(request)))
        rows = found.get("tested" if "tested" in found else "faults")
        number = request.path_params["number"]
        row = rows[number] if isinstance(rows, list) and number < len(rows) else None
        data = row.get("picture") if isinstance(row, dict) else None
        if not isinstance(data, str):
            raise NotThereError("there is no such picture.")
        try:
            content = base64.b64decode(data, validate=True)
        except ValueError as error:
            raise NotThereError("there is no such picture.") from error
        return Response(content, media_type="image/jpeg")

    async def work(request: Request) -> Response:
        form = await context.form(request)
        run = context.run(request)
        back = f"/threshold?run={run.id}"
        words = ["calibrate", "--workdir", str(run.folder)]
        name = f"{CHOSEN}{datetime.now(UTC):%Y%m%dT%H%M%S}"
        if text(form, "what") == "save" and run.judges_images:
            share = forms.amount(text(form, "share"), "share of good images, %", 0.01, 50)
            if not share:
                raise ValueError("choose a share of false alarms first.")
            words += ["--false-alarms", f"{share}%", "--name", name]
            title = f"threshold of {run.name}: {share} % of good images"
        elif text(form, "what") == "save":
            rate = forms.amount(text(form, "per_hour"), "false alarms an hour", 0.001, 10_000)
            if not rate:
                raise ValueError("choose a rate of false alarms first.")
            words += ["--false-alarms-per-hour", rate, "--name", name]
            title = f"threshold of {run.name}: {rate} false alarms an hour"
        else:
            path = _table_path(context, run)
            path.parent.mkdir(parents=True, exist_ok=True)
            words += ["--table", str(path)]
            title = f"look at the normal scores of {run.name}"
        job = context.jobs.start("calibrate", words, title, back=back)
        return to(f"/jobs/{job.id}")

    return [
        Route("/threshold", show),
        Route("/threshold/{run}/table", table),
        Route("/threshold/{run}/picture/{number:int}", fault_picture),
        Route("/threshold/{run}/work", work, methods=["POST"]),
    ]


def _table_path(context: Context, run: Run | None) -> Path:
    return context.settings.home / "tables" / f"{run.id if run else ''}.json"
