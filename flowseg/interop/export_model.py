"""`flowseg export --to safetensors`: a run as a folder for the Hugging Face hub (flowseg.runs.exported)."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

from flowseg.config import Config
from flowseg.errors import UserError
from flowseg.files import as_utf8, replaced_folder
from flowseg.interop.model_card import model_card
from flowseg.runs.exported import Exported, write_weights
from flowseg.runs.flat import description_digest
from flowseg.runs.folder import CONFIG_FILE, described
from flowseg.runs.trained import Trained
from flowseg.runs.tuning import FILE as RULE_FILE
from flowseg.runs.tuning import kept_rule


def write_model(trained: Trained, out: Path) -> None:
    """Writes an exported model, a new folder: weights, config, model card and, if the run has one, its mask rule.

    Raises:
        UserError: an exported model, or a run that asks for a tuned mask rule which cannot be tuned.
    """
    run = trained.run
    if run.exported is not None:
        raise UserError(f"{run.path}: is an exported model already; copy its folder")
    rule = trained.rule  # what the config asks to be tuned is tuned now
    kept = kept_rule(run.path, run.config.eval, trained.step)
    card = model_card(trained, "model.md.j2", rule=rule, kept=kept)
    with replaced_folder(out) as part:
        weights = Exported(trained.step, trained.best_dice, trained.data_digest, write_weights(part, trained.params))
        content = {**described(portable(run.config), run.encoder), "exported": weights.content()}
        content["digest"] = description_digest(content)
        (part / CONFIG_FILE).write_text(json.dumps(content, indent=2) + "\n")
        (part / "README.md").write_bytes(as_utf8(card))
        if kept is not None:
            shutil.copyfile(run.path / RULE_FILE, part / RULE_FILE)


def portable(config: Config) -> Config:
    """Returns a config without the places of data and embeddings on this machine."""
    data, embeddings = replace(config.data, root=None), replace(config.embeddings, store=None)
    return replace(config, data=data, embeddings=embeddings)
