"""The one error that a user sees: what was looked at, what was expected there, what was found."""


class InputError(Exception):
    """Input from outside (a file, a folder, an option) that cannot be used.

    Commands print it as one line and exit with code 2; library code lets it fly.

    Args:
      where: the file, folder or option at fault.
      expected: what would have been accepted.
      found: what was there instead.
    """

    def __init__(self, where: object, expected: str, found: str):
        self.where, self.expected, self.found = str(where), expected, found
        line = " ".join(f"{self.where}: expected {expected}, found {found}".split())
        # Names of files may hold anything, control sequences of the terminal among it.
        super().__init__("".join(x if x.isprintable() else x.encode("unicode_escape").decode() for x in line))


def check_least(config: object, **least: float) -> None:
    """Checks that settings of a configuration are no smaller than they may be.

    Args:
      config: that has them.
      **least: the smallest value of each, by its name.

    Raises:
      InputError: for the first that is smaller.
    """
    for name, number in least.items():
        found = getattr(config, name)
        if found < number:
            raise InputError(name, f"{number} or more", str(found))


def reason(error: Exception) -> str:
    """Why something failed, without the number and the file that an OSError puts around it."""
    return getattr(error, "strerror", None) or str(error)
