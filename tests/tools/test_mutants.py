"""The list of mutants fits the code as it is: each bug can be made, in every package."""

from tests.test_layers import LAYERS
from tools.mutants import mutants


def test_every_mutant_can_be_made_and_every_package_has_some() -> None:
    found = mutants()
    assert len(found) >= 60
    assert len({(one.file, one.before) for one in found}) == len(found)
    for mutant in found:
        assert mutant.applied() != mutant.before
    packages = {name for names in LAYERS for name in names}
    assert packages <= {one.file.split("/")[0].removesuffix(".py") for one in found}
