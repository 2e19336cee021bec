"""Changes that turn a valid file into a hostile one; each follows from the random numbers and the bytes alone."""

import gzip
import io
import json
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

Mutation = Callable[[Random, bytes], bytes]

_NUMBERS = (
    *(b"0", b"-1", b"255", b"256", b"65535", b"65536", b"2147483647", b"2147483648", b"4294967295", b"4294967296"),
    *(b"9223372036854775807", b"18446744073709551616", b"1000000000", b"-2147483649", b"nan", b"-inf", b"1e999"),
    *(b"1e-999", b"0x10", b"1_0", b"0.5", b"1e9", b"9" * 5000),
)
_WORDS = (
    *(b"../../../../etc/passwd", b"/etc/passwd", b"\r\n", b"\n", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\x1b[2J"),
    *("\u2028\u0661\U0001f600".encode(), b"#", b'"', b"\\", b"[", b"]", b"{", b"}", b",", b"-", b" " * 300, b"null"),
)
_INTEGERS = (0, 1, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
_LONGEST = 1 << 22


def mutate(random: Random, data: bytes, others: Sequence[bytes] = (b"",)) -> bytes:
    """One to six small changes; `others` are files from which pieces may be taken."""
    for _ in range(random.choice((1, 1, 2, 3, 6))):
        data = random.choice(_CHANGES)(random, data)
        if random.random() < 0.05:
            data = _splice(random, data, random.choice(others))
    return data[:_LONGEST]


def _place(random: Random, data: bytes) -> int:
    # Headers are short and decide most.
    return random.randrange(min(len(data), 512) if random.random() < 0.4 else len(data)) if data else 0


def _flip(random: Random, data: bytes) -> bytes:
    at = _place(random, data)
    return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :] if data else data


def _cut(random: Random, data: bytes) -> bytes:
    return data[: _place(random, data)]


def _remove(random: Random, data: bytes) -> bytes:
    at = _place(random, data)
    return data[:at] + data[at + random.choice((1, 2, 4, 16, 256)) :]


def _insert(random: Random, data: bytes) -> bytes:
    at = _place(random, data)
    piece = random.choice(_WORDS) if random.random() < 0.5 else random.randbytes(random.choice((1, 4, 64, 1024)))
    return data[:at] + piece + data[at + random.choice((0, len(piece))) :]


def _repeat(random: Random, data: bytes) -> bytes:
    at = _place(random, data)
    length = random.choice((1, 2, 8, 64, 1024))
    # Seldom enough to make the file large, for what grows faster than the file.
    times = random.choice((2, 8, 64)) if random.random() < 0.98 else random.randrange(1, 1 << 20) // length + 1
    return data[:at] + data[at : at + length] * times + data[at + length :]


def _integer(random: Random, data: bytes) -> bytes:
    at = _place(random, data)
    size = random.choice((1, 2, 4, 8))
    value = random.choice(_INTEGERS) & ((1 << 8 * size) - 1)
    return data[:at] + value.to_bytes(size, random.choice(("little", "big"))) + data[at + size :]


def _number(random: Random, data: bytes) -> bytes:
    """Replaces a number in the text by another one."""
    start = _place(random, data)
    found = re.compile(rb"-?\d[\d.e+-]*").search(data, start, start + 4096)
    return data[: found.start()] + random.choice(_NUMBERS) + data[found.end() :] if found else data


def _swap_lines(random: Random, data: bytes) -> bytes:
    lines = data.split(b"\n") if len(data) < 1 << 16 else [data]
    i, j = random.randrange(len(lines)), random.randrange(len(lines))
    lines[i], lines[j] = lines[j], lines[i]
    return random.choice((b"\n", b"\n", b"\r\n", b"\r", b" ")).join(lines)


def _noise(random: Random, data: bytes) -> bytes:
    return random.randbytes(random.choice((0, 1, 8, 100, 5000))) if random.random() < 0.1 else data


def _splice(random: Random, data: bytes, other: bytes) -> bytes:
    start = _place(random, other)
    at = _place(random, data)
    return data[:at] + other[start : start + 4096] + data[at + random.choice((0, 4096)) :]


_CHANGES: tuple[Mutation, ...] = (
    *(_flip, _flip, _cut, _remove, _insert, _repeat, _integer, _integer, _number, _number, _swap_lines, _noise),
)


def mutate_zip(random: Random, data: bytes) -> bytes:
    """Changes, renames, removes or repeats a member of an archive, with right checksums."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = [info for info in archive.infolist() if info.file_size < _LONGEST and info.filename]
            members = [(info.filename, archive.read(info)) for info in infos]
    except Exception:
        return mutate(random, data)
    if not members:
        return mutate(random, data)
    i = random.randrange(len(members))
    name, content = members[i]
    match random.randrange(8):
        case 0:
            members[i] = (
                random.choice(("../a.npy", "/a.npy", "a\nb.npy", "neutral.npy", "a/", name[:-4] or "a")),
                content,
            )
        case 1:
            del members[i]
        case 2:
            members.append(members[i])
        case 3:
            members[i] = (name, content + bytes(random.choice((1, 1 << 10, 1 << 24))))
        case _:
            # The header of an array ends within 128 bytes.
            head, tail = content[:128], content[128:]
            members[i] = (name, mutate(random, head) + (tail if random.random() < 0.7 else mutate(random, tail)))
    stream = io.BytesIO()
    compression = random.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED))
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", compression) as archive:
        warnings.simplefilter("ignore")  # Of names that come twice.
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return stream.getvalue()


def mutate_gzip(random: Random, data: bytes) -> bytes:
    """Changes the uncompressed bytes of a gzip file."""
    try:
        return gzip.compress(mutate(random, gzip.decompress(data)), 1, mtime=0)
    except Exception:
        return mutate(random, data)


def mutate_png(random: Random, data: bytes) -> bytes:
    """Changes, repeats or moves a chunk of a PNG, with right checksums; other files are changed by `mutate`."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return mutate(random, data)
    chunks, at = [], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    if not chunks:
        return mutate(random, data)
    i = random.randrange(len(chunks))
    kind, content = chunks[i]
    match random.randrange(5):
        case 0:
            chunks.insert(random.randrange(len(chunks)), chunks[i])
        case 1:
            text = b"a\0\0" + zlib.compress(bytes(random.choice((10, 1 << 20))))
            chunks.insert(1, (random.choice((b"zTXt", b"iCCP", b"tEXt", b"eXIf", b"acTL", b"fdAT", b"tRNS")), text))
        case 2 if kind == b"IDAT":
            chunks[i] = (kind, zlib.compress(mutate(random, content)))
        case _:
            chunks[i] = (kind, mutate(random, content))
    parts = [struct.pack(">I", len(content)) + kind + content for kind, content in chunks]
    sums = [struct.pack(">I", zlib.crc32(part[4:])) for part in parts]
    return data[:8] + b"".join(part + crc for part, crc in zip(parts, sums, strict=True))


_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**31, 2**63, 10**400, 1e308, float("nan"), float("inf"), -0.5, "", "../..", "\x1b\n\0"),
    *("a" * 5000, "\ud800", [], {}, [[]], [1] * 1000, {"a": {}}),
)


def mutate_tensors(random: Random, data: bytes) -> bytes:
    """Changes the header of a safetensors file, its card, what they say of its length, or its numbers."""
    length = int.from_bytes(data[:8], "little")
    head, body = data[8 : 8 + length], data[8 + length :]
    try:
        header = json.loads(head)
        card = header["__metadata__"]["card"].encode()
    except Exception:
        return mutate(random, data)
    match random.randrange(5):
        case 0:
            head = mutate_json(random, head)
        case 1:
            length = random.choice((length + random.choice((-1, 1, 8)), *_INTEGERS))
            return length.to_bytes(8, "little") + head + body
        case 2:
            at = 4 * random.randrange(max(1, len(body) // 4))
            word = random.choice((b"\0\0\xc0\x7f", b"\0\0\x80\xff", b"\xff\xff\x7f\x7f", b"\xff" * 4))
            body = body[:at] + word + body[at + 4 :]
        case _:
            for _ in range(random.choice((1, 1, 3))):
                card = mutate_json(random, card)
            header["__metadata__"]["card"] = card.decode("utf-8", "replace")
            head = json.dumps(header).encode()
    return len(head).to_bytes(8, "little") + head + body


def mutate_json(random: Random, data: bytes) -> bytes:
    """Replaces, repeats or removes a value of a JSON document, or nests it a thousand levels deep."""
    try:
        document = json.loads(data)
    except Exception:
        return mutate(random, data)
    parent: Any = None
    key: Any = None
    node = document
    while isinstance(node, dict | list) and node and random.random() < 0.85:
        parent, key = node, random.choice(list(node) if isinstance(node, dict) else range(len(node)))
        node = node[key]
    value = random.choice(_VALUES)
    match random.randrange(6):
        case 0:
            levels = random.choice((10, 100, 900, 20000))
            text = json.dumps(document).encode()
            hole = text.find(b":") + 1
            return text[:hole] + b"[" * levels + b"]" * levels + b"," + text[hole:]
        case 1 if isinstance(parent, dict):
            del parent[key]
        case 2 if isinstance(parent, dict):
            parent[random.choice(("unknown", "../..", "", "\x1b"))] = value
        case _ if parent is not None:
            parent[key] = value
        case _:
            document = value
    return json.dumps(document, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")
