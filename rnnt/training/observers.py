"""What a run tells to those who watch it, such as the log of a benchmark.

    class Printer(Observer):
        def eval_end(self, epoch, result):
            print(epoch, result.wer)

    Trainer(..., observers=[Printer()]).run()

The main process (rank 0) alone calls its observers, in the order in which they were given. They look and don't touch:
training goes on as it would without them.
"""


class Observer:
    """Base of all observers: does nothing."""

    def run_start(self, trainer):
        """Before the first update, with the model in place and the checkpoint read; `trainer` is the `Trainer`."""

    def epoch_start(self, epoch):
        """Before the first update of an epoch (counted from 1), or of the rest of one that is continued."""

    def epoch_end(self, epoch):
        """After the last update of an epoch, with its checkpoint written."""

    def eval_start(self, epoch):
        """Before the dev set is decoded."""

    def eval_end(self, epoch, result):
        """After that; `result` is a `DevResult` with the WER in percent."""

    def run_end(self, success):
        """At the end, also of a run that an error ended.

        `success`: the WER of --stop-at-wer was reached; without that option, all epochs (or --max-updates) are done.
        """
