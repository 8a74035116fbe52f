"""Computes and stores the features of a set of cuts: in parallel, resumable, whole or absent.

A set is cut into chunks. Each has one lilcom-chunked archive and one list of finished cuts, which is written last: a
chunk with a list is whole, and a run that was stopped goes on after it. When all are there, the folder gets its final
name and the manifest is written.
"""

import contextlib
import gzip
import json
import multiprocessing
import shutil
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import torch

from rnnt.data.audio import problem_of, read_samples, source_of
from rnnt.data.config import FeatureConfig
from rnnt.data.features import make_extractor
from rnnt.data.loading import compute_features, seed_of
from rnnt.errors import UserError
from rnnt.files import atomic_folder, atomic_path, atomic_write, read_json, write_json
from rnnt.options import to_dict
from rnnt.progress import progress

CHUNK_CUTS = 500


@dataclass(frozen=True)
class Job:
    """One chunk: what a worker process needs to know."""

    number: int
    cuts: list
    config: FeatureConfig
    library: str
    folder: Path  # where to write
    final_folder: Path  # the name of the folder at the end, as stored in the manifest


def extract_set(cuts, out_manifest, config, inputs, library="auto", num_jobs=1):
    """Compute the features of `cuts` and write `out_manifest` (.jsonl.gz) and the folder of the same name beside it.

    Args:
      cuts: list of lhotse cuts with recordings at the sampling rate of `config`.
      out_manifest: `DIR/<set>.jsonl.gz`; the archives go to `DIR/<set>/`.
      config: `FeatureConfig`.
      inputs: JSON value that describes the input; finished chunks of another input are not used.
      library: `auto`, `kaldifeat` or `lhotse`.
      num_jobs: worker processes, each with one thread.

    Returns `[(cut id, problem)]` of the cuts that could not be read and are left out.
    Raises `UserError` when none could be read, or a worker died.
    """
    out_manifest = Path(out_manifest)
    final_folder = _folder_of(out_manifest)
    folder = final_folder.with_name(f".{final_folder.name}.part")
    _open_part_folder(folder, inputs)
    jobs = [
        Job(number, cuts[start : start + CHUNK_CUTS], config, library, folder, final_folder)
        for number, start in enumerate(range(0, len(cuts), CHUNK_CUTS))
    ]
    bar = progress(None, total=len(cuts), what=final_folder.name, unit="utt")
    for job in _run(jobs, num_jobs):
        bar.update(len(job.cuts))
    bar.close()
    return _assemble(jobs, out_manifest, folder, final_folder)


def _run(jobs, num_jobs):
    """Run the unfinished jobs; yield each job when it is done, the finished ones first."""
    todo = [job for job in jobs if not _list_path(job).is_file()]
    yield from (job for job in jobs if job not in todo)
    if num_jobs <= 1 or len(todo) <= 1:
        for job in todo:
            run_job(job)
            yield job
        return
    # Not fork: torch and its threads don't survive it.
    context = multiprocessing.get_context("spawn")
    workers = min(num_jobs, len(todo))
    with ProcessPoolExecutor(workers, mp_context=context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            futures = {pool.submit(run_job, job): job for job in todo}
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        except BrokenProcessPool:
            raise UserError(
                f"{todo[0].final_folder}: a worker process died (out of memory?); start again with a smaller --nj, "
                "what is done is kept"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def run_job(job):
    """Compute one chunk in this process."""
    from lhotse import LilcomChunkyWriter

    extractor = make_extractor(job.config, job.library)
    name = f"feats-{job.number:05d}.lca"
    done, skipped = [], []
    with LilcomChunkyWriter(job.folder / name) as writer:
        for cut in job.cuts:
            try:
                samples = read_samples(cut, job.config)
            except Exception as error:  # lhotse and its audio backends raise many kinds
                skipped.append((cut.id, f"{source_of(cut)}: {problem_of(error)}"))
                continue
            x_TF = compute_features(extractor, samples, seed_of(cut))
            done.append(_with_features(cut, x_TF, writer, job.final_folder / name, job.config).to_dict())
    write_json(job.folder / f"skipped-{job.number:05d}.json", skipped)
    with atomic_write(_list_path(job)) as file:
        file.writelines(json.dumps(cut, ensure_ascii=False) + "\n" for cut in done)


def _with_features(cut, x_TF, writer, path, config):
    from lhotse import Features
    from lhotse.utils import fastcopy

    features = Features(
        type="kaldi-fbank",
        num_frames=x_TF.shape[0],
        num_features=x_TF.shape[1],
        frame_shift=config.frame_shift,
        sampling_rate=config.sampling_rate,
        start=cut.start,
        duration=cut.duration,
        storage_type=writer.name,
        storage_path=str(path),
        storage_key=writer.write(cut.id, x_TF),
        recording_id=cut.recording_id,
        channels=cut.channel,
    )
    return fastcopy(cut, features=features)


def _list_path(job):
    return job.folder / f"cuts-{job.number:05d}.jsonl"


def _open_part_folder(folder, inputs):
    """Make the folder of the unfinished set, or empty it when it belongs to another input."""
    stamp = folder / "inputs.json"
    if folder.exists() and not (stamp.is_file() and read_json(stamp) == inputs):
        shutil.rmtree(folder)
    if not folder.exists():
        folder.mkdir(parents=True)
        write_json(stamp, inputs)


def _assemble(jobs, out_manifest, folder, final_folder):
    """Give the folder its final name, write the manifest; return what was skipped."""
    skipped = [tuple(item) for job in jobs for item in read_json(folder / f"skipped-{job.number:05d}.json")]
    if len(skipped) == sum(len(job.cuts) for job in jobs):
        example = f", such as {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
        raise UserError(
            f"{final_folder}: no utterance of the set can be read{example}; look at its manifests (stage 1)"
        )
    with _manifest_writer(out_manifest) as file:
        for job in jobs:
            file.write(_list_path(job).read_bytes())
        out_manifest.unlink(missing_ok=True)
        if final_folder.exists():
            shutil.rmtree(final_folder)
        write_json(folder / "skipped.json", skipped)
        folder.rename(final_folder)
    for path in (*final_folder.glob("cuts-*.jsonl"), *final_folder.glob("skipped-*.json")):
        path.unlink()
    return skipped


def read_skipped(folder):
    """`[(cut id, problem)]` of what was left out of the set with this folder."""
    path = Path(folder) / "skipped.json"
    return [tuple(item) for item in read_json(path)] if path.is_file() else []


def write_without_features(cuts, out_manifest, inputs):
    """Write `out_manifest` alone, and `inputs` where `is_finished` looks for it: features are computed when needed."""
    out_manifest = Path(out_manifest)
    with atomic_folder(_folder_of(out_manifest)) as folder, _manifest_writer(out_manifest) as file:
        write_json(folder / "inputs.json", inputs)
        for cut in cuts:
            file.write((json.dumps(cut.to_dict(), ensure_ascii=False) + "\n").encode())


def _folder_of(out_manifest):
    return out_manifest.with_name(out_manifest.name.removesuffix(".jsonl.gz"))


@contextlib.contextmanager
def _manifest_writer(path):
    """A compressed file that becomes `path` when the block ends well."""
    # No name and no time in the header: the same cuts give the same file.
    with (
        atomic_path(path) as temporary,
        open(temporary, "wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file,
    ):
        yield file


def is_finished(out_manifest, inputs):
    """Whether the set of `out_manifest` was finished with the same `inputs`."""
    out_manifest = Path(out_manifest)
    stamp = _folder_of(out_manifest) / "inputs.json"
    return out_manifest.is_file() and stamp.is_file() and read_json(stamp) == inputs


def stored_inputs(folder):
    """`{set: inputs}` of the finished sets in `folder`."""
    return {path.parent.name: read_json(path) for path in Path(folder).glob("[!.]*/inputs.json")}


def features_inputs(config, library, manifests):
    """The description of the input of a set, plain JSON: features, library, and size and time of its manifests."""
    files = {str(path): [path.stat().st_size, path.stat().st_mtime_ns] for path in map(Path, manifests)}
    return {"features": to_dict(config), "library": library, "manifests": files, "chunk": CHUNK_CUTS}
