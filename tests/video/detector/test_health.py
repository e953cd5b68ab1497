"""Signs of life: what a supervisor reads, and that a full disk or a missing supervisor harms nothing."""

import json
import os
import socket

from ipad_jax.video.detector import health as health_module
from ipad_jax.video.detector.health import Health, tell_systemd


def test_the_file_is_written_when_it_is_time_and_is_always_whole(tmp_path, monkeypatch):
    now = {"s": 100.0}
    monkeypatch.setattr(health_module.time, "monotonic", lambda: now["s"])
    path, asked = tmp_path / "health.json", []
    health = Health(path, lambda: asked.append(now["s"]) or {"state": "watching"})
    for _ in range(101):  # 20 s at 25 frames a second, asked five times a second
        for _ in range(5):
            health.judged()
        health.tick()
        assert json.loads(path.read_text())["pid"] == os.getpid()
        now["s"] += 0.2
    assert len(asked) == 21  # s 0 to 20
    assert json.loads(path.read_text())["frames_per_s"] == 25
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_ends_nothing(tmp_path):
    Health(tmp_path / "none" / "health.json", dict).tick(now=True)
    Health(None, dict).tick(now=True)


def test_systemd_hears_that_it_lives(tmp_path, monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    tell_systemd("READY=1")
    address = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    tell_systemd("READY=1")  # nobody listens
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        Health(None, dict).tick()
        assert systemd.recv(100) == b"WATCHDOG=1"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"\0ipad-jax-{os.getpid()}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@ipad-jax-{os.getpid()}")
        tell_systemd("READY=1")
        assert systemd.recv(100) == b"READY=1"
