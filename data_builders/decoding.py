"""Video files to pictures with times: the one decoder of `prepare`, `validate` and `detect`.

FFmpeg by PyAV. A file is read to its end whatever is wrong in the middle; what was lost, repeated or
deinterlaced on the way is counted (`Reading`), and what must not pass in silence is raised at the end.
"""

from __future__ import annotations

import collections
import itertools
import re
from collections.abc import Generator, Iterator
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.filter
import numpy as np
from av.error import FFmpegError

from ipad_jax.data_builders.damage import (
    COUNT_TOLERANCE,
    Hangs,
    Losses,
    Reading,
    VideoInfo,
    complaint_about,
)
from ipad_jax.data_builders.timing import same_rate

# What FFmpeg opens and cameras, phones and recorders write.
VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".wmv"),
    *(".mpg", ".mpeg", ".ts", ".mts", ".m2ts"),
)
NO_LENGTH = ("mpegts", "mpeg")  # containers that state none; FFmpeg estimates one
HOLE = (2.0, 10)  # seconds, frames: a longer step of a file's times is no slow camera
DEEPEST = 12  # bits a sample of video that is always made to use them all
RATE_PACKETS = 10_000  # looked at for the rate of a file of uneven times
MOST_IN_FLIGHT = 128  # frames that a decoder may still hold at the end of a file


def probe(path: Path) -> VideoInfo:
    """What a file states, after its first picture was decoded.

    Raises: ValueError where it cannot be decoded, or not without a guess.
    """
    if path.stat().st_size == 0:
        raise ValueError("is empty (0 bytes); copy the file again")
    try:
        with _open(path) as container:
            stream = container.streams.video[0]
            frame = next(container.decode(stream))
            fps = _rate(stream, path)
            count = stream.frames or round(_duration_s(container, stream) * fps)
            estimated = container.format.name in NO_LENGTH
    except (FFmpegError, IndexError, StopIteration) as error:
        raise ValueError(
            "cannot be decoded as a video (truncated, no video, or an unknown codec); "
            "convert it to H.264 mp4 or copy it again"
        ) from error
    if not 0 < fps <= 1000:
        raise ValueError(f"states a frame rate of {fps:g}; convert it so that it has one")
    depth = frame.format.components[0].bits
    if depth > DEEPEST:
        # Such files often use 10 or 12 of them, and say nowhere how many.
        raise ValueError(
            f"stores {depth} bits a sample and does not say how many of them are used; write its "
            "frames as 16-bit PNG or TIFF into folders (their depth is found), or convert it to 8 bits"
        )
    size = (frame.width, frame.height)
    return VideoInfo(fps, count, size[::-1] if _quarter_turns(frame) % 2 else size, estimated)


def creation_time(path: Path) -> float | None:
    """Seconds since 1970 at which a file was made, as its header states; None it does not.

    Cameras and recorders state when they began to film.
    """
    with _open(path) as container:
        stated = container.metadata.get("creation_time", "")
    try:
        made = datetime.fromisoformat(stated)
    except ValueError:
        return None
    # Without a zone it is no point in time; a device whose clock was never set says 1904 or 1970.
    return made.timestamp() if made.tzinfo and made.year > 1990 else None


def timed_frames(
    path: Path,
    info: VideoInfo,
    *,
    by_rate: float | None = None,
    may_stand: bool = False,
    reading: Reading | None = None,
) -> Iterator[tuple[float, np.ndarray]]:
    """Decodes a file to its end, with the time of each frame; interlaced frames are deinterlaced.

    Args:
        info: from `probe`; its rate stands for times that a container lacks, its count for the end.
        by_rate: times by this rate alone, whatever the container says.
        may_stand: nothing need move in it; it may be footage of a machine that is stuck.
        reading: filled in on the way.
    Yields: seconds from the first frame, rising; [h, w, 3] uint8 BGR.
    Raises: ValueError naming the file: at once where its times jump or its pictures change size; at
        its end where frames were lost or damaged, where it ends before its stated end, and, unless
        `may_stand`, where all its pictures are the same.
    """
    reading = Reading() if reading is None else reading
    yield from _watched(path, info, _decoded(path, info.fps, reading), by_rate, reading)
    reading.complete = True
    if complaint := complaint_about(path, info, reading, may_stand):
        raise ValueError(f"{path}: {complaint}")


def _watched(
    path: Path,
    info: VideoInfo,
    frames: Iterator[tuple[float | None, av.VideoFrame]],
    by_rate: float | None,
    reading: Reading,
) -> Generator[tuple[float, np.ndarray]]:
    """Pictures of decoded frames, with times from 0 that rise; what is odd goes into `reading`."""
    hangs = Hangs(reading, info.fps)
    previous_s, size = 0.0, ()
    try:
        for stated_s, frame in deinterlaced(frames, reading):
            if not reading.frames:
                reading.start_s = stated_s or 0.0
            # A container without times is taken at its rate.
            time_s = reading.frames / info.fps if stated_s is None else stated_s - reading.start_s
            if reading.frames and not time_s > previous_s:  # one that steps back
                time_s = previous_s + 1 / info.fps
            hole = not by_rate and time_s - previous_s > max(HOLE[0], HOLE[1] / info.fps)
            if hole and not any(
                start_s < time_s <= end_s + 1e-6 for start_s, end_s, _ in reading.lost
            ):
                raise ValueError(
                    f"{path}: its times jump from {previous_s:.2f} to {time_s:.2f} s, and what lies "
                    "between was not filmed; cut the file there, or re-encode it at an even rate "
                    "(`ipad-jax detect --fps RATE` takes its frames without their times)"
                )
            image = picture_of(frame)
            if size and image.shape != size:
                raise ValueError(
                    f"{path}: its pictures change from {size[1]}x{size[0]} to "
                    f"{image.shape[1]}x{image.shape[0]} at {time_s:.2f} s; cut the file there"
                )
            size = image.shape
            if frame.is_corrupt:
                reading.add_corrupt(time_s)
            if (
                reading.uneven_s is None
                and abs(time_s - reading.frames / info.fps) >= 0.5 / info.fps
            ):
                reading.uneven_s = time_s
            hangs.see(time_s, image)
            given_s = reading.frames / by_rate if by_rate else time_s
            reading.frames, reading.end_s, previous_s = reading.frames + 1, time_s, time_s
            yield given_s, image
    finally:
        hangs.close()


def sample(path: Path, info: VideoInfo, places: int, frames: int) -> tuple[int, bool]:
    """Decodes stretches of a long file, spread from its start to its end.

    Returns: how many frames were decoded, and whether they were as they should be; if not, only
        decoding all of it tells what is wrong.
    """
    count, origin_s = 0, 0.0
    for place in range(places):
        start_s = (info.frames - frames) / info.fps * place / (places - 1)
        part = Reading()
        decoded = _watched(path, info, _decoded(path, info.fps, part, start_s), None, part)
        try:
            # The last one goes on to the end.
            for _ in itertools.islice(decoded, None if place == places - 1 else frames):
                pass
        except (ValueError, FFmpegError):
            return count, False
        decoded.close()
        count += part.frames
        origin_s = origin_s if place else part.start_s
        late = part.start_s - origin_s > start_s + 2 / info.fps  # what lies before is lost
        # After a jump the first pictures may refer to what was jumped over.
        corrupt = [time_s for time_s in part.corrupt_s if time_s > 1.0 or not place]
        if late or part.lost or corrupt or part.hung or part.repeats >= part.frames - 1:
            return count, False
    end_s = part.start_s - origin_s + part.end_s + 1 / info.fps
    return count, info.estimated or end_s > info.frames / info.fps * (1 - COUNT_TOLERANCE[1])


def decode(path: Path, info: VideoInfo) -> Iterator[np.ndarray]:
    """The frames of `timed_frames` without their times."""
    return (image for _, image in timed_frames(path, info, by_rate=info.fps))


def recorded_on(path: Path) -> str:
    """The day a file says it was recorded, as YYYY-MM-DD in UTC; "" where it says none."""
    if not path.is_file():
        return ""
    try:
        with _open(path) as container:
            said = container.metadata.get("creation_time", "")
    except FFmpegError:
        return ""
    return said[:10] if re.match(r"\d{4}-\d\d-\d\d", said) else ""


def _open(path: Path) -> av.container.InputContainer:
    """Opens a file for reading; an absolute path, since a name with colons reads as an address."""
    container = av.open(str(path.absolute()), metadata_errors="replace")
    if container.streams.video:
        container.streams.video[0].thread_type = "AUTO"
    return container


def _decoded(
    path: Path, fps: float, reading: Reading, start_s: float = 0.0
) -> Iterator[tuple[float | None, av.VideoFrame]]:
    """Every frame that can be decoded, with the container's time; losses go into `reading`.

    Args: start_s, from the key frame before it on.
    """
    with _open(path) as container:
        stream = container.streams.video[0]
        if start_s > 0:
            container.seek(
                round(start_s / stream.time_base) + (stream.start_time or 0), stream=stream
            )
        losses = Losses(reading, float(stream.time_base or 1), fps)
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except FFmpegError:  # the stated length says what is missing
                break
            if packet is None:
                break
            losses.expect(packet)
            for frame in _decode_packet(stream, packet, losses):
                yield losses.arrived(frame), frame
        losses.arrived(None)


def _decode_packet(stream: Any, packet: av.Packet, losses: Losses) -> Iterator[av.VideoFrame]:
    """Frames that come out with a packet; the last packet is empty and asks for the rest."""
    for _ in range(MOST_IN_FLIGHT if not packet.size else 1):
        try:
            yield from stream.codec_context.decode(packet if packet.size else None)
            return
        except EOFError:
            return
        except FFmpegError:
            losses.failed(packet)


def deinterlaced(
    frames: Iterator[tuple[float | None, av.VideoFrame]], reading: Reading
) -> Iterator[tuple[float | None, av.VideoFrame]]:
    """The same frames, as many and with the same times; those of two fields made one picture.

    From the first interlaced frame on all pass through the filter (bwdif), which looks one frame back
    and ahead and leaves alone what is not interlaced.
    """
    graph, made_for = None, None
    inside: collections.deque[float | None] = collections.deque()
    for time_s, frame in frames:
        reading.interlaced += frame.interlaced_frame
        if graph is None and not frame.interlaced_frame:
            yield time_s, frame
            continue
        shape = (frame.width, frame.height, frame.format.name)
        if graph is None or shape != made_for:
            if graph is not None:
                yield from _pull(graph, inside, end=True)
            graph, made_for = _bwdif(frame), shape
        inside.append(time_s)
        graph.push(frame)
        yield from _pull(graph, inside)
    if graph is not None:
        yield from _pull(graph, inside, end=True)


def _bwdif(frame: av.VideoFrame) -> av.filter.Graph:
    """A graph that deinterlaces frames such as this one."""
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000)
    )
    bwdif = graph.add("bwdif", "mode=send_frame:deint=interlaced")
    sink = graph.add("buffersink")
    source.link_to(bwdif)
    bwdif.link_to(sink)
    graph.configure()
    return graph


def _pull(
    graph: av.filter.Graph, inside: collections.deque[float | None], end: bool = False
) -> Iterator[tuple[float | None, av.VideoFrame]]:
    """What a graph has ready, in order."""
    if end:
        graph.push(None)
    while True:
        try:
            frame = graph.pull()
        except (BlockingIOError, EOFError):
            return
        yield inside.popleft(), frame


def picture_of(frame: av.VideoFrame) -> np.ndarray:
    """[h, w, 3] uint8 BGR, turned as the file's rotation tag says."""
    image = frame.to_ndarray(format="bgr24")
    turns = _quarter_turns(frame)
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _quarter_turns(frame: av.VideoFrame) -> int:
    """Quarter turns to the left that a frame's rotation tag asks for."""
    return round(frame.rotation / 90) % 4


def _rate(stream: Any, path: Path) -> float:
    """Mean rate of a file, holes in its times left out; 0 unknown.

    The container's mean counts them: a hole of a minute makes 25 frames a second 1.6.
    """
    average, guess = float(stream.average_rate or 0), float(stream.guessed_rate or 0)
    if not average or not guess or same_rate(average, guess):
        return average or guess
    with _open(path) as container:
        packets = itertools.islice(container.demux(container.streams.video[0]), RATE_PACKETS)
        times = sorted(packet.pts for packet in packets if packet.pts is not None)
    steps = np.diff(np.array(times, np.int64)) * float(stream.time_base)
    if not len(steps):
        return average
    filmed = steps[steps <= max(HOLE[0], HOLE[1] * float(np.median(steps)))]
    return average if len(filmed) == len(steps) else round(float(len(filmed) / filmed.sum()), 6)


def _duration_s(container: Any, stream: Any) -> float:
    """Length that the container states; 0 unknown."""
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    # Matroska states the time of its end, and may start later than 0.
    start_s = float((stream.start_time or 0) * stream.time_base)
    return max(0.0, (container.duration or 0) / av.time_base - start_s)
