"""The bridge to DVC: a stage runs only if DVC says that it is not up to date, and what it made is committed to DVC.

So after a run `dvc status` is clean and `dvc repro` does nothing, and after `dvc repro` a run does nothing.
Kept small, on files that DVC has had for years (dvc.yaml, dvc.lock, .dvc/cache), so that it can be replaced.
"""

import fcntl
import logging
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from instructue.errors import ConfigError, InstructUEError

T = TypeVar("T")
log = logging.getLogger("instructue.versioning")


class VersioningError(InstructUEError):
    """DVC cannot be used here, or what a stage made cannot be committed to it."""


@dataclass(frozen=True)
class Version:
    """DVC's hashes of a stage's outputs: of each out, and of each file in it, by path relative to the root."""

    stage: str
    outs: dict[str, str]
    files: dict[str, str]
    bytes: int

    @property
    def id(self) -> str:
        """All outs in one string, the same whenever their bytes are the same."""
        return ",".join(self.outs.values())


@dataclass(frozen=True)
class Done(Generic[T]):
    """How a stage came to its version; `result` is what its work returned, None when it was reused."""

    version: Version
    reused: bool
    result: T | None


def run_stage(root: Path, stage: str, work: Callable[[], T], *, force: bool = False) -> Done[T]:
    """Make `stage` up to date: nothing if it is, else do `work` and commit its outputs.

    Raises VersioningError if the stage's parameters, code or inputs were edited while it ran: its outputs
    would then be recorded as made from what they were not made from.
    """
    with _alone(root, stage):
        if not force and is_up_to_date(root, stage):
            return Done(version_of(root, stage), True, None)
        before = _inputs(root, stage)
        result = work()
        after = _inputs(root, stage)
        if edited := sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)):
            raise VersioningError(
                f"{', '.join(edited)} changed while stage {stage!r} ran; its outputs were not recorded. Run it again"
            )
        with _repo(root) as repo:
            repo.commit(stage, force=True)
        return Done(version_of(root, stage), False, result)


def is_up_to_date(root: Path, stage: str) -> bool:
    """Whether nothing that the stage reads has changed since its outputs were recorded, and they are in place."""
    with _repo(root) as repo:
        return not repo.status(targets=[stage])


def stages_up_to_date(root: Path) -> set[str]:
    """All stages of the project that are up to date."""
    with _repo(root) as repo:
        names = {stage.name for stage in repo.index.stages if not stage.is_data_source}
        return names - set(repo.status())


def version_of(root: Path, stage: str) -> Version:
    """The recorded version of a stage's outputs. Raises VersioningError if there is none."""
    outs, files, size = {}, {}, 0
    with _repo(root) as repo:
        for out in repo.stage.load_one(name=stage).outs:
            if not out.hash_info:
                raise VersioningError(f"stage {stage!r} has no recorded output {out.def_path}; run it")
            outs[out.def_path] = out.hash_info.value
            size += out.meta.size or 0
            for key, _, info in out.get_obj() or () if out.hash_info.isdir else ():
                files["/".join((out.def_path, *key))] = info.value
    return Version(stage, outs, outs | files, size)


def _inputs(root: Path, stage: str) -> dict[str, Any]:
    """What DVC would record of everything the stage reads, as it is now."""
    with _repo(root) as repo:
        loaded = repo.stage.load_one(name=stage)
        found = {}
        for dep in loaded.deps:
            try:
                dep.save()
            except Exception as error:  # a path that is not there, a key that params.yaml lacks
                raise VersioningError(f"stage {stage!r} cannot start: {error}") from error
            found[str(dep)] = dep.dumpd()
        return found


@contextmanager
def _repo(root: Path) -> Iterator[Any]:
    """DVC's view of the project, opened anew each time because it remembers what it has read."""
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.repo import Repo
    from dvc.scm import SCMError

    logging.getLogger("dvc").setLevel(logging.WARNING)  # importing it sets it to INFO
    try:
        repo = Repo(str(root), _wait_for_lock=True)
    except NotDvcRepoError:
        raise VersioningError(f"{root} is not a DVC project; run `dvc init` there") from None
    except SCMError as error:
        raise VersioningError(
            f"{root} is not a git repository, which DVC expects ({error}); "
            "run `git init`, or `dvc config core.no_scm true`"
        ) from None
    try:
        with chdir(root):  # DVC looks for a stage's name in the current folder
            yield repo
    except DvcException as error:
        raise VersioningError(f"DVC: {error}") from error
    except ValueError as error:
        raise ConfigError(f"DVC cannot read the project in {root}: {error}") from error
    finally:
        repo.close()


@contextmanager
def _alone(root: Path, stage: str) -> Iterator[None]:
    """One run at a time in a project: a second one waits, then finds the stage up to date. Ends with the process."""
    folder = root / ".dagster"
    folder.mkdir(exist_ok=True)
    with (folder / "run.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("%s: another run is at work in %s; waiting for it", stage, root)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
