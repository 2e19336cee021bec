"""How the site is built: `python -m sphinx -W --keep-going -j auto docs docs/_build/html`, without a network."""

import os
import sys
from importlib import metadata
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path[:0] = [str(DOCS / "extensions"), str(ROOT)]

# What pages run finds this checkout, the programs of this environment, and no accelerator.
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(DOCS / "extensions")])
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
os.environ["JAX_PLATFORMS"] = "cpu"
if metadata.version("jaxlib").startswith("0.10."):
    # A sixth less to compile. Later versions do not know it, and end on a flag that they do not know.
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")
# Frozen standard modules make debuggers complain, and warnings end a build.
os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"

project = "facedis_jax"
author = "the authors of facedis_jax"
project_copyright = "the authors of facedis_jax; Apache 2.0"
html_title = "facedis_jax"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "mathml", "public_names"]
exclude_patterns = ["_build", "**/.ipynb_checkpoints"]

# Executed in a temporary folder each; a page that has not changed is not executed again.
nb_execution_mode = "cache"
nb_execution_in_temp = True
nb_execution_timeout = 600
nb_execution_show_tb = True
nb_output_stderr = "remove"
nb_merge_streams = True
# No page has widgets, whose scripts come from the network.
nb_ipywidgets_js = {}
myst_enable_extensions = ["dollarmath", "amsmath", "deflist", "colon_fence"]
myst_heading_anchors = 3

nitpicky = True
default_role = "public"
# Shapes and units, which types do not tell, stand in the text.
autodoc_typehints = "none"
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 90
napoleon_use_ivar = True
napoleon_attr_annotations = False
napoleon_use_rtype = False
napoleon_use_admonition_for_examples = False

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "friendly"
pygments_dark_style = "monokai"
