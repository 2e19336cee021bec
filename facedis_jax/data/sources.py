"""What every data set gives its examples by, whether they are faces, images or clips."""

from typing import Protocol, TypeVar

Example = TypeVar("Example", covariant=True)


class Source(Protocol[Example]):
    """Random access to examples: deterministic, safe to share between threads.

    An example is a dictionary of arrays; those of a `Source[Face]`, `Source[Image]` or `Source[Clip]` are described
    there.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...
