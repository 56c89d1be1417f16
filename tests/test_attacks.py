"""The catalogue of attacks and the tests refer to each other."""

import re

from tests.attacks import PAGE, attacks, page
from tests.claims import TESTS, collected
from tests.requirements import CLAUSES

_ADVISORY = re.compile(r"CVE-\d{4}-\d+|GHSA(?:-[a-z0-9]{4}){3}")


def test_each_attack_is_stopped_by_a_test_that_exists_or_says_that_it_is_not() -> None:
    """A test that is renamed or deleted leaves its attacks untested; that shows here."""
    named = {test for attack in attacks() for test in attack.tests}
    assert not named - collected().keys()
    assert not [one.what for one in attacks() if not one.tests and not one.but.startswith("Not stopped")]


def test_each_known_hole_of_others_is_in_the_catalogue() -> None:
    """In the other direction: a CVE that a test or a clause names."""
    catalogued = set(_ADVISORY.findall(" ".join(attack.source for attack in attacks())))
    sources = [path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py")]
    known = set(_ADVISORY.findall(" ".join([*sources, *(clause.source for clause in CLAUSES)])))
    assert len(known) > 5
    assert not known - catalogued


def test_the_catalogue_is_in_order() -> None:
    """Each attack appears once, a group's together, and each text fits a table."""
    kinds = [attack.kind for attack in attacks()]
    assert kinds == sorted(kinds, key=kinds.index)
    assert len({attack.what for attack in attacks()}) == len(attacks())
    for attack in attacks():
        assert "|" not in f"{attack.what}{attack.source}{attack.but}"
        assert len(set(attack.tests)) == len(attack.tests)


def test_the_page_is_as_the_catalogue_has_it() -> None:
    """`make attacks` rewrites it."""
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make attacks`, or python -m tests.attacks"
