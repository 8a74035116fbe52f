"""Small models of random weights that can stream, and sound for them."""

import asyncio
import threading

import numpy as np
import pytest
import torch

from rnnt.data.config import FeatureConfig
from rnnt.model.config import ModelConfig
from rnnt.model.transducer import Transducer
from rnnt.options import make
from rnnt.streaming.config import ServerConfig, StreamConfig
from rnnt.streaming.server import Server
from rnnt.text.tokenizer import Tokenizer
from rnnt.transcription.recognizer import Recognizer

RATE = 8000


@pytest.fixture
def make_recognizer(toy):
    """make_recognizer(sizes, bias of blank) -> a `Recognizer` of a random model for 8 kHz."""

    def make_one(sizes, bias=1.5):
        torch.manual_seed(2)
        tokenizer = Tokenizer.load(toy / "bpe.model")
        features = FeatureConfig(sampling_rate=RATE, num_mel_bins=20)
        network = Transducer(
            make(ModelConfig, predictor_dim=8, joiner_dim=8, num_features=20, vocab_size=tokenizer.vocab_size, **sizes)
        )
        network.set_feature_statistics([-8.0] * 20, [3.0] * 20)
        with torch.no_grad():
            for parameter in (*network.joiner.parameters(), *network.predictor.parameters()):
                parameter.mul_(4)
            network.joiner.output.bias[0] += bias
        return Recognizer(network, features, tokenizer)

    return make_one


@pytest.fixture
def sound():
    """sound(seconds, seed) -> noise whose loudness changes, so that tokens come and go."""

    def make_sound(seconds, seed=0):
        generator = np.random.default_rng(seed)
        loud = np.repeat(generator.uniform(-6, 0, int(seconds * 10) + 1), RATE // 10)[: int(seconds * RATE)]
        return (generator.standard_normal(len(loud)) * 10**loud).astype(np.float32) * 0.1

    return make_sound


LSTM = {"encoder": "lstm", "encoder_dim": 16, "encoder_layers": 2, "subsampling_channels": 4}
LIMITS = {"model": "m", "port": 0, "sampling_rate": 8000, "idle_seconds": 3.0, "max_connections": 6, "max_seconds": 8.0}


@pytest.fixture
def lstm(make_recognizer):
    """A `Recognizer` of an LSTM."""
    return make_recognizer(LSTM)


@pytest.fixture
def server(lstm, request):
    """A `Server` that listens in a thread of its own, with `LIMITS`, which an indirect parameter changes."""
    config = StreamConfig(tail_seconds=0.0, rule1_silence=60.0, rule2_silence=60.0, rule3_length=60.0)
    limits = make(ServerConfig, **{**LIMITS, **getattr(request, "param", {})})
    found = {}

    def run():
        async def main():
            found["loop"] = asyncio.get_running_loop()
            found["server"] = server = Server(lstm.streaming(config=config), limits)
            await server.run()

        asyncio.run(main())

    thread = threading.Thread(target=run)
    thread.start()
    while "server" not in found or not found["server"].ready.wait(0.01):
        pass
    yield found["server"]
    found["loop"].call_soon_threadsafe(found["server"].stop)
    thread.join(20)
    assert not thread.is_alive()


@pytest.fixture
def served(lstm, server):
    """(recognizer, address) of a server."""
    return lstm, f"127.0.0.1:{server.port}"
