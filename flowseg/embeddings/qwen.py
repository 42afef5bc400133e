"""The encoder `qwen2.5-vl`: Qwen2.5-VL, frozen, in PyTorch, offline.

The model sees the whole image in grey, at the size that its own processor chooses. There are three kinds of features:

image    The merged vision tokens, averaged over the image: as wide as the language model (2048 in the 3B model). Only
         the vision tower is loaded.
prompt   The last hidden state, after the final norm, at the last token of a chat turn with the image and a prompt. As
         wide as `image`.
answers  The probabilities of fixed answers to fixed questions (flowseg.embeddings.questions): a softmax over the
         answers to each question of the summed log-likelihoods of each answer's tokens.

The vectors are float32; the model computes in bfloat16 on a GPU and in float32 elsewhere.

Source: Bai et al. 2025, Qwen2.5-VL Technical Report (arXiv:2502.13923).
"""

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32
from PIL import Image

from flowseg.embeddings.checkpoints import Checkpoint, find_checkpoint
from flowseg.embeddings.images import LoadedImage
from flowseg.embeddings.questions import ENTRIES, QUESTIONS, Question
from flowseg.embeddings.store import Encoder
from flowseg.errors import UserError, pip_install

Features = Literal["image", "prompt", "answers"]
MODEL = "Qwen/Qwen2.5-VL-3B-Instruct"
PROMPT = "Describe the blood vessels in this image."
_TOWER = "visual."  # the vision tower's weights are called model.visual.* or, in older files, visual.*


def _tower(checkpoint: Checkpoint, config: Any, dtype: Any) -> Any:
    """Loads only the vision tower, a fifth of the 3B model."""
    from safetensors import safe_open
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

    tower = Qwen2_5_VisionTransformerPretrainedModel._from_config(config.vision_config, dtype=dtype)
    weights = {}
    for file in checkpoint.weights:
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 (not a dict)
                if name.removeprefix("model.").startswith(_TOWER):
                    weights[name.removeprefix("model.").removeprefix(_TOWER)] = opened.get_tensor(name)
    tower.load_state_dict(weights, strict=True)
    return tower


def _whole_model(checkpoint: Checkpoint, dtype: Any) -> Any:
    from transformers import Qwen2_5_VLForConditionalGeneration

    model, loading = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        checkpoint.folder, dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True
    )
    # transformers only warns of missing weights and initialises them at random.
    if missing := sorted(loading["missing_keys"]):
        raise ValueError(f"{len(missing)} weights are missing, for example {missing[0]}")
    return model


class Qwen:
    """A Qwen2.5-VL checkpoint as an encoder; flowseg.embeddings.encoders.Options describes its options.

    `device` and `dtype` are torch's names; the default device is the first GPU, or the CPU. The language model takes
    images one by one, whatever the batch.

    Raises:
        UserError: the vlm extra or the model is missing, the model's files do not match, or the prompt is not used.
    """

    keeps_parts = True

    def __init__(
        self,
        model: str = MODEL,
        features: Features = "image",
        prompt: str | None = None,
        batch: int = 1,
        device: str | None = None,
        dtype: str | None = None,
    ):
        if prompt is not None and features != "prompt":
            raise UserError("--prompt: only --features prompt uses it; add that or leave the prompt out")
        try:
            import torch
            import transformers
        except ModuleNotFoundError:
            remedy = f"install them with: {pip_install('flowseg[vlm]')}"
            raise UserError(f"Qwen2.5-VL needs PyTorch and transformers: {remedy}") from None
        checkpoint = find_checkpoint(model)
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        self.batch = batch
        self._features = features
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        name = dtype or ("bfloat16" if self._device.type == "cuda" else "float32")
        self._dtype = getattr(torch, name)
        try:
            self._load(checkpoint)
        except UserError:
            raise
        except Exception as error:  # transformers, tokenizers and safetensors raise many kinds
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"{checkpoint.folder}: cannot be loaded ({reason}); get the model again") from None
        settings: dict[str, Any] = {
            "model": checkpoint.name,
            "revision": checkpoint.revision,
            "features": features,
            "dtype": name,
            "transformers": transformers.__version__,
        }
        width = self._config.vision_config.out_hidden_size
        if features == "prompt":
            self._prompt = settings["prompt"] = PROMPT if prompt is None else prompt
            if "<|" in self._prompt:
                raise UserError(f"--prompt {prompt!r}: contains the model's own marks <|...|>; remove them")
            width = self._config.text_config.hidden_size
        elif features == "answers":
            settings["questions"] = {question.name: question.text for question in QUESTIONS}
            settings["entries"] = list(ENTRIES)
            width = len(ENTRIES)
        self.encoder = Encoder("qwen2.5-vl", settings, width)

    def _load(self, checkpoint: Checkpoint) -> None:
        from transformers import AutoConfig, AutoTokenizer, Qwen2VLImageProcessorPil

        folder = checkpoint.folder
        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}  # no code is run
        self._config = AutoConfig.from_pretrained(folder, **local)
        # Always the processor that uses Pillow: torchvision, where it is installed, resamples slightly differently.
        self._processor = Qwen2VLImageProcessorPil.from_pretrained(folder, local_files_only=True)
        if self._features == "image":
            self._visual = _tower(checkpoint, self._config, self._dtype).eval().to(self._device)
            return
        self._model = _whole_model(checkpoint, self._dtype).eval().to(self._device)
        self._visual = self._model.model.visual
        self._tokenizer = AutoTokenizer.from_pretrained(folder, **local)
        self._image_token = self._tokenizer.convert_ids_to_tokens(self._config.image_token_id)
        self._template = _chat_template(folder, self._tokenizer)

    def encode(self, images: Sequence[LoadedImage]) -> Float32[np.ndarray, "n e"]:
        """Returns one vector per image.

        Raises:
            UserError: one side of an image is over 200 times the other, or the GPU runs out of memory.
        """
        import torch

        one = {"prompt": self._last_state, "answers": self._answers}.get(self._features)
        try:
            with torch.inference_mode():
                vectors = self._means(images) if one is None else [one(*self._pixels([image])) for image in images]
                return torch.stack(vectors).float().cpu().numpy()
        except torch.OutOfMemoryError:
            names = f"{images[0].path} and {len(images) - 1} more" if len(images) > 1 else str(images[0].path)
            raise UserError(f"{names}: the GPU runs out of memory; use a smaller --batch or a smaller image") from None

    def _pixels(self, images: Sequence[LoadedImage]) -> tuple[Any, Any]:
        """Returns the patches of all images in sequence, and each image's grid of patches (time, rows, columns)."""
        for image in images:
            if max(image.grey.shape) > 200 * min(image.grey.shape):  # the processor's limit
                raise UserError(f"{image.path}: is over 200 times longer than wide; crop or remove it")
        pictures = [Image.fromarray(image.grey).convert("RGB") for image in images]
        inputs = self._processor(images=pictures, return_tensors="pt")
        return inputs["pixel_values"].to(self._device, self._dtype), inputs["image_grid_thw"].to(self._device)

    def _means(self, images: Sequence[LoadedImage]) -> list[Any]:
        pixels, grid = self._pixels(images)
        tokens = self._visual(pixels, grid_thw=grid).pooler_output
        counts = (grid.prod(-1) // self._visual.spatial_merge_size**2).tolist()
        return [part.float().mean(dim=0) for part in tokens.split(counts)]

    def _chat(self, text: str, grid: Any) -> tuple[Any, Any]:
        """Returns the token ids of a chat turn with image and text: up to the image's last token, and after it."""
        content = [{"type": "image"}, {"type": "text", "text": text}]
        chat = [{"role": "user", "content": content}]
        turn = self._tokenizer.apply_chat_template(
            chat, chat_template=self._template, tokenize=False, add_generation_prompt=True
        )
        before, mark, after = turn.partition(self._image_token)
        if not mark:
            raise UserError("the model's chat template has no token for an image; get the model again")
        count = int(grid.prod()) // self._visual.spatial_merge_size**2
        return self._ids(before + mark * count), self._ids(after)

    def _ids(self, text: str) -> Any:
        import torch

        return torch.tensor([self._tokenizer.encode(text, add_special_tokens=False)], device=self._device)

    def _shown(self, ids: Any, pixels: Any, grid: Any, **options: Any) -> Any:
        """Runs the language model on token ids that contain the image."""
        kinds = (ids == self._config.image_token_id).int()
        return self._model.model(
            input_ids=ids, pixel_values=pixels, image_grid_thw=grid, mm_token_type_ids=kinds, **options
        )

    def _last_state(self, pixels: Any, grid: Any) -> Any:
        import torch

        ids = torch.cat(self._chat(self._prompt, grid), dim=1)
        return self._shown(ids, pixels, grid, use_cache=False).last_hidden_state[0, -1].float()

    def _answers(self, pixels: Any, grid: Any) -> Any:
        """Returns the probabilities of all answers; the image is processed once for all questions."""
        import torch

        ids, _ = self._chat(QUESTIONS[0].text, grid)
        kept = self._shown(ids, pixels, grid, use_cache=True).cache
        kinds = (ids == self._config.image_token_id).int()
        positions, _ = self._model.model.get_rope_index(ids, mm_token_type_ids=kinds, image_grid_thw=grid)
        next_position = int(positions.max()) + 1
        return torch.cat([self._answer(question, grid, copy.deepcopy(kept), next_position) for question in QUESTIONS])

    def _answer(self, question: Question, grid: Any, kept: Any, next_position: int) -> Any:
        """Returns the probabilities of a question's answers.

        The answers are the rows of one batch; padding at the end of a row does not change the states before it.
        """
        import torch

        asked = self._chat(question.text, grid)[1][0]
        answers = [self._ids(answer)[0] for answer in question.answers]
        longest = max(len(answer) for answer in answers)
        rows = asked.new_zeros(len(answers), len(asked) + longest)
        given = torch.zeros(len(answers), longest, dtype=torch.bool, device=rows.device)
        rows[:, : len(asked)] = asked
        for row, answer in enumerate(answers):
            rows[row, len(asked) : len(asked) + len(answer)] = answer
            given[row, : len(answer)] = True
        kept.batch_repeat_interleave(len(answers))
        positions = torch.arange(rows.shape[1], device=rows.device) + next_position
        states = self._model.model(
            input_ids=rows, cache=kept, position_ids=positions.expand(3, len(answers), -1), use_cache=True
        ).last_hidden_state
        # The state before each token of an answer gives the likelihood of that token.
        scores = self._model.lm_head(states[:, len(asked) - 1 : -1]).float().log_softmax(dim=-1)
        each = scores.gather(2, rows[:, len(asked) :, None])[..., 0]
        return torch.where(given, each, 0.0).sum(dim=1).softmax(dim=0)


def _chat_template(folder: Path, tokenizer: Any) -> str:
    """Returns the chat template; older checkpoints keep the one with images in a file of its own."""
    file = folder / "chat_template.json"
    template = json.loads(file.read_text())["chat_template"] if file.is_file() else tokenizer.chat_template
    if not template:
        raise UserError(f"{folder}: has no chat template; get the model again")
    return str(template)
