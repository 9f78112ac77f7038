"""README.md and its pictures, from nbs/index.ipynb."""
import base64
import re
from posixpath import normpath
from textwrap import indent

import nbformat


def links(markdown):
    "Relative links and pictures, as seen from the root of the repository"
    return re.sub(r'(\]\(|src=")(?![#/])([^:)"\s]+)(?=[)"])', lambda m: m[1]+normpath('nbs/'+m[2]), markdown)

def render(path):
    "The text of README.md, and its pictures: {path: bytes}"
    blocks, pictures = [], {}
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type == 'markdown': blocks.append(links(cell.source))
        if cell.cell_type != 'code' or re.search(r'^#\|\s*hide\b', cell.source, re.M): continue
        code = re.sub(r'^#\|.*\n?', '', cell.source, flags=re.M).strip()
        if code and not re.search(r'^#\|\s*echo:\s*false', cell.source, re.M): blocks.append(f'```python\n{code}\n```')
        for output in cell.outputs:
            data = output.get('data', {})
            if 'image/png' in data:
                name = f'nbs/images/index-{len(pictures)+1}.png'
                pictures[name] = base64.b64decode(data['image/png'])
                blocks.append(f'![]({name})')
            elif 'text/markdown' in data: blocks.append(links(data['text/markdown']))
            elif text := data.get('text/plain') or output.get('text'): blocks.append(indent(text.rstrip(), '    '))
    return '\n\n'.join(blocks)+'\n', pictures
