"""The modules against Eq. 2 written out; `test_meanings` compares all that computes them with Python's arithmetic."""

import pytest
import torch
from builders import ARITHMETIC

from nram.machine.modules import MODULES, module_sequence, read, write

PAPER_ORDER = [
    "READ", "ZERO", "ONE", "TWO", "INC", "ADD", "SUB", "DEC", "LESS-THAN", "LESS-OR-EQUAL-THAN", "EQUALITY-TEST", "MIN",
    "MAX", "WRITE",
]  # fmt: skip
PURE = [module for module in MODULES if module.integer is not None]


def random_probs(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=dtype).log().mul(2).softmax(-1)


def test_names_and_order_are_the_papers():
    assert [module.name for module in MODULES] == PAPER_ORDER
    assert [module.name for module in module_sequence(2)] == PAPER_ORDER * 2
    with pytest.raises(ValueError, match="at least 1"):
        module_sequence(0)


@pytest.mark.parametrize("module", PURE, ids=lambda module: module.name)
@pytest.mark.parametrize("num_cells", [3, 7, 16])
def test_integer_meaning_of_tensors_on_every_pair(module, num_cells):
    pairs = torch.cartesian_prod(torch.arange(num_cells), torch.arange(num_cells))
    expected = [int(ARITHMETIC[module.name](a, b)) % num_cells for a, b in pairs.tolist()]
    assert module.integer(*pairs.unbind(1), num_cells).tolist() == expected


@pytest.mark.parametrize("module", PURE, ids=lambda module: module.name)
@pytest.mark.parametrize("num_cells", [3, 7, 16])
def test_fuzzy_meaning_is_the_sum_over_all_pairs(module, num_cells):
    a, b = random_probs(2, 5, num_cells)
    expected = torch.zeros(5, num_cells, dtype=torch.float64)
    for left in range(num_cells):
        for right in range(num_cells):
            result = int(ARITHMETIC[module.name](left, right)) % num_cells
            expected[:, result] += a[:, left] * b[:, right]
    torch.testing.assert_close(module.fuzzy(a, b), expected, rtol=1e-12, atol=1e-14)


def test_read_and_write_are_sums_over_the_tape():
    num_cells = 5
    memory = random_probs(num_cells, num_cells, seed=1)
    pointer, value = random_probs(2, num_cells, seed=2)
    expected_read = sum(pointer[i] * memory[i] for i in range(num_cells))
    torch.testing.assert_close(read(memory, pointer), expected_read)
    written = write(memory, pointer, value)
    for i in range(num_cells):
        for j in range(num_cells):
            expected = (1 - pointer[i]) * memory[i, j] + pointer[i] * value[j]
            torch.testing.assert_close(written[i, j], expected)
    torch.testing.assert_close(written.sum(-1), torch.ones(num_cells, dtype=torch.float64))
