"""Qwen2.5-VL, as a tiny model with random weights: the features equal those of a direct call of transformers."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the vlm extra: pip install 'flowseg[vlm]'")
transformers = pytest.importorskip("transformers", reason="needs the vlm extra: pip install 'flowseg[vlm]'")

from encoders import run, write_images  # noqa: E402
from PIL import Image  # noqa: E402
from refusals import refusal  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from tiny_qwen import TEMPLATE, make_tiny_qwen  # noqa: E402

from flowseg.embeddings.checkpoints import find_checkpoint  # noqa: E402
from flowseg.embeddings.images import LoadedImage, find_images, load_images  # noqa: E402
from flowseg.embeddings.merge import merge  # noqa: E402
from flowseg.embeddings.questions import ENTRIES, QUESTIONS  # noqa: E402
from flowseg.embeddings.qwen import PROMPT, Qwen  # noqa: E402
from flowseg.embeddings.store import EmbeddingStore  # noqa: E402

pytestmark = pytest.mark.torch
SIZES = ((64, 64), (90, 130), (56, 150))
FEATURES = ("image", "prompt", "answers")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_qwen(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images") / "data", 5, sizes=SIZES)


@pytest.fixture(scope="module")
def images(data: Path) -> list[LoadedImage]:
    loaded = [image for _, image in load_images(find_images(data).items())]
    return [image for image in loaded if isinstance(image, LoadedImage)]


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    """A copy of the model that a test may damage."""
    return Path(shutil.copytree(model, tmp_path / "model"))


class Direct:
    """Calls transformers as documented: with its own processor, without a cache, one answer at a time."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessorPil
        from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor
        from transformers.processing_utils import ProcessorMixin

        # The processor requires a video processor, which needs torchvision.
        monkeypatch.setattr(ProcessorMixin, "check_argument_for_proper_class", lambda *args: None)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        pictures = Qwen2VLImageProcessorPil.from_pretrained(folder)
        self.processor = Qwen2_5_VLProcessor(pictures, tokenizer, None, chat_template=TEMPLATE)
        self.model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()

    def inputs(self, image: LoadedImage, text: str, answer: str = "") -> Any:
        content = [{"type": "image"}, {"type": "text", "text": text}]
        turn = self.processor.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        picture = Image.fromarray(np.stack([image.grey] * 3, axis=-1))
        return self.processor(images=[picture], text=[turn + answer], return_tensors="pt")

    @torch.no_grad()
    def image(self, image: LoadedImage) -> np.ndarray:
        inputs = self.inputs(image, "")
        features = self.model.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"])
        return np.asarray(features.pooler_output[0].mean(dim=0))

    @torch.no_grad()
    def prompt(self, image: LoadedImage, prompt: str = PROMPT) -> np.ndarray:
        return np.asarray(self.model.model(**self.inputs(image, prompt)).last_hidden_state[0, -1])

    @torch.no_grad()
    def answers(self, image: LoadedImage) -> np.ndarray:
        vectors = []
        for question in QUESTIONS:
            start = self.inputs(image, question.text)["input_ids"].shape[1]
            scores = []
            for answer in question.answers:
                inputs = self.inputs(image, question.text, answer)
                likely = self.model(**inputs).logits[0].log_softmax(dim=-1)
                ids = inputs["input_ids"][0]
                assert len(ids) == start + len(answer)  # the tokens of the tiny tokenizer are bytes
                scores.append(sum(likely[i - 1, ids[i]] for i in range(start, len(ids))))
            vectors.append(torch.stack(scores).softmax(dim=0))
        return np.asarray(torch.cat(vectors))


@pytest.mark.filterwarnings("error::FutureWarning")  # an argument that goes may be ignored one day, not refused
@pytest.mark.parametrize("features", FEATURES)
def test_features_are_those_of_a_direct_call(
    model: Path, images: list[LoadedImage], monkeypatch: pytest.MonkeyPatch, features: Any
) -> None:
    direct = getattr(Direct(model, monkeypatch), features)
    encoding = Qwen(str(model), features, device="cpu")
    for image in images[:3]:
        (vector,) = encoding.encode([image])
        assert vector.dtype == np.float32 and vector.shape == (encoding.encoder.width,)
        np.testing.assert_allclose(vector, direct(image), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("features", FEATURES)
def test_a_batch_gives_what_single_images_give(model: Path, images: list[LoadedImage], features: Any) -> None:
    encoding = Qwen(str(model), features, batch=5, device="cpu")
    batch = encoding.encode(images)
    single = np.concatenate([encoding.encode([image]) for image in images])
    np.testing.assert_allclose(batch, single, rtol=1e-4, atol=1e-5)
    assert np.ptp(single, axis=0).max() > 1e-3  # and they are not all the same


def test_the_prompt_counts(model: Path, images: list[LoadedImage], monkeypatch: pytest.MonkeyPatch) -> None:
    encoding = Qwen(str(model), "prompt", "Count the vessels; 3 ü?", device="cpu")
    expected = Direct(model, monkeypatch).prompt(images[0], "Count the vessels; 3 ü?")
    np.testing.assert_allclose(encoding.encode(images[:1])[0], expected, rtol=2e-4, atol=2e-5)
    assert np.abs(Qwen(str(model), "prompt", device="cpu").encode(images[:1])[0] - expected).max() > 1e-3
    assert encoding.encoder.settings["prompt"] == "Count the vessels; 3 ü?"


def test_answers_are_probabilities_with_names(model: Path, images: list[LoadedImage]) -> None:
    encoding = Qwen(str(model), "answers", device="cpu")
    vectors = encoding.encode(images)
    names = encoding.encoder.settings["entries"]
    assert names == list(ENTRIES) and encoding.encoder.width == len(names) == vectors.shape[1]
    for question in QUESTIONS:
        columns = [i for i, name in enumerate(names) if name.startswith(f"{question.name}=")]
        assert [names[i].split("=")[1] for i in columns] == list(question.answers)
        np.testing.assert_allclose(vectors[:, columns].sum(axis=1), 1, rtol=1e-5)
    assert (vectors > 0).all()


def test_the_tower_alone_is_the_model_s_in_half_precision_too(model: Path, images: list[LoadedImage]) -> None:
    alone = Qwen(str(model), "image", device="cpu", dtype="bfloat16")
    whole = Qwen(str(model), "prompt", device="cpu", dtype="bfloat16")
    whole._features = "image"
    np.testing.assert_array_equal(alone.encode(images[:2]), whole.encode(images[:2]))
    assert alone.encoder.settings["dtype"] == "bfloat16"
    exact = Qwen(str(model), "image", device="cpu").encode(images[:2])
    assert 0 < np.abs(alone.encode(images[:2]) - exact).max() < 0.05 * np.abs(exact).max()


def _same_vectors(one: Path, other: Path, images: list[LoadedImage]) -> None:
    for features in FEATURES:
        vectors = [Qwen(str(folder), features, device="cpu").encode(images[:2]) for folder in (one, other)]  # type: ignore[arg-type]
        np.testing.assert_array_equal(*vectors)


def test_both_names_of_the_weights_are_read(model: Path, copy: Path, images: list[LoadedImage]) -> None:
    weights = load_file(copy / "model.safetensors")
    assert {name.split(".")[0] for name in weights} == {"model", "visual"}

    def newer(name: str) -> str:
        return f"model.{name}" if name.startswith("visual.") else name.replace("model.", "model.language_model.", 1)

    save_file({newer(name): tensor for name, tensor in weights.items()}, copy / "model.safetensors", {"format": "pt"})
    _same_vectors(model, copy, images)


def test_files_as_the_hub_has_them_are_read(model: Path, copy: Path, images: list[LoadedImage]) -> None:
    """In the published files the config is flat, the weights are split, and sizes are min_pixels and max_pixels."""
    config = json.loads((copy / "config.json").read_text())
    text, vision = config.pop("text_config"), config["vision_config"]
    rope = text.pop("rope_parameters")
    text |= {
        "rope_theta": rope["rope_theta"],
        "rope_scaling": {"type": "mrope", "mrope_section": rope["mrope_section"]},
    }
    for name in ("model_type", "layer_types"):
        text.pop(name)
    for name in ("model_type", "rope_parameters", "in_channels"):
        vision.pop(name)
    vision |= {"in_chans": 3, "spatial_patch_size": 14}
    (copy / "config.json").write_text(json.dumps({**text, **config, "torch_dtype": "bfloat16"}))

    sizes = json.loads((copy / "preprocessor_config.json").read_text())
    size = sizes.pop("size")
    sizes |= {"min_pixels": size["shortest_edge"], "max_pixels": size["longest_edge"]}
    (copy / "preprocessor_config.json").write_text(json.dumps(sizes))

    weights = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    names, index = sorted(weights), {}
    for number, part in enumerate((names[:20], names[20:]), 1):
        file = f"model-{number:05d}-of-00002.safetensors"
        save_file({name: weights[name] for name in part}, copy / file, {"format": "pt"})
        index |= dict.fromkeys(part, file)
    (copy / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    _same_vectors(model, copy, images)


def test_a_template_in_a_file_of_its_own_is_used(model: Path, copy: Path, images: list[LoadedImage]) -> None:
    (copy / "chat_template.jinja").unlink()
    assert "no chat template" in refusal(lambda: Qwen(str(copy), "prompt", device="cpu"))
    (copy / "chat_template.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    expected = Qwen(str(model), "prompt", device="cpu").encode(images[:1])
    np.testing.assert_array_equal(Qwen(str(copy), "prompt", device="cpu").encode(images[:1]), expected)


@pytest.mark.parametrize("features", FEATURES)
def test_a_stopped_run_goes_on_without_computing_again(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, features: Any
) -> None:
    run(data, Qwen(str(model), features, device="cpu"), tmp_path / "whole")
    encode, calls = Qwen.encode, []

    def counted(self: Qwen, images: Any) -> Any:
        if len(calls) == 3:
            calls.append("stop")
            raise KeyboardInterrupt
        calls.extend(image.path.stem for image in images)
        return encode(self, images)

    monkeypatch.setattr(Qwen, "encode", counted)
    with pytest.raises(KeyboardInterrupt):
        run(data, Qwen(str(model), features, device="cpu"), tmp_path / "store")
    made = run(data, Qwen(str(model), features, device="cpu"), tmp_path / "store")
    assert made.reused == 3 and calls == ["a00", "a01", "a02", "stop", "a03", "a04"]
    assert (tmp_path / "store").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("features", FEATURES)
def test_merged_shards_are_the_whole_to_the_last_bit(model: Path, data: Path, tmp_path: Path, features: Any) -> None:
    encoding = Qwen(str(model), features, device="cpu")
    run(data, encoding, tmp_path / "whole")
    for i in (1, 2):
        run(data, encoding, tmp_path / f"part{i}", i, 2)
    merge([tmp_path / "part2", tmp_path / "part1"], tmp_path / "merged")
    assert (tmp_path / "merged").read_bytes() == (tmp_path / "whole").read_bytes()


def test_the_command_records_what_made_the_vectors(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flowseg import cli

    command = ["embed", data, "--encoder", "qwen2.5-vl", "--model", model, "--batch", 2, "--out", tmp_path / "store"]
    monkeypatch.setattr(sys, "argv", ["flowseg", *map(str, command)])
    monkeypatch.setenv("FLOWSEG_CACHE", str(tmp_path / "cache"))
    cli.main()
    store = EmbeddingStore(tmp_path / "store")
    assert len(store) == 5 and store.encoder.name == "qwen2.5-vl"
    settings = dict(store.encoder.settings)
    assert settings.pop("revision") == find_checkpoint(str(model)).revision
    assert settings.pop("dtype") == ("bfloat16" if torch.cuda.is_available() else "float32")
    assert settings == {"model": "local folder", "features": "image", "transformers": transformers.__version__}


def test_the_revision_is_the_content_of_the_model_s_files(model: Path, copy: Path) -> None:
    original = find_checkpoint(str(model)).revision
    (copy / "README.md").write_text("words")
    assert find_checkpoint(str(copy)).revision == original
    with (copy / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    assert find_checkpoint(str(copy)).revision != original


def test_a_model_in_the_hub_s_cache_is_found_by_name(model: Path, tmp_path: Path, monkeypatch: Any) -> None:
    import huggingface_hub

    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--Owner--Tiny"
    shutil.copytree(model, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("Owner/Tiny", str(repository / "snapshots" / commit)):
        found = find_checkpoint(name)
        assert (found.name, found.revision) == ("Owner/Tiny", commit)
    message = refusal(lambda: find_checkpoint("Owner/Other"))
    assert "get it with: hf download Owner/Other" in message
    (repository / "snapshots" / commit / "model.safetensors").unlink()
    assert "get them with: hf download Owner/Tiny" in refusal(lambda: find_checkpoint("Owner/Tiny"))


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"not read")


def _missing_shard(folder: Path) -> None:
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    (folder / "model.safetensors").rename(folder / names[0])
    index = {"weight_map": {"a": names[0], "b": names[1]}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _other_type(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "qwen2_vl"}))


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _broken_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def _cut_short(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _tensor_gone(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights.pop(next(name for name in weights if "visual" in name and "qkv.weight" in name))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def _no_processor(folder: Path) -> None:
    for name in ("preprocessor_config.json", "processor_config.json"):
        (folder / name).unlink(missing_ok=True)


@pytest.mark.parametrize("features", ["image", "prompt"])
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_no_weights, "has no weights (model.safetensors"),
        (_missing_shard, "1 of 2 weight files are missing (model-00002-of-00002.safetensors)"),
        (_other_type, "is a qwen2_vl model, not qwen2_5_vl"),
        (_no_config, "has no config.json"),
        (_broken_config, "config.json: cannot be read"),
        (_cut_short, "cannot be loaded"),
        (_tensor_gone, "cannot be loaded"),
        (_no_processor, "cannot be loaded"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_in_one_line(
    copy: Path, spoil: Callable[[Path], None], said: str, features: Any
) -> None:
    spoil(copy)
    message = refusal(lambda: Qwen(str(copy), features, device="cpu"))
    assert str(copy) in message and said in message


@pytest.mark.parametrize("name", ["./gone", "/gone/model", "model", "a/b/c"])
def test_a_folder_that_is_not_there_is_refused(name: str) -> None:
    assert f"--model {name}: no such folder" in refusal(lambda: Qwen(name))


def test_a_prompt_with_the_model_s_marks_is_refused(model: Path) -> None:
    assert "own marks" in refusal(lambda: Qwen(str(model), "prompt", "<|image_pad|>", device="cpu"))


def test_an_image_too_long_is_named(model: Path) -> None:
    image = LoadedImage(Path("long.png"), "0" * 32, np.zeros((2, 500), np.uint8))
    assert "long.png: is over 200 times" in refusal(lambda: Qwen(str(model), device="cpu").encode([image]))
