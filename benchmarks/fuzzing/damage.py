"""Damage: to the bytes of a file, and to what they mean.

Each function draws what it does from a generator; what it makes may by chance be right.
"""

import copy
import io
import warnings
import zipfile
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from reference.arrays import Array

Rng: TypeAlias = np.random.Generator

SPARE = 8 << 20  # a chunk that is read, or the tokens of an npy header of 10,000 characters
COPIES = 8  # of the file at most: its bytes, the archive's members, their elements, JSON as objects
BOMB = 24 << 20  # bytes of 0, which are zipped to a thousandth
GZIP_MOST = 1032  # times its size that a gzipped file may hold (zlib's documentation)


def allowed_for_copies(content: bytes) -> int:
    """Allow some copies of the file."""
    return SPARE + COPIES * len(content)


# To bytes


NUMBERS = [0, 1, 2, 7, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1]


def _part(size: int, rng: Rng) -> slice:
    """Choose a part, most often a short one near the beginning or the end, where headers are."""
    if size == 0:
        return slice(0, 0)
    edge = min(size, 80)
    start = (rng.integers(edge), size - 1 - rng.integers(edge), rng.integers(size))[rng.integers(3)]
    length = 1 + int(rng.integers(8) if rng.random() < 0.7 else rng.integers(size))
    return slice(int(start), int(start) + length)


def _flip(content: bytearray, rng: Rng) -> None:
    for _ in range(rng.integers(1, 5)):
        if content:
            content[_part(len(content), rng).start] ^= 1 << int(rng.integers(8))


def _cut(content: bytearray, rng: Rng) -> None:
    del content[_part(len(content), rng)]


def _truncate(content: bytearray, rng: Rng) -> None:
    del content[_part(len(content), rng).start :]


def _double(content: bytearray, rng: Rng) -> None:
    part = _part(len(content), rng)
    content[part.start : part.start] = content[part]


def _move(content: bytearray, rng: Rng) -> None:
    part = _part(len(content), rng)
    taken = content[part]
    del content[part]
    start = _part(len(content), rng).start
    content[start:start] = taken


def _noise(content: bytearray, rng: Rng) -> None:
    content[_part(len(content), rng)] = rng.bytes(int(rng.integers(1, 20)))


def _number(content: bytearray, rng: Rng) -> None:
    width = int(rng.choice([1, 2, 4, 8]))
    order: Any = rng.choice(["little", "big"])
    value = NUMBERS[rng.integers(len(NUMBERS))] % 2 ** (8 * width)
    start = _part(len(content), rng).start
    content[start : start + width] = value.to_bytes(width, order)


def _all_noise(content: bytearray, rng: Rng) -> None:
    content[4:] = rng.bytes(int(rng.integers(200)))


def damaged(content: bytes, rng: Rng) -> bytes:
    """Damage bytes once to three times, or, one time in five, not at all."""
    changed = bytearray(content)
    if rng.random() < 0.8:
        ways = [_flip, _cut, _truncate, _double, _move, _noise, _number, _number, _all_noise]
        for _ in range(rng.integers(1, 4)):
            ways[rng.integers(len(ways))](changed, rng)
    return bytes(changed)


def either(rng: Rng, *choices: Any) -> Any:
    """Choose one, all equally likely."""
    return choices[rng.integers(len(choices))]


# To npy and npz

DESCRIPTIONS: list[Any] = [
    *("<f4", "<f8", ">f4", "<f2", "<f16", "|u1", "<i8", "|b1", "<c8", "<M8[s]", "|O", "<U3", "|S4"),
    *("<U0", "|V0", "|V8", "<f3", "f", "junk", "", "O", None, 3, [("a", "<f4")], ("<f4", (2,))),
    *([("a", "|O")], [("a", "<f4", (2**31,))], [], {}, ["<f4"], [("a", [("b", "<f4")])]),
]
SHAPES: list[Any] = [
    *((), (0,), (6,), (1, 6), (2, 6), (2, 3), (0, 6), (-1,), (-1, 6), (2**31,) * 3, (2**63,)),
    *((-(2**63),), (2**64, 0), (1,) * 70, (True, 6), (1.5,), ("6",), "6", 6, None, [2, 6], {}),
]
ORDERS = [False, True, True, False, 0, 1, None, "F"]
HEADERS = [
    *("", "{}", "{" * 3000, "(" * 150, "[" * 150 + "]" * 150, "-" * 9000 + "1", "9" * 5000),
    *("'\\d'", "1 if 1 else 2", "__import__('os')", "\\x00", "{'descr': '<f4'}", "[" + "1," * 4000),
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 6L), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 6), 'more': 1}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1," * 3000 + ")}",
    "{'descr': 'a4', 'fortran_order': False, 'shape': (6,)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (6,)}" + " " * 20_000,
]


def npy_bytes(array: Array) -> bytes:
    """Write an array as NumPy does."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def lying_npy(array: Array, rng: Rng) -> bytes:
    """Write an array behind a header that tells something else."""
    description = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
    for key, choices in (("descr", DESCRIPTIONS), ("shape", SHAPES), ("fortran_order", ORDERS)):
        if rng.random() < 0.4:
            description[key] = either(rng, *choices)
    text = repr(description) if rng.random() < 0.7 else either(rng, *HEADERS)
    header = text.encode("latin1") + b"\n"
    version = either(rng, (1, 0), (1, 0), (2, 0), (3, 0), (0, 0), (255, 255))
    length = len(header)
    if rng.random() < 0.2:
        length = NUMBERS[rng.integers(len(NUMBERS))]
    width = 2 if version == (1, 0) else 4
    size = min(length, 2 ** (8 * width) - 1).to_bytes(width, "little")
    return b"\x93NUMPY" + bytes(version) + size + header + array.tobytes()


def zipped(members: Sequence[tuple[str, bytes]], rng: Rng, *, kinds: list[int]) -> bytes:
    """Make an archive of members that are mostly packed in these ways, and perhaps damage it."""
    others = [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w") as archive:
        warnings.simplefilter("ignore", UserWarning)  # of two members of one name
        for member, content in members:
            kind = either(rng, *kinds, *others)
            archive.writestr(zipfile.ZipInfo(member), content, kind)  # of 1980, not of now
        if rng.random() < 0.03:  # one member, many times in the directory
            archive.filelist.extend(archive.filelist[-1:] * 1000)
    content = file.getvalue()
    return damaged(content, rng) if rng.random() < 0.4 else content


def damaged_member(content: bytes, rng: Rng) -> bytes:
    """Damage an array in an archive, whose checksum will be right."""
    if rng.random() < 0.02:
        return content + bytes(BOMB)
    if rng.random() < 0.5:
        array = np.load(io.BytesIO(content))
        return lying_npy(array, rng)
    return damaged(content, rng)


def other_members(members: list[tuple[str, bytes]], rng: Rng) -> list[tuple[str, bytes]]:
    """Drop, double, rename or swap a member, or add one."""
    i, j = (int(n) for n in rng.integers(len(members), size=2))
    name, content = members[i]
    names = (
        "x/",
        "x",
        "../x.npy",
        "weight_9.npy",
        "metadata",
        "metadata.npy.npy",
        "x\x00y",
        "ü" * 300,
    )
    return either(
        rng,
        members[:i] + members[i + 1 :],
        [*members, members[i]],
        [*members[:i], (either(rng, *names), content), *members[i + 1 :]],
        [*members[:i], (name, members[j][1]), *members[i + 1 :]],
        [*members, (either(rng, *names), content)],
        [],
    )


# To what JSON says

ODD: list[Any] = [
    *(None, True, -1, 0, 1, 2**31, 2**63, 10**400, 1.5, 1e308, float("nan"), float("inf")),
    *(
        "",
        "x",
        "0",
        "\x00",
        "\ud800",
        "digits",
        [],
        [[]],
        {},
        [None],
        {"": None},
        [6, 3, 2],
        "PCG64",
    ),
]


def put_odd(tree: Any, rng: Rng) -> None:
    """Replace or drop a value somewhere in the tree, the deeper the likelier."""
    while True:
        keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
        if not keys:
            return
        key = keys[rng.integers(len(keys))]
        if isinstance(tree[key], dict | list) and tree[key] and rng.random() < 0.8:
            tree = tree[key]
        elif rng.random() < 0.2:
            del tree[key]
            return
        else:
            tree[key] = copy.deepcopy(ODD[rng.integers(len(ODD))])
            return
