"Sphinx settings of the site that build.py renders."
import sys
from importlib.util import find_spec
from pathlib import Path

from nbdev.config import get_config

sys.path.insert(0, str(Path(__file__).parent)) # for build.slug

cfg = get_config(Path(__file__).parent)
project = html_title = cfg.title
release = cfg.version
extensions = ['myst_nb', 'sphinx_copybutton']
nb_execution_mode = 'off' # the outputs are those that the notebooks were saved with
nb_merge_streams = True
myst_enable_extensions = ['dollarmath', 'amsmath', 'colon_fence', 'html_image']
myst_heading_anchors = 4
myst_heading_slug_func = 'build.slug'
suppress_warnings = ['myst.header'] # a symbol's heading is always of level 3
html_theme = 'furo'
html_use_index = False # build.py makes a page of all names
mathjax = Path(find_spec('sphinx-mathjax-offline').origin).parent/'static/mathjax/tex-svg.js'
html_static_path = ['_static', str(mathjax)] # one file, which draws formulas without fonts and without a network
mathjax_path = mathjax.name
mathjax3_config = dict(options=dict(enableMenu=False))
html_css_files = ['nb.css']
html_search_scorer = str(Path(__file__).with_name('scorer.js'))
html_copy_source = False
html_show_copyright = False
