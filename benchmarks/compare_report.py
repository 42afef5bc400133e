"""A report of two runs over 46 test images: how long `flowseg compare` takes, and how large its page is.

    python benchmarks/compare_report.py [--images 46] [--size 512]

The runs are made up as `flowseg train` and `flowseg eval` leave them, with the networks of configs/ (their parameters
are counted), logs of the 207,000 steps of the published recipe, every metric beside the classical reference, and
pictures of phantom angiograms. Each turn starts the command anew, so the time is what a user waits.
"""

import argparse
import csv
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import describe_machine, write_results
from PIL import Image
from rich.console import Console
from rich.table import Table
from scipy.ndimage import gaussian_filter

from flowseg.commands.parsing import load_config
from flowseg.evaluation.metric_table import IMAGE_METRICS, MASK_METRICS
from flowseg.evaluation.overlays import save_png
from flowseg.phantoms.angiogram import write_phantoms
from flowseg.reports.compare.scores import REFERENCE
from flowseg.runs.folder import create_run

HERE = Path(__file__).resolve().parent
EPOCHS, STEPS, VALIDATE = 500, 414, 15
"""Of the published recipe with 155 training images; steps are those of an epoch."""


def write_log(folder: Path, rng: np.random.Generator) -> None:
    """Writes metrics.jsonl of a whole training by the published recipe."""
    lines = []
    for step in range(10, EPOCHS * STEPS + 1, 10):
        loss = 0.08 + 0.5 / (1 + step / 200) + 0.01 * rng.normal()
        lines.append({"kind": "train", "step": step, "epoch": round(step / STEPS, 4), "steps": 10, "loss": loss})
    for epoch in (*range(VALIDATE, EPOCHS, VALIDATE), EPOCHS):
        dice = 0.85 - 0.3 / (1 + epoch / 20) + 0.005 * rng.normal()
        lines.append({"kind": "val", "step": epoch * STEPS, "epoch": float(epoch), "dice": dice})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_evaluation(folder: Path, images: Path, rng: np.random.Generator, shift: float) -> None:
    """Writes per_image.csv, metrics.json and images/ of a test split. Predictions miss a little and add a little."""
    folder.mkdir(parents=True)
    metrics, reference = [row.key for row in IMAGE_METRICS], [f"{REFERENCE}{row.key}" for row in MASK_METRICS]
    with (folder / "per_image.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *metrics, *reference])
        for i, path in enumerate(sorted((images / "image").iterdir())):
            image = np.asarray(Image.open(path).convert("L"))
            truth = np.asarray(Image.open(images / "label" / path.name).convert("L")) > 0
            noise = gaussian_filter(rng.normal(size=truth.shape), 3)
            soft = np.clip(gaussian_filter(truth.astype(float), 1.5) + noise, 0, 1)
            prediction = soft > 0.5 - shift
            pictures = {
                "image": image,
                "truth": truth * 255.0,
                "prediction": prediction * 255.0,
                "probability": 255 * soft,
                "uncertainty": 900 * abs(noise),
            }
            (folder / "images" / path.stem).mkdir(parents=True)
            for name, picture in pictures.items():
                save_png(folder / "images" / path.stem / f"{name}.png", np.clip(picture, 0, 255).astype(np.uint8))
            dice = 2 * (prediction & truth).sum() / (prediction.sum() + truth.sum())
            scores = [dice + 0.01 * rng.normal() for _ in metrics]
            classical = np.random.default_rng(i).uniform(size=len(reference))  # the same for every run
            writer.writerow([f"test/{path.stem}", *(f"{score:.6f}" for score in (*scores, *classical))])
    about = {"data": str(images.parent), "sampler": {"steps": 4}, "frangi": {"settings": {"scale": 2.0}}}
    (folder / "metrics.json").write_text(json.dumps(about))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=46)
    parser.add_argument("--size", type=int, default=512, help="side of the images, pixels")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "compare_report.json")
    args = parser.parse_args()
    machine = describe_machine()
    seconds: list[float] = []
    processor: list[float] = []
    with tempfile.TemporaryDirectory() as work:
        root = Path(work)
        write_phantoms(root / "data", size=args.size, counts={"test": args.images})
        for seed, name in enumerate(("baseline", "vlm_film")):
            rng = np.random.default_rng(seed)
            run = create_run(root / name, load_config(HERE.parent / "configs" / f"{name}.py"), None)
            write_log(run.path, rng)
            write_evaluation(run.path / "eval" / "test", root / "data" / "test", rng, 0.05 * seed)
        command = [sys.executable, "-m", "flowseg", "compare", *(str(root / n) for n in ("baseline", "vlm_film"))]
        command += ["--out", str(root / "report")]
        for _ in range(args.turns):
            before, start = processor_seconds(), time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - start)
            processor.append(processor_seconds() - before)
        sizes = {name: (root / "report" / name).stat().st_size for name in ("report.html", "report.md", "report.json")}
        cases = len(json.loads((root / "report" / "report.json").read_text())["gallery"])
    table = Table("what", "median", "largest")
    for what, values in (("waiting, s", seconds), ("processor time, s", processor)):
        table.add_row(what, f"{statistics.median(values):.1f}", f"{max(values):.1f}")
    Console().print(
        f"two runs, {args.images} images of {args.size}x{args.size}: report.html {sizes['report.html'] / 1e6:.1f} MB "
        f"with {cases} images in the gallery",
        table,
    )
    write_results(
        args.out,
        machine,
        images=args.images,
        size=args.size,
        epochs=EPOCHS,
        steps_per_epoch=STEPS,
        seconds={"median": statistics.median(seconds), "turns": seconds},
        processor_seconds={"median": statistics.median(processor), "turns": processor},
        bytes=sizes,
        gallery=cases,
    )


def processor_seconds() -> float:
    """Processor time of the finished programs that this one started."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
