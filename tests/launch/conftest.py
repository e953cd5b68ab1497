"""Stand-ins for the programs that launch scripts call: they record what they were given, and answer."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

LAUNCH = Path(__file__).parents[2] / "launch"

# Bash, for it starts in 3 ms. A call is one record of `calls`: name, folder, arguments; its answer is the
# line of `answers/NAME` with its number (the last line stays): exit status and output.
STAND_IN = r"""#!/bin/bash
name=${{0##*/}}
printf '%s\x1f' "$name" "$PWD" "$@" $'\x1e' >> {folder}/calls
[[ $name == srun ]] && env --null > {folder}/environment
[[ $* == *--filename=-* ]] && cat > {folder}/stdin
[[ -e {folder}/answers/$name ]] || exit 0
mapfile -t answers < {folder}/answers/$name
count=$(( $(cat {folder}/count.$name 2> /dev/null || echo -1) + 1 ))
echo $count > {folder}/count.$name
read -r status output <<< "${{answers[count < ${{#answers[@]}} ? count : ${{#answers[@]}} - 1]}}"
[[ -z $output ]] || echo "$output"
exit "$status"
"""
# sudo does what it is told; gcloud's two commands are done to the folder that stands for every host
SUDO = '#!/bin/bash\nexec "$@"\n'
GCLOUD = """#!/bin/bash
{record} "$@" || exit
case "$4" in
  scp) cp "$5" {host}/ ;;
  ssh) cd {host} && HOME={host} bash -c "${{!##--command=}}" ;;
esac
"""


class Machine:
    """A folder of stand-ins, the only programs besides the system's own that a script finds."""

    def __init__(self, folder: Path):
        self.folder, self.host, self.bin = folder, folder / "host", folder / "bin"
        for path in (self.bin, self.host, folder / "answers"):
            path.mkdir()
        (folder / "calls").touch()

    def answer(self, name: str, *answers: tuple[int, str]) -> None:
        """Sets (exit status, output) of a program's next calls, one after another; the last one stays."""
        lines = [f"{status} {output}\n" for status, output in answers]
        (self.folder / "answers" / name).write_text("".join(lines))
        (self.folder / f"count.{name}").unlink(missing_ok=True)

    def stand_in(self, *names: str) -> None:
        """Puts recording programs in the path."""
        text = STAND_IN.format(folder=shlex.quote(str(self.folder)))
        for name in names:
            self._program(name, text)

    def slurm(self) -> None:
        """A node of Slurm, in a clone whose set-up is done."""
        self.stand_in("srun", "scontrol")
        program = self.folder / ".venv" / "bin" / "ipad-jax"
        program.parent.mkdir(parents=True)
        program.touch(0o755)

    def gcloud(self) -> None:
        """A `gcloud` that copies to `host`, and runs there what it is told to."""
        self.stand_in("gcloud-record", "sleep", "systemctl", "systemd-run", "tail", "python3")
        self._program("sudo", SUDO)
        record = self.bin / "gcloud-record"
        self._program("gcloud", GCLOUD.format(record=record, host=self.host))

    def run(self, script: Path, *args: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Runs a script with these variables and nothing else."""
        return subprocess.run(
            [script, *args],
            env={
                "PATH": f"{self.bin}:{os.defpath}",
                "HOME": str(self.folder),
                "TMPDIR": str(self.folder),
                **environ,
            },
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def calls(self, *names: str) -> list[tuple[str, ...]]:
        """(name, folder, argument, ...) of the calls of the named programs (all, without), in order."""
        records = (self.folder / "calls").read_text().split("\x1f\x1e\x1f")[:-1]
        calls = [tuple(record.split("\x1f")) for record in records]
        return [call for call in calls if not names or call[0] in names]

    def argv(self, *names: str) -> list[list[str]]:
        """The arguments of those calls."""
        return [list(words) for _, _, *words in self.calls(*names)]

    def environment(self) -> dict[str, str]:
        """The variables that the last srun had."""
        entries = (self.folder / "environment").read_text().split("\0")[:-1]
        return dict(entry.split("=", 1) for entry in entries)

    def stdin(self) -> str:
        """What the last `--filename=-` read."""
        return (self.folder / "stdin").read_text()

    def _program(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.fixture
def clone(tmp_path):
    """A small repository with what the scripts read of a clone, committed."""
    folder = tmp_path / "a clone"
    (folder / "launch").mkdir(parents=True)
    for script in LAUNCH.glob("*.sh"):
        (folder / "launch" / script.name).write_bytes(script.read_bytes())
        (folder / "launch" / script.name).chmod(0o755)
    for name in ("Makefile", "requirements.lock"):
        (folder / name).write_bytes((LAUNCH.parent / name).read_bytes())
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "All"]):
        subprocess.run(
            ["git", "-c", "user.name=A", "-c", "user.email=a@b.c", *command], cwd=folder, check=True
        )
    return folder
