"""Files compressed with gzip, unpacked in memory in proportion to the file."""

import zlib

from facedis_jax.errors import InputError

_MAGIC = b"\x1f\x8b"
# Text of coordinates compresses three to eight times.
_MOST_TIMES_COMPRESSED = 16
_ALWAYS_READ = 4 << 20


def unpack(where: object, data: bytes) -> bytes:
    """The content of a gzip file, or the data themselves where they are none; what follows a first member is read too.

    Args:
      where: the file, for errors.
      data: its bytes.

    Raises:
      InputError: where the file is damaged or truncated, or would unpack to far more than its size.
    """
    if not data.startswith(_MAGIC):
        return data
    most = max(_MOST_TIMES_COMPRESSED * len(data), _ALWAYS_READ)
    unpacked = bytearray()
    rest = data
    try:
        while rest.startswith(_MAGIC):
            member = zlib.decompressobj(zlib.MAX_WBITS | 16)
            unpacked += member.decompress(rest, most + 1 - len(unpacked))
            if len(unpacked) > most:
                raise InputError(where, f"a gzip file of at most {most >> 20} MiB unpacked", "more")
            if not member.eof:
                raise InputError(where, "a whole gzip file", "a truncated one")
            rest = member.unused_data
    except zlib.error as error:
        raise InputError(where, "a whole gzip file", f"a damaged one ({error})") from None
    return bytes(unpacked)
