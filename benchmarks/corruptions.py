"""Our corruptions against the public ones: mean absolute change of a pixel, same constants, same images.

    python -m venv oracle                                    # apart from this project: it needs OpenCV
    oracle/bin/pip install imagecorruptions 'numpy<2' 'setuptools<70'
    python benchmarks/corruptions.py oracle/bin/python       # writes results/corruptions.jsonl

imagecorruptions has its constants inside its functions, those for large images. Its source is run with ours."""
import json
import re
import subprocess
import sys
from pathlib import Path

IMAGES = 200

def theirs():
    "In the oracle's environment: constants and images come in, one line for each strength goes out"
    import importlib.util
    from importlib.metadata import version

    import cv2
    import numpy as np
    from PIL import Image
    from scipy.ndimage import map_coordinates
    from skimage.filters import gaussian
    request = json.load(sys.stdin)
    folder = Path(importlib.util.find_spec('imagecorruptions').origin).parent
    source = (folder/'corruptions.py').read_text()
    for old, new in [('multichannel=True', 'channel_axis=-1'), # for a current scikit-image
                     ('ndimage.interpolation', 'ndimage'), # and SciPy
                     ('amount=c', 'amount=c, rng=np.random.randint(2**31)'), # scikit-image would draw its own seed
                     ('from pkg_resources import resource_filename', ''),
                     ('return img\n\ndef getOptimal', # cropped about the centre, as for CIFAR-10-C
                      'n = round(ch0*zoom_factor)-32 >> 1\n    return img[n:n+32, n:n+32]\n\ndef getOptimal')]:
        assert old in source, old
        source = source.replace(old, new)
    photos = map(cv2.imread, map(str, sorted((folder/'frost').iterdir())[:5]))
    frosts = [cv2.resize(p, (0, 0), fx=.2, fy=.2)[..., ::-1] for p in photos]

    def frost(x, c): # at a fifth of their size, as for CIFAR-10-C
        p = frosts[np.random.randint(5)]
        i, j = (np.random.randint(s-32) for s in p.shape[:2])
        return c[0]*np.array(x)+c[1]*p[i:i+32, j:j+32]

    def elastic(x, c): # the one for large images has no affine jitter
        height, width, jitter = (32*v for v in c)
        points = np.float32([[26, 26], [26, 6], [6, 6]])
        affine = cv2.getAffineTransform(points, points+np.random.uniform(-jitter, jitter, (3, 2)).astype(np.float32))
        x = cv2.warpAffine(np.array(x, np.float32), affine, (32, 32), borderMode=cv2.BORDER_REFLECT_101)
        def wave(): return height*gaussian(np.random.uniform(-1, 1, (32, 32)), width, mode='reflect', truncate=3)
        at = np.mgrid[:32, :32]+np.stack([wave(), wave()])
        return np.stack([map_coordinates(x[..., k], at, order=1, mode='reflect') for k in range(3)], -1)

    def published(name):
        body = re.search(rf'^def {name}\(.*?(?=^def |\Z)', source, re.S|re.M)[0]
        body, n = re.subn(r'\bc = \[.*?\]\s*\[\s*severity - 1\s*\]', 'c = severity', body, count=1, flags=re.S)
        assert n, name
        scope = {}
        exec(source, scope)
        exec(body, scope)
        return scope[name]

    constants = dict(zoom_blur=lambda c: [1+i/100 for i in range(c)], glass_blur=lambda c: (c[0], 1, c[1]))
    np.random.seed(0)
    x = np.load(request['data'])['test_images'][:IMAGES]
    for name, levels in request['levels'].items():
        f = dict(frost=frost, elastic=elastic).get(name) or published(dict(jpeg='jpeg_compression').get(name, name))
        oracle = (f'opencv-python {version("opencv-python")}, scipy {version("scipy")}' if name == 'elastic'
                  else f'imagecorruptions {version("imagecorruptions")}')
        for severity, c in enumerate(levels, 1):
            c = constants.get(name, lambda c: c)(c)
            y = np.stack([np.clip(f(Image.fromarray(i), c), 0, 255) for i in x]).astype(float)
            print(json.dumps(dict(corruption=name, severity=severity, theirs=np.abs(y-x).mean(), oracle=oracle)))

def main(python):
    import torch

    from dd_debias.corruptions import CORRUPTIONS
    from dd_debias.files import atomic_write
    from dd_debias.pixels import to_float
    from dd_debias.sources import cifar10, data_root
    levels = {name: f.levels for name, f in CORRUPTIONS.items() if name != 'original'}
    request = json.dumps(dict(levels=levels, data=str(data_root()/'cifar10.npz')))
    answer = subprocess.run([python, __file__], input=request, stdout=subprocess.PIPE, text=True, check=True).stdout
    x = to_float(cifar10('test')[0][:IMAGES])
    with atomic_write(Path(__file__).parents[1]/'results/corruptions.jsonl') as path, open(path, 'w') as out:
        for r in map(json.loads, answer.splitlines()):
            y = CORRUPTIONS[r['corruption']](x, r['severity'], torch.Generator().manual_seed(0))
            r['theirs'], r['ours'] = round(r['theirs'], 3), round(255*(y-x).abs().mean().item(), 3)
            print(json.dumps(r | dict(images=IMAGES)), file=out)

if __name__ == '__main__': main(sys.argv[1]) if len(sys.argv) > 1 else theirs()
