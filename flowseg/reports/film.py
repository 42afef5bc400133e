"""`flowseg analyze film`: a report on what the embeddings contribute to a trained run."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from flowseg.config import Config
from flowseg.data.dataset import Dataset
from flowseg.data.folds import split_pairs
from flowseg.data.image_files import as_uint8, read_image
from flowseg.errors import UserError, counted
from flowseg.evaluation.film_effect import FilmEffect, choose, condition_count, measure_effect
from flowseg.phantoms.default import data_root
from flowseg.progress import console, task
from flowseg.reports import film_pictures, film_plots, film_tables
from flowseg.reports.compare.words import Language, Words
from flowseg.reports.film_summary import FORMAT, summarize
from flowseg.reports.folder import check_free, make_parent, report_folder
from flowseg.reports.messages import Message
from flowseg.reports.pages import render
from flowseg.reports.tables import number
from flowseg.reports.verdict import images_needed
from flowseg.runs.folder import Run
from flowseg.runs.log import read_metrics
from flowseg.runs.prepare import embedding_source_for, is_own_data
from flowseg.runs.trained import Trained


def analyze_film(
    run: Run,
    split: str,
    *,
    data: str | None = None,
    embeddings: str | None = None,
    images: int | None = None,
    out: Path | None = None,
    seed: int = 0,
    lang: Language = "en",
) -> dict[str, Any]:
    """Analyses a run's best checkpoint on a split and writes report.html, report.md, report.json and plots/.

    Args:
        data, embeddings: another data set or embedding store than the run's own.
        images: how many images, at least 2, drawn by seed; None: all.
        out: the report's folder; None: RUN/analysis/film-SPLIT. An earlier report there is replaced.
        seed: seeds the choice of images, whose embedding `other` is, and the bootstrap. The noise keeps the run's
            seed, so that `own` gives what `flowseg eval` gives.
        lang: the language of the report, and of the sentences in report.json.

    Returns what report.json holds (flowseg.reports.film_summary.KEYS).

    Raises:
        UserError: a run without FiLM or without a best checkpoint, a split of one image, a folder that holds
            something else, or whatever is wrong with the data or the embeddings.
    """
    config = run.config
    if not config.model.film.stages:
        raise UserError(
            f"{run.path}: has no FiLM stages (model.film.stages is empty), so there is no embedding to analyse; "
            "give a run of vlm_film"
        )
    folder = out or run.results / "analysis" / f"film-{split}"
    check_free(folder, FORMAT, "flowseg analyze film")
    trained = Trained.open(run, data=data, embeddings=embeddings)
    prepared = trained.prepare((split,))
    whole = prepared.datasets[split]
    if len(whole) < 2:
        raise UserError(
            f"{prepared.root}/{split}: holds only one image; another image's embedding takes two or more: "
            "choose another --split or --data"
        )
    make_parent(folder)
    chosen = whole.subset(choose(len(whole), images, seed))
    conditions = condition_count(config.model.film.stages)
    if len(chosen) < (needed := images_needed(conditions - 1)):
        console.print(f"NOTE: a verdict takes at least {needed} images, and this is on {len(chosen)}")
    words = Words(lang)
    mean, mean_from = mean_embedding(trained, whole)
    work = len(chosen) * conditions
    with task(f"FiLM analysis on {split}", work) as advance:
        effect = measure_effect(
            trained.sampler,
            trained.params,
            chosen,
            mean,
            rule=trained.rule,
            seed=seed,
            on_image=lambda name: advance(note=name),
        )
    about = {
        "run": str(run.path),
        "name": config.name,
        "finished": run.finished,
        "step": trained.step,
        "val_dice": trained.best_dice,
        "data": str(prepared.root),
        "split": split,
        "split_images": len(whole),
        "field_of_view": whole.has_fov,
        "encoder": asdict(prepared.encoder) if prepared.encoder is not None else None,
        "mean_from": words.say(mean_from),
        "sampler": asdict(config.eval),
        **asdict(trained.rule),
        "noise_seed": config.seed,
        "seed": seed,
    }
    summary = summarize(effect, about, seed, words)
    curves = [line for line in read_metrics(run.path) if line["kind"] == "film"]
    greys = [as_uint8(read_image(chosen.pairs[shown.index].image)[0]) for shown in effect.gallery]
    pictures = film_pictures.draw(effect, greys)
    plots = film_plots.Plots(summary, curves, words)
    with report_folder(folder, summary) as write:
        write(pictures)
        write(plots.standalone())
        write(film_pages(summary, pictures, plots, words))
    _tell(summary, effect, folder)
    return summary


def mean_embedding(trained: Trained, analysed: Dataset) -> tuple[Float32[np.ndarray, " e"], Message]:
    """Returns the mean embedding of the images that the run was trained on, and which images it is the mean of.

    Where these cannot be used, the analysed split stands in. The mean belongs to no image: it tells no images apart,
    neither those of the training nor the analysed ones.
    """
    run = trained.run
    own = run.exported is None and is_own_data(run.config, trained.config.data.root)
    if own and analysed.split == "train":
        vectors = analysed.embeddings()
        return vectors.mean(axis=0), Message("film_mean_train", {"n": len(vectors)})
    try:
        if run.exported is not None:
            raise UserError(f"{run.path}: is an exported model without images of its own")
        # A store that was asked for may hold the run's own images; with other data it is of those.
        vectors = _training_embeddings(run, trained.config if own else run.config)
    except UserError as error:
        vectors = analysed.embeddings()
        return vectors.mean(axis=0), Message("film_mean_here", {"n": len(vectors), "error": str(error)})
    return vectors.mean(axis=0), Message("film_mean_train", {"n": len(vectors)})


def _training_embeddings(run: Run, config: Config) -> Float32[np.ndarray, "n e"]:
    source, root = embedding_source_for(run, config), data_root(config.data)
    assert source is not None
    pairs = split_pairs(root, "train", config.data.fold)
    paths = [pair.image for pair in pairs]
    with task("mean embedding of the training split", len(pairs)) as advance:
        hashes = [read_image(path)[1] for path in paths]
        return source.vectors([pair.key for pair in pairs], paths, hashes, str(root), advance)


def film_pages(
    summary: dict[str, Any], pictures: film_pictures.Pictures, plots: film_plots.Plots, t: Words
) -> dict[str, str]:
    """The report's pages by file name."""
    reservations = list(summary["verdict"]["reservations"])
    if count := summary["identical_partners"]:
        reservations.append(t("film_identical", n=count))
    return render(
        "film.j2",
        pictures,
        lang=t.language,
        title=t("film_title", name=summary["name"], split=summary["split"]),
        report=summary,
        reservations=reservations,
        made=_made(summary, t),
        tables=film_tables,
        plots=plots,
        number=number,
        t=t,
    )


def _made(summary: dict[str, Any], t: Words) -> dict[str, str]:
    """What the report was made from, and the rule of its verdict."""
    encoder, sampler, rules = summary["encoder"], summary["sampler"], summary["constants"]
    sampling = {**sampler, "seed": summary["noise_seed"]}
    data = summary["data"]
    rule = {name: summary[name] for name in ("threshold", "min_component")}
    return {
        t("film_run"): summary["run"],
        t("film_data"): t("film_inside", data=data) if summary["field_of_view"] else data,
        t("film_embeddings"): t("film_encoder", **encoder) if encoder else t("film_no_encoder"),
        t("film_sampling"): t("film_tolerance" if sampler["sampler"] == "dopri5" else "film_steps", **sampling),
        t("film_masks"): t("film_mask_parts" if summary["min_component"] > 1 else "film_mask", **rule),
        t("film_seed"): str(summary["seed"]),
        t("film_rule"): t("film_rule_is", alpha=rules["alpha"], least=rules["min_difference"]),
    }


def _tell(summary: dict[str, Any], effect: FilmEffect, folder: Path) -> None:
    for name, difference in summary["differences"].items():
        line = "Dice, own - {name:10} {mean:+.4f}  [{low:+.4f}, {high:+.4f}]  p = {p_holm:.2g}"
        console.print(line.format(name=name, **difference["dice"]))
    console.print(f"verdict on {counted(len(effect.keys), 'image')}: {summary['verdict']['sentence']}")
    console.print(f"report: {folder}/report.html")
