"""The files of a scheduler's job: its script, the scheduler's own output, and what tells that it is done.

For the log log/x.JOB.log these are q/x.sh, q/x.log and the folder q/x.state; where the folder of the logs is not called
log, q is inside it.
"""

import contextlib
import os

from launch.command_line import Job, Request
from launch.range_variable import stands_in


class JobFiles:
    """The paths of the files of a request; their folder is made."""

    def __init__(self, request: Request) -> None:
        folder, base = os.path.split(request.log)
        name = request.job_name
        while name and stands_in(folder, name) and name in os.path.basename(folder):
            folder, last = os.path.split(folder)
            base = last + "_" + base
        if base.endswith(".log"):
            base = base[: -len(".log")]
        if name:
            base = base.replace("." + name, "").replace(name, "")
        parent, last = os.path.split(folder)
        stem = os.path.join(parent if last == "log" else folder, "q", base or "job")
        self.script = stem + ".sh"
        self.output = stem + ".log"
        self.state = stem + ".state"
        os.makedirs(os.path.dirname(stem), exist_ok=True)

    def begin(self, jobs: "list[Job]") -> None:
        """Remove what an earlier call left: done files and the logs of these jobs."""
        self.forget()
        os.makedirs(self.state)
        for path in [job.log for job in jobs] + [self.output]:
            folder = os.path.dirname(path)
            if folder:
                os.makedirs(folder, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                os.remove(path)

    def forget(self) -> None:
        """Remove the folder of the state."""
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self.state):
                with contextlib.suppress(FileNotFoundError):
                    os.remove(os.path.join(self.state, name))
            os.rmdir(self.state)

    def write_script(self, text: str) -> None:
        """Write the script atomically: the scheduler sees all of it or nothing."""
        with open(self.script + ".tmp", "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
        os.chmod(self.script + ".tmp", 0o755)
        os.replace(self.script + ".tmp", self.script)

    def same_script(self, text: str) -> bool:
        """Whether the script of the earlier call had this text."""
        with contextlib.suppress(OSError), open(self.script, encoding="utf-8", errors="surrogateescape") as file:
            return file.read() == text
        return False

    def write_identifier(self, identifier: str) -> None:
        """Note the number under which the scheduler knows the job."""
        path = os.path.join(self.state, "id")
        with open(path + ".tmp", "w") as file:
            file.write(identifier + "\n")
        os.replace(path + ".tmp", path)

    def identifier(self) -> "str | None":
        """The number of the job of an earlier call whose end nobody has seen, or None."""
        with contextlib.suppress(OSError), open(os.path.join(self.state, "id")) as file:
            return file.read().strip() or None
        return None

    def done(self) -> "dict[int, int]":
        """`{task: exit status}` of the tasks that have written theirs; the task is 0 where there is no array."""
        found = {}
        with contextlib.suppress(OSError):
            for name in os.listdir(self.state):
                if not name.startswith("done."):
                    continue
                with contextlib.suppress(OSError, ValueError), open(os.path.join(self.state, name)) as file:
                    found[int(name[len("done.") :])] = int(file.read())
        return found

    def refresh(self) -> None:
        """Write into the folder, so that a network file system shows what other machines have put there."""
        with contextlib.suppress(OSError):
            path = os.path.join(self.state, ".look")
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o666))
            os.remove(path)
