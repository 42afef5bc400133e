"""Mutated inputs, given to whole commands."""

import importlib.util

from tests.campaign.acts import ACTS, TRAIN
from tests.campaign.case import Case
from tests.campaign.mutate import mutated

_PREDICT = ("predict", "run", "FILE", "--out", "masks")
_COMPARE = ACTS["compare"].words
USES: dict[str, list[tuple[str, ...]]] = {
    "image": [_PREDICT, ("embed", "FOLDER", "--out", "vectors")],
    "dicom": [_PREDICT, (*_PREDICT, "--frames", "1")],
    "label": [("predict", "run", "images", "--out", "masks", "--fov", "FOLDER")],
    "download": [("data", "import", "SET", "FILE", "imported")],
    "store": [("embed", "info", "FILE"), ("embed", "info", "FILE", "--data", "data")],
    "log": [("compare", "FILE", "run", "--out", "comparison"), ("compare", "FILE", "log.csv", "--out", "comparison")],
    "metrics": [("report", "run"), _COMPARE],
    "about scores": [("report", "run"), _COMPARE],
    "scores": [("report", "run"), _COMPARE],
    "config": [("eval", "run"), ACTS["predict"].words, _COMPARE],
    "weights": [ACTS["predict exported"].words],
    "data": [("data", "check", "data", "--out", "check.html"), (*TRAIN, "--out", "new")],
}
"""Kinds of files, and commands that read them."""
if importlib.util.find_spec("torch"):
    USES["checkpoint"] = [("import-torch", "FILE", "--out", "original")]
PLACES = {"metrics": "run/metrics.jsonl", "about scores": "run/eval/test/metrics.json", "config": "run/config.json"}
PLACES |= {"scores": "run/eval/test/per_image.csv", "weights": "exported/model.safetensors"}
"""Where a changed file lies, if it has a place of its own."""


def case(at: Case) -> None:
    """Each ends with a result, or with one line that says why there is none."""
    name = at.choose(list(USES))
    words = at.choose(USES[name])
    place = PLACES.get(name)
    changed = {"data": "data"}.get(name, place.split("/")[0] if place else "")
    changes = {changed, *(["run"] if words[0] in ("eval", "report") else [])} - {""}
    at.bench.lay_out(at.folder, tuple(changes))
    if name == "data":
        path = sample = at.choose(sorted((at.folder / "data").rglob("*.png")))
    else:
        sample = at.choose(sorted((at.bench.samples / name).iterdir()))
        path = at.folder / (place or f"given/{sample.name}")
        path.parent.mkdir(exist_ok=True)
    content = mutated(sample.read_bytes(), sample.suffix, at.rng)
    path.write_bytes(content)
    if "log.csv" in words:
        (at.folder / "log.csv").write_text("epoch,train_loss,val_dice\n1,0.5,0.6\n2,0.4,0.7\n")
    given = {"FILE": path, "FOLDER": path.parent, "SET": path.name.split(".")[0]}
    if name == "label":  # each image needs one
        for image in (at.folder / "images").iterdir():
            (path.parent / f"{image.stem}{path.suffix}").write_bytes(content)
        path.unlink()
    at.tried(f"{name}: {path.relative_to(at.folder)}, then {' '.join(words)}")
    at.run([given.get(word, word) for word in words])
