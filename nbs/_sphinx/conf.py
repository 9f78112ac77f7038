"Sphinx settings of the site that build.py renders."
import sys
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
html_static_path = ['_static']
html_css_files = ['nb.css']
html_search_scorer = str(Path(__file__).with_name('scorer.js'))
html_copy_source = False
html_show_copyright = False
html_math_renderer = 'mathml'

def setup(app):
    "Formulas as MathML, which browsers draw by themselves: the site needs no network"
    from docutils import nodes
    from latex2mathml.converter import convert
    def inline(self, node):
        self.body.append(convert(node.astext()))
        raise nodes.SkipNode
    def block(self, node):
        self.body.append(f'<div class="nb-math">{convert(node.astext(), display="block")}</div>')
        raise nodes.SkipNode
    app.add_html_math_renderer('mathml', inline_renderers=(inline, None), block_renderers=(block, None))
