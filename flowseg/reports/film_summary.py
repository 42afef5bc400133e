"""The FiLM analysis as plain values: what report.json holds and the pages show."""

from dataclasses import asdict
from typing import Any

import numpy as np

from flowseg.evaluation import mask_difference
from flowseg.evaluation.film_effect import MEAN, MEASURES, NONE, OTHER, OWN, Condition, FilmEffect
from flowseg.evaluation.mask_difference import MaskDifference, enrichment, share, totals
from flowseg.evaluation.metrics import bootstrap_mean
from flowseg.evaluation.modulation import Decomposed
from flowseg.evaluation.paired import compare, holm
from flowseg.reports import verdict as verdicts
from flowseg.reports.compare.words import Words
from flowseg.reports.film_pictures import largest
from flowseg.reports.verdict import judge

FORMAT = "flowseg-film-analysis-1"

KEYS = {
    "format": "names this layout",
    "lang": "language of its sentences",
    "run": "folder of the run",
    "name": "name of its config",
    "finished": "whether its training had finished",
    "step": "training step of the analysed (best) checkpoint",
    "val_dice": "that checkpoint's validation Dice; null if not known",
    "data": "folder of the data set",
    "split": "the analysed split",
    "split_images": "images in it",
    "field_of_view": "whether the images have fields of view: then only the pixels inside count",
    "encoder": "what made the embeddings: name, settings, width",
    "mean_from": "which images' embeddings are averaged in the condition `mean`",
    "sampler": "how the flow was integrated and windows were laid",
    "threshold": "probability above which a pixel is vessel",
    "min_component": "pixels; smaller connected components of a mask are removed",
    "noise_seed": "the config's seed, of which an image's noise is a function (and of its content)",
    "seed": "seed of the choice of images, of the partners and of the bootstrap",
    "images": "names of the analysed images; lists per image are in this order",
    "partners": "for each image the one whose embedding it gets in the condition `other`",
    "identical_partners": "images whose partner's embedding equals their own",
    "conditions": "for each condition: about (what it is), off (stages switched off), mean (of each measure: mean, "
    "and low and high of its bootstrap 95 % interval over images), per_image (of each measure: a value per image)",
    "differences": "for each condition, for each measure, own minus it: mean, low and high (bootstrap 95 % over "
    "images), p (Wilcoxon signed-rank), p_holm (corrected across the conditions; Dice only), n, changed (images that "
    "differ), detectable (mean difference found in 80 % of repetitions; for Dice after that correction)",
    "modulation": "for each stage, for gamma (its distance from 1) and beta: total (mean square over images and "
    "channels) = constant (square of the mean over images) + between (variance between images); share = between / "
    "total, null without modulation",
    "where": "for other and none: pixels of the masks that differ from own's, summed over images (pixels, near: "
    "within `radius` of a junction of the true skeleton, band: within `radius` of the true mask, differing, "
    "differing_near, differing_band), shares of them, enrichment_all and enrichment_band (ratio; low and high: "
    "bootstrap 95 % over images, null if over 5 % of the resamples have no ratio), per_image",
    "map_top": "difference of probability of the lightest colour of plots/map-*.png; null if images differ in size",
    "gallery": "names of the images that are shown: those whose probabilities differ most between own and other",
    "verdict": "outcome, sentence, reasons, reservations",
    "programs": "programs compiled for all conditions",
    "constants": "what the rules use: alpha, min_difference (Dice), min_images, radius (pixels at stored size)",
    "keys": "this list",
}


def summarize(effect: FilmEffect, about: dict[str, Any], seed: int, words: Words) -> dict[str, Any]:
    """Returns the values of `KEYS`, sentences in the language of `words`; `about` says what was analysed."""
    others = [c.name for c in effect.conditions if c.name != OWN]
    paired = {
        name: {
            m: compare(effect.values(OWN, m), effect.values(name, m), seed, len(others) if m == "dice" else 1)
            for m in MEASURES
        }
        for name in others
    }
    differences = {name: {m: asdict(found) for m, found in by.items()} for name, by in paired.items()}
    dice = {}
    for name, p in zip(others, holm([paired[name]["dice"].p for name in others]), strict=True):
        differences[name]["dice"]["p_holm"] = p
        dice[name] = (paired[name]["dice"], p)
    further = {name: found for name, found in dice.items() if name not in (OTHER, NONE)}
    own = effect.conditions[0].embeddings
    verdict = judge(*dice[OTHER], *dice[NONE], further)
    return {
        "format": FORMAT,
        "lang": words.language,
        **about,
        "images": effect.keys,
        "partners": [effect.keys[i] for i in effect.partners],
        "identical_partners": int(np.all(own == own[effect.partners], axis=1).sum()),
        "conditions": {
            c.name: {
                "about": _about(c, words),
                "off": list(c.off),
                "mean": {m: _interval(effect.values(c.name, m), seed) for m in MEASURES},
                "per_image": {m: effect.values(c.name, m) for m in MEASURES},
            }
            for c in effect.conditions
        },
        "differences": differences,
        "modulation": [
            {"stage": row.stage, "gamma": _decomposed(row.gamma), "beta": _decomposed(row.beta)}
            for row in effect.modulation
        ],
        "where": {name: _where(rows, effect.keys, seed) for name, rows in effect.where.items()},
        "map_top": largest(effect) if effect.maps else None,
        "gallery": [effect.keys[shown.index] for shown in effect.gallery],
        "verdict": {
            "outcome": verdict.outcome,
            "sentence": words.say(verdict.sentence),
            "reasons": [words.say(reason) for reason in verdict.reasons],
            "reservations": [words.say(reservation) for reservation in verdict.reservations],
        },
        "programs": effect.programs,
        "constants": {
            "alpha": verdicts.ALPHA,
            "min_difference": verdicts.MIN_DIFFERENCE,
            "min_images": verdicts.MIN_IMAGES,
            "radius": mask_difference.RADIUS,
        },
        "keys": KEYS,
    }


def _about(condition: Condition, words: Words) -> str:
    if condition.name in (OWN, OTHER, MEAN, NONE):
        return words(f"film_is_{condition.name}")
    return words("film_is_off", stage=condition.off[0])


def _interval(values: list[float], seed: int) -> dict[str, float]:
    found = bootstrap_mean(values, seed=seed)
    return {"mean": found.mean, "low": found.low, "high": found.high}


def _decomposed(part: Decomposed) -> dict[str, float | None]:
    return {**asdict(part), "share": part.share}


def _where(rows: list[MaskDifference], keys: list[str], seed: int) -> dict[str, Any]:
    total = totals(rows)
    return {
        **asdict(total),
        "share_near": share(total.differing_near, total.differing),
        "share_near_of_band": share(total.differing_near, total.differing_band),
        "share_band": share(total.differing_band, total.differing),
        "all_near": share(total.near, total.pixels),
        "band_near": share(total.near, total.band),
        "enrichment_all": asdict(enrichment(rows, band=False, seed=seed)),
        "enrichment_band": asdict(enrichment(rows, band=True, seed=seed)),
        "per_image": [
            {"image": key, **asdict(row), "share_near": share(row.differing_near, row.differing)}
            for key, row in zip(keys, rows, strict=True)
        ],
    }
