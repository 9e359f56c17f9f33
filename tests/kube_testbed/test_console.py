"""Reading what a page tells people to paste."""

from __future__ import annotations

import pytest

from tests.kube.scenarios.console import Pasted, commands, difference, section

PAGE = """# Title
## One
```console
$ first --flag
its line
$ second
```
```
$ no console block
```
```console
$ third
a
...
```
## Two
```console
$ elsewhere
```
"""


def test_the_commands_of_one_section_in_their_order() -> None:
    assert list(commands(section(PAGE, "One"))) == [
        Pasted("first --flag", ("its line",)),
        Pasted("second", ()),
        Pasted("third", ("a", "...")),
    ]
    assert [one.command for one in commands(section(PAGE, "Two"))] == ["elsewhere"]
    with pytest.raises(ValueError, match="Three"):
        section(PAGE, "Three")


@pytest.mark.parametrize(
    ("promised", "printed", "same"),
    [
        ((), "whatever\n", True),
        (("a", "b"), "a\nb\n", True),
        (("a", "b"), "a\n", False),
        (("a",), "a\nb\n", False),
        (("a", "..."), "a\nb\nc\n", True),
        (("a", "..."), "b\nc\n", False),
        (("NAME   AGE", "demo   11s"), "NAME      AGE\ndemo      1m12s\n", True),
        (("visit 1 (epoch 1)",), "visit 1 (epoch 3)\n", True),
        (("visit 1 (epoch 1)",), "visit 2 (epoch 1)\n", False),
    ],
)
def test_what_varies_may_differ_and_nothing_else(
    promised: tuple[str, ...], printed: str, *, same: bool
) -> None:
    assert (difference(Pasted("x", promised), printed) == "") is same
