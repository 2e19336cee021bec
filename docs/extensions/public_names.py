"""The directive `public-names`, which documents every public name of a module and refuses one without an example.

Also the role of single backticks in docstrings: a link where the word is a public name, else code.
"""

import importlib
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from functools import cache
from typing import Any

from docstrings import docstring, public_names, value_docstring
from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.domains.python._object import PyObject
from sphinx.environment import BuildEnvironment
from sphinx.ext.napoleon.docstring import GoogleDocstring
from sphinx.util import logging
from sphinx.util.typing import ExtensionMetadata

_LOGGER = logging.getLogger(__name__)


@cache
def _by_words() -> Mapping[str, str]:
    """Full names by what docstrings say for them, `langevin` or `sampling.langevin`, where that means one alone."""
    meant: dict[str, set[str]] = {}
    for module, names in public_names().items():
        for name in names:
            for before in ("", f"{module}.", f"{module.rpartition('.')[2]}."):
                meant.setdefault(before + name, set()).add(f"{module}.{name}")
    return {words: full.pop() for words, full in meant.items() if len(full) == 1}


class PublicNames(Directive):
    """Documents the names of a module's `__all__`."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        (module,) = self.arguments
        lines = StringList()
        for name in public_names()[module]:
            for line in self._lines(module, name):
                lines.append(line, f"{module}.{name}")
        whole = nodes.section()
        whole.document = self.state.document
        self.state.nested_parse(lines, 0, whole)
        return list(whole.children)

    def _lines(self, module: str, name: str) -> Iterator[str]:
        thing = getattr(importlib.import_module(module), name)
        text = docstring(module, name)
        if not text:
            _LOGGER.warning("%s.%s has no docstring", module, name)
        elif ">>>" not in text:
            _LOGGER.warning("%s.%s has no example", module, name)
        if value_docstring(module, name) is not None:
            yield from (f".. py:data:: {name}", f"   :module: {module}", "")
            yield from (f"   {line}" for line in str(GoogleDocstring(text)).splitlines())
        elif inspect.isclass(thing):
            yield from (f".. autoclass:: {module}.{name}", "   :members:")
        else:
            yield f".. autofunction:: {module}.{name}"
        yield ""


def _public_role(
    role: str, raw: str, text: str, line: int, inliner: Any, options: Any = None, content: Any = ()
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    full = _by_words().get(text)
    code = nodes.literal(text, text, classes=["code"])
    if full is None:
        return [code], []
    where = {"refdomain": "py", "reftype": "obj", "reftarget": full, "refwarn": True, "refexplicit": True}
    link = addnodes.pending_xref("", code, **where, **{"py:module": None, "py:class": None})
    return [link], []


def _skip(app: Sphinx, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """Fields of a NamedTuple say "Alias for field number 0"; what they are stands under Attributes."""
    return True if type(thing).__name__ == "_tuplegetter" else None


def _mend(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Takes back what napoleon and Sphinx read into colons.

    Of `:ivar a, b:`, attributes that share a description, Sphinx would take the first for a type, so that no space
    may stand there, but lines may break; and napoleon takes what stands before a colon in a property's docstring for
    one.
    """
    lines[:] = [re.sub(r"^:ivar ([\w, ]+):", lambda found: found[0].replace(", ", ",\u200b"), line) for line in lines]
    kinds = [line for line in lines if line.startswith(":type: ")]
    if what == "property" and kinds:
        lines.remove(kinds[0])
        lines[0] = f"{kinds[0].removeprefix(':type: ')}: {lines[0]}"


def _short_defaults(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, signature: str | None, returned: str | None
) -> tuple[str, str | None] | None:
    """Signatures of dataclasses without the insides of their defaults, which have pages of their own."""
    if what != "class" or not is_dataclass(thing) or signature is None:
        return None

    def shown(parameter: inspect.Parameter) -> inspect.Parameter:
        is_plain = isinstance(parameter.default, str | int | float | None) or parameter.default == ()
        default = parameter.default if parameter.default is parameter.empty or is_plain else ...
        return parameter.replace(annotation=parameter.empty, default=default)

    parameters = [shown(each) for each in inspect.signature(thing).parameters.values()]
    return str(inspect.Signature(parameters)).replace("Ellipsis", "..."), returned


def _all_are_documented(app: Sphinx, env: BuildEnvironment) -> None:
    documented = env.domains.python_domain.objects
    for module, names in public_names().items():
        for name in names:
            if f"{module}.{name}" not in documented:
                _LOGGER.warning("%s.%s is on no page", module, name)


def _call_variables_attributes() -> None:
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"


def setup(app: Sphinx) -> ExtensionMetadata:
    _call_variables_attributes()
    app.add_directive("public-names", PublicNames)
    app.add_role("public", _public_role)
    app.connect("autodoc-skip-member", _skip)
    app.connect("autodoc-process-signature", _short_defaults)
    # After napoleon.
    app.connect("autodoc-process-docstring", _mend, priority=600)
    app.connect("env-check-consistency", _all_are_documented)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
