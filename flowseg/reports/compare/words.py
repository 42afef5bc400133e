"""The report's language: every message once, in English and in Korean.

Names of runs stand before a noun of fixed sound in Korean (실행, 쪽), so that no particle depends on how a name ends.
"""

from collections import ChainMap
from collections.abc import Sequence
from string import Formatter
from typing import Any, Literal

from flowseg.evaluation.metric_table import metric
from flowseg.reports.compare.judgements import TEST
from flowseg.reports.compare.words_findings import FINDINGS
from flowseg.reports.compare.words_page import PAGE
from flowseg.reports.messages import Message
from flowseg.reports.tables import without_sign_of_zero
from flowseg.reports.words_film import FILM
from flowseg.reports.words_folds import FOLDS
from flowseg.reports.words_run import RUN

Language = Literal["en", "ko"]
LANGUAGES: tuple[Language, ...] = ("en", "ko")

_SMALLEST_P = 1e-4
_MESSAGES = ChainMap(FINDINGS, PAGE, RUN, FOLDS, FILM)


class Words(Formatter):
    """The messages of one language.

    Besides Python's own, values are formatted by `#noun` (a count with its English noun), `list`, `epochs` (a list of
    epochs), `metrics` (a list of metrics by their names), `metric`, and `p` (two significant digits).
    """

    def __init__(self, language: Language):
        self.language = language
        self._column = LANGUAGES.index(language)

    def __call__(self, key: str, **values: Any) -> str:
        """A message with its values put in.

        Raises:
            KeyError: there is no such message, or it names a value that is not given.
        """
        return self.vformat(_MESSAGES[key][self._column], (), values)

    def say(self, message: Message) -> str:
        """What a rule found, as a sentence."""
        return self(message.key, **message.values)

    def metric(self, name: str) -> str:
        """A metric's name; a column that is not known is called as it is."""
        return metric(name).name(self.language)

    def arrow(self, name: str) -> str:
        """A sign for the better values of a metric, to put behind its name; empty if there are none."""
        better = metric(name).better
        return self(f"arrow_{better}") if better else ""

    def item(self, name: str) -> str:
        """An item of the table of winners."""
        return self("item_test", metric=name.removeprefix(TEST)) if name.startswith(TEST) else self(f"item_{name}")

    def format_field(self, value: Any, format_spec: str) -> str:
        if format_spec.startswith("#"):
            noun = format_spec[1:]
            return f"{value:,} {noun if value == 1 else _plural(noun)}"
        if format_spec == "epochs":
            listed = self._listed([str(epoch) for epoch in value])
            return listed if self.language == "ko" else f"{'epoch' if len(value) == 1 else 'epochs'} {listed}"
        if format_spec == "list":
            return self._listed([str(item) for item in value])
        if format_spec == "metrics":
            return self._listed([self.metric(item) for item in value])
        if format_spec == "metric":
            return self.metric(value)
        if format_spec == "p":
            return "–" if value is None else f"< {_SMALLEST_P:.4f}" if value < _SMALLEST_P else f"= {value:.2g}"
        return without_sign_of_zero(str(super().format_field(value, format_spec)))

    def _listed(self, items: Sequence[str]) -> str:
        if self.language == "ko" or len(items) < 2:
            return ", ".join(items)
        return f"{', '.join(items[:-1])} and {items[-1]}"


def _plural(noun: str) -> str:
    return noun[:-2] + "sses" if noun.endswith("ss") else noun + "s"
