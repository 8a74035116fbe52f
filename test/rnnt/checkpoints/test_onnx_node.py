"""The npm package of sherpa-onnx runs an exported model in Node, as it does in a browser."""

import json
import shutil
import subprocess

import pytest
import soundfile

from rnnt.checkpoints.onnx import write
from rnnt.transcription.recognizer import Recognizer

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

PROGRAM = """
const sherpa = require('sherpa-onnx');
const [folder, path] = process.argv.slice(2);
const file = name => `${folder}/${name}.onnx`;
const recognizer = sherpa.createOfflineRecognizer({
  featConfig: {sampleRate: 8000, featureDim: 24},
  modelConfig: {
    transducer: {encoder: file('encoder'), decoder: file('decoder'), joiner: file('joiner')},
    tokens: `${folder}/tokens.txt`, modelType: 'transducer', provider: 'cpu', numThreads: 1,
  },
});
const wave = sherpa.readWave(path);
const stream = recognizer.createStream();
stream.acceptWaveform(wave.sampleRate, wave.samples);
recognizer.decode(stream);
console.log(JSON.stringify(recognizer.getResult(stream)));
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A folder with the package."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("no Node")
    folder = tmp_path_factory.mktemp("node")
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "sherpa-onnx"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"npm can't install sherpa-onnx: {done.stderr.strip().splitlines()[-1:]}")
    (folder / "run.js").write_text(PROGRAM)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{"encoder_bidirectional": True}, {"encoder": "conformer", "attention_heads": 2, "predictor": "lstm"}],
    ids=str,
)
def test_node(toy, tmp_path, package, random_model, random_sounds, options):
    model = random_model(toy / "bpe.model", **options)
    write.write_onnx(tmp_path / "m", model, {})
    soundfile.write(tmp_path / "a.wav", random_sounds()[2], 8000, subtype="PCM_16")
    command = ["node", "run.js", str(tmp_path / "m"), str(tmp_path / "a.wav")]
    done = subprocess.run(command, cwd=package, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout.strip().splitlines()[-1])
    ours = Recognizer(model.network, model.features, model.tokenizer)
    wanted = ours.transcribe(tmp_path / "a.wav", max_sym_per_frame=1).text
    assert len(result["tokens"]) > 8
    # Blank and the start token are no text; sherpa-onnx writes the latter's name.
    assert "".join(result["tokens"]).replace("<sos/eos>", "").split() == wanted.split()
