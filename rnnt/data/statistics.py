"""Mean and standard deviation of features, and percentiles and histogram of durations."""

import numpy as np

# A filter that holds no spectral line is constant; without a floor, normalisation would divide by zero.
STD_FLOOR = 0.01
PERCENTILES = (0, 1, 5, 25, 50, 75, 95, 99, 100)


class FeatureStatistics:
    """Mean and standard deviation of each bin over all frames, in one pass."""

    def __init__(self):
        self.frames = 0
        self._shift_F = None
        self._sum_F = self._squares_F = 0.0

    def add(self, x_TF):
        """Add the frames of one utterance, (T, F)."""
        if self._shift_F is None:
            self._shift_F = np.asarray(x_TF, dtype=np.float64).mean(axis=0)
        # Shifted by about the mean: the difference of two large sums would lose digits.
        centred_TF = np.asarray(x_TF, dtype=np.float64) - self._shift_F
        self.frames += len(centred_TF)
        self._sum_F = self._sum_F + centred_TF.sum(axis=0)
        self._squares_F = self._squares_F + np.square(centred_TF).sum(axis=0)

    def to_dict(self):
        """`{"mean": [F], "std": [F], "frames": N}`, std at least `STD_FLOOR`. Raises ValueError without frames."""
        if not self.frames:
            raise ValueError("no frames were added")
        offset_F = self._sum_F / self.frames
        variance_F = np.maximum(self._squares_F / self.frames - np.square(offset_F), 0)
        std_F = np.maximum(np.sqrt(variance_F), STD_FLOOR)
        return {"mean": (self._shift_F + offset_F).tolist(), "std": std_F.tolist(), "frames": self.frames}


def duration_table(durations):
    """Lines of text with utterances, hours and percentiles. `durations`: {set: [seconds]}."""
    width = max([len(name) for name in durations] + [3])
    head = " ".join(f"{f'{p}%':>7}" for p in PERCENTILES)
    lines = [
        f"{'set':<{width}} {'utts':>8} {'hours':>8}   duration in seconds, percentiles",
        f"{'':<{width + 18}} {head}",
    ]
    for name, seconds in durations.items():
        values = np.percentile(seconds, PERCENTILES) if len(seconds) else [float("nan")] * len(PERCENTILES)
        numbers = " ".join(f"{value:7.2f}" for value in values)
        lines.append(f"{name:<{width}} {len(seconds):8d} {sum(seconds) / 3600:8.2f} {numbers}")
    return lines


def plot_durations(durations, path):
    """Write a histogram of the durations of each set as PNG. `durations`: {set: [seconds]}."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    durations = {name: seconds for name, seconds in durations.items() if len(seconds)}
    figure = Figure(figsize=(7, 1.8 * max(len(durations), 1)), layout="constrained")
    FigureCanvasAgg(figure)
    longest = max((max(seconds) for seconds in durations.values()), default=1.0)
    axes = figure.subplots(max(len(durations), 1), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (name, seconds) in zip(axes, durations.items()):
        axis.hist(seconds, bins=50, range=(0, longest))
        axis.set_ylabel("utterances")
        axis.set_title(f"{name}: {len(seconds)} utterances", fontsize="medium")
    axes[-1].set_xlabel("duration in seconds")
    figure.savefig(path, format="png", dpi=100)
