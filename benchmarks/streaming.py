"""Streaming of connected digits, whose recipe joins known recordings: WER, and how late words come.

    export_model.py --exp-dir exp/streaming --avg 2 --out exp/streaming/model      (in egs/digits/ASR, after run.sh)
    python3 $RNNT_ROOT/benchmarks/streaming.py --model exp/streaming/model

All utterances of a set are spoken at the same time, in pieces of 0.02 s. The delay of a word is from the end of its
recording to the end of the piece with which it appears complete; computing is not in it, but in the last column. Words
count where the whole utterance is right. `whole` is offline recognition of the same model.
"""

import argparse
import statistics
import time
from pathlib import Path

import jiwer
import numpy as np
from alignment import true_words  # of this folder

from rnnt.data.audio import read_samples
from rnnt.data.manifest import CutManifest
from rnnt.search.config import SearchConfig
from rnnt.streaming.config import StreamConfig
from rnnt.transcription.recognizer import load_recognizer

PIECE = 0.02  # seconds
NEVER = 1e6


def error_rate(pairs: list[tuple[str, str]]) -> float:
    """WER in percent."""
    return 100 * jiwer.wer([ref for ref, _ in pairs], [hyp for _, hyp in pairs])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="model directory")
    parser.add_argument("--manifest", type=Path, default=Path("data/cuts/test.jsonl"))
    parser.add_argument("--corpus", type=Path, default=Path("data/corpus"), help="of the recipe")
    parser.add_argument("--number", type=int, default=300, help="utterances")
    parser.add_argument("--chunks", type=float, nargs="+", default=[0.08, 0.16, 0.32, 0.64], help="seconds")
    parser.add_argument("--method", default="greedy_search")
    args = parser.parse_args()
    recognizer = load_recognizer(args.model, "cpu")
    rate = recognizer.features.sampling_rate
    manifest = CutManifest(args.manifest)
    cuts = [manifest[i] for i in range(min(args.number, len(manifest)))]
    audio = [read_samples(cut, recognizer.features) for cut in cuts]
    texts = [cut.supervisions[0].text for cut in cuts]
    truth = true_words(args.manifest.stem, args.corpus)
    search = SearchConfig(decoding_method=args.method, max_sym_per_frame=1)
    whole = [recognizer.transcribe(samples, rate, search=search).channels[0].text for samples in audio]
    seconds = sum(map(len, audio)) / rate
    print(f"{len(cuts)} utterances, {seconds:.0f} s, {args.method}; delays in ms")
    print(f"{'chunk, s':<9} {'%WER':>6} {'words':>6} {'mean':>6} {'median':>7} {'90 %':>6} {'computing / time':>17}")
    print(f"{'whole':<9} {error_rate(list(zip(texts, whole))):>6.2f}")
    size = round(PIECE * rate)
    for chunk in args.chunks:
        config = StreamConfig(stream_chunk_seconds=chunk, rule1_silence=NEVER, rule2_silence=NEVER, rule3_length=NEVER)
        together = recognizer.streaming(search=search, config=config)
        streams = [together.stream() for _ in cuts]
        appeared: list[list[tuple[str, float]]] = [[] for _ in cuts]  # each word as it is, and since when
        start = time.process_time()
        for begin in range(0, max(map(len, audio)) + size, size):
            for stream, samples in zip(streams, audio):
                if begin < len(samples):
                    stream.put(samples[begin : begin + size], rate)
                elif begin < len(samples) + size:
                    stream.end()
            while together.decode(streams):
                pass
            for stream, words in zip(streams, appeared):
                for i, word in enumerate(stream.text.split()):
                    if i >= len(words) or words[i][0] != word:
                        words[i:] = [(word, begin / rate + PIECE)]
        used = time.process_time() - start
        found = [stream.text for stream in streams]
        delays = [
            1000 * (at - end)
            for cut, text, hyp, words in zip(cuts, texts, found, appeared)
            if hyp == text
            for (_, at), (_, _, end) in zip(words, truth[cut.id])
        ]
        ordered = sorted(delays)
        wer = error_rate(list(zip(texts, found)))
        row = f"{chunk:<9.2f} {wer:>6.2f} {len(delays):>6} {np.mean(delays):>6.0f} {statistics.median(delays):>7.0f}"
        print(f"{row} {ordered[len(ordered) * 9 // 10]:>6.0f} {used / seconds:>17.3f}", flush=True)


if __name__ == "__main__":
    main()
