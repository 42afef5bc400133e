"""How the tests read errors meant for users."""

from collections.abc import Callable

import pytest

from flowseg.errors import UserError


def refusal(call: Callable[[], object]) -> str:
    """The one line with which a call is refused."""
    with pytest.raises(UserError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)
