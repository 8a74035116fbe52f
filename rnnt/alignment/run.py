"""Aligns sets with their transcripts and writes what was found, the most doubtful first."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from rnnt.alignment.model import Frames, align_batch
from rnnt.alignment.pauses import find_pauses, place_words
from rnnt.alignment.result import AlignedUtterance, ctm_lines, textgrid
from rnnt.alignment.shorter import check_can_cut, write_shorter
from rnnt.checkpoints.averaging import TrainedModel, load_for_decoding
from rnnt.checkpoints.model_dir import read_model_dir
from rnnt.data.config import check_same_features, read_feature_config
from rnnt.data.dataset import Batch, open_batches
from rnnt.data.feature_loader import open_feature_loader
from rnnt.data.sets.config import MixConfig, SetWord
from rnnt.data.sets.opening import open_set
from rnnt.distributed.device import pick_device, set_threads
from rnnt.errors import UserError, counted
from rnnt.files import atomic_folder, atomic_write
from rnnt.progress import progress
from rnnt.search import search
from rnnt.search.config import SearchConfig
from rnnt.search.needs import has_needs
from rnnt.search.result import Hypothesis, Word, words

if TYPE_CHECKING:
    from rnnt.alignment.config import AlignConfig
    from rnnt.checkpoints.config import Selection
    from rnnt.data.sets.config import FetchConfig

GREEDY = {"ctc": "ctc_greedy_search", "transducer": "greedy_search"}


def align_sets(config: AlignConfig, selection: Selection, fetch: FetchConfig) -> None:
    """Align the sets that the options name, write their folders and print a line for each.

    Raises:
        UserError: a set is missing, or the model has not what is to align.
    """
    set_threads(config.threads, processes=1)
    device = pick_device(config.device)
    manifest_dir = Path(config.manifest_dir)
    manifests = {name: open_set(manifest_dir, SetWord(name), MixConfig(), fetch) for name in config.sets}
    if config.cut_seconds:
        for manifest in manifests.values():
            check_can_cut(manifest)
    where = config.model_dir or config.exp_dir
    if config.model_dir:
        trained = read_model_dir(config.model_dir)
    else:
        trained = load_for_decoding(config.exp_dir, selection, manifest_dir, fetch=fetch)
    stored = manifest_dir / "features.json"
    check_same_features(read_feature_config(stored), trained.features, stored, where)
    method = choose_method(trained, config.align_with, where)
    trained.network.to(device)
    for name, manifest in manifests.items():
        loader = open_feature_loader(manifest)
        batches = open_batches(manifest, loader, config.max_duration, trained.tokenizer, config.num_workers)
        found: list[AlignedUtterance] = []
        bar = progress((), total=batches.num_utterances, what=name, unit="utt")
        for batch in batches:
            found += align_loaded(trained, batch, method, device, config.word_edges)
            bar.update(len(batch))
        bar.close()
        folder = Path(config.exp_dir) / f"align_{method}" / name
        write_alignments(folder, sorted(found, key=lambda utterance: utterance.id), config.textgrids)
        if config.cut_seconds:
            write_shorter(folder, manifest, found, trained.features.frame_shift, config.cut_seconds)


def choose_method(trained: TrainedModel, wanted: str, where: str) -> str:
    """`ctc` or `transducer`; `UserError` where the model at `where` has not what is wanted."""
    can = [name for name, head in (("ctc", "ctc"), ("transducer", "")) if has_needs(trained.network, head)]
    if wanted in can or (wanted == "auto" and can):
        return can[0] if wanted == "auto" else wanted
    remedy = f"take --align-with {can[0]}" if can else "train one with ctc in --loss"
    lacks = "transducer" if wanted == "transducer" else "CTC layer"
    raise UserError(f"{where}: the model has no {lacks} to align with; {remedy}")


def align_loaded(
    trained: TrainedModel, batch: Batch, method: str, device: torch.device, word_edges: str = "pauses"
) -> Iterator[AlignedUtterance]:
    """Align a batch.

    Args:
        trained: the model, on `device`.
        batch: loaded with its tokenizer.
        method: see `choose_method`.
        device: where to compute.
        word_edges: see `AlignConfig`.
    """
    network, tokens = trained.network, trained.tokenizer.tokens
    seconds_per_frame = trained.features.frame_shift * network.subsampling_factor
    y_BS, y_len_B = batch.targets()
    with torch.inference_mode():
        h_BTD, h_len_B = network.encode(batch.x_BTF.to(device), batch.x_len_B)
    best = align_batch(network, Frames(h_BTD, h_len_B, y_BS, y_len_B), method)
    heard = search(network, h_BTD, h_len_B, SearchConfig(decoding_method=GREEDY[method]))
    for i, (path, (free, *_)) in enumerate(zip(best, heard)):
        key, seconds = batch.ids[i], batch.durations[i]
        score = path.score if path else -torch.inf
        placed = words(path, tokens, seconds_per_frame) if path else []
        if word_edges == "pauses":
            x_TF = batch.x_BTF[i, : batch.x_len_B[i]].numpy()
            pauses = find_pauses(x_TF, trained.features.frame_shift)
            placed = place_words(placed, pauses, seconds)
        yield AlignedUtterance(
            id=key,
            speaker=batch.speakers[i] if batch.speakers[i] != key else None,
            seconds=seconds,
            audio=batch.audio[i],
            text=batch.texts[i],
            heard=trained.tokenizer.decode(free.tokens),
            score=score,
            misfit=(free.score - score) / max(seconds, seconds_per_frame),
            words=placed,
            tokens=placed_tokens(path, tokens, seconds_per_frame) if path else (),
        )


def placed_tokens(path: Hypothesis, tokens: Sequence[str], seconds_per_frame: float) -> list[Word]:
    """The tokens of a path, as `words` gives its words."""
    columns = zip(path.tokens, path.frames, path.durations, path.confidences)
    return [
        Word(tokens[token], frame * seconds_per_frame, (frame + lasts) * seconds_per_frame, confidence)
        for token, frame, lasts, confidence in columns
    ]


def write_alignments(folder: Path, utterances: Sequence[AlignedUtterance], textgrids: bool) -> None:
    """Write words.ctm, tokens.ctm, alignments.jsonl, doubtful.tsv and perhaps textgrids/ of a set; print a line."""
    for name in ("words", "tokens"):
        with atomic_write(folder / f"{name}.ctm") as file:
            file.writelines(f"{line}\n" for u in utterances for line in ctm_lines(u.id, getattr(u, name)))
    with atomic_write(folder / "alignments.jsonl") as file:
        file.writelines(json.dumps(u.as_json(), ensure_ascii=False) + "\n" for u in utterances)
    with atomic_write(folder / "doubtful.tsv") as file:
        file.writelines("\t".join(row) + "\n" for row in doubtful_rows(utterances))
    if textgrids:
        with atomic_folder(folder / "textgrids") as temporary:
            for path, utterance in zip(file_names(utterances), utterances):
                (temporary / path).write_text(textgrid(utterance), encoding="utf-8")
    failed = [u for u in utterances if u.score == -torch.inf]
    total = sum(len(u.words) for u in utterances)
    print(f"{folder}: {counted(len(utterances), 'utterance')}, {counted(total, 'word')} aligned", flush=True)
    if failed:
        print(
            f"{folder}: {counted(len(failed), 'utterance')} with more tokens than frames allow not aligned, such as "
            f"{failed[0].id}",
            flush=True,
        )


def file_names(utterances: Sequence[AlignedUtterance]) -> list[str]:
    """A name of a file for each utterance, by its id; characters that are no good in names become `_`."""
    names = [re.sub(r"[^\w.-]", "_", utterance.id).lstrip(".") for utterance in utterances]
    twice = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    return [f"{n}-{i}.TextGrid" if n in twice else f"{n}.TextGrid" for i, n in enumerate(names)]


def doubtful_rows(utterances: Sequence[AlignedUtterance]) -> Iterator[list[str]]:
    """Rows of what may be wrong in transcripts, worst utterance first; the first row names the columns.

    The order is by misfit; of each utterance the word of least confidence is shown.
    """
    yield ["misfit", "id", "worst_word", "start", "confidence", "text", "heard", "audio"]
    for u in sorted(utterances, key=lambda u: (-u.misfit, u.id)):
        word = min(u.words, key=lambda w: w.confidence, default=None)
        about = [word.word, f"{word.start:.2f}", f"{word.confidence:.4f}"] if word else ["", "", ""]
        yield [f"{u.misfit:.3f}", u.id, *about, u.text, u.heard, " ".join(u.audio)]
