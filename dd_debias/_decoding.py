"""How `dd_debias.image_folder` reads images: one image, a cache of decoded images, class folders, data sets.

Written by hand, not exported. The public functions, with examples, are in nbs/04_image_folder.ipynb."""
import hashlib
import json
import os
import stat
import struct
import sys
import unicodedata
import zlib
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from tqdm import tqdm

from .files import atomic_write
from .runtime import derive_seed, first_line, seeded
from .sources import data_root

Decoded = tuple[Tensor, float] # (3,size,size) uint8, and the share of the picture that was cropped away
Reader = Callable[[int], Decoded|str] # i -> the i-th image, or the reason why it cannot be read
Report = Callable[[str], object]|None # called with each message; None: print

READ_ERRORS = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
FITS = ('crop', 'pad', 'squash') # what is done with an image that is not square
CHANNELS = (1, 3, 4) # grey, RGB, RGBA
ARRAYS = (np.ndarray, Tensor)
# Named one by one, since Pillow knows formats that it reads with other programs: Ghostscript executes what an EPS file
# says. HEIF is read where pillow_heif is registered. TGA comes last, since its files do not begin with a mark
FORMATS = ('JPEG', 'PNG', 'GIF', 'BMP', 'DIB', 'WEBP', 'TIFF', 'AVIF', 'HEIF', 'JPEG2000', 'MPO', 'PPM', 'PCX', 'QOI',
           'SGI', 'TGA')
IGNORED = ('__MACOSX', '@eaDir', '__pycache__', 'lost+found', '$RECYCLE.BIN', 'System Volume Information')
SPLITS = dict(train=('train', 'training'), valid=('valid', 'val', 'validation'), test=('test', 'testing'))
DECODER_VERSION = 1 # raise it when the pixels that `decode_image` returns change, so that old caches are not read

def printable(text:object)->str:
    "The text, with escapes for bytes of a name that are not UTF-8, and for line breaks and other control characters"
    return ''.join(repr(c)[1:-1] if unicodedata.category(c) in ('Cc', 'Cs') else c for c in str(text))

def report(message:str, on_skip:Report)->None:
    "Call `on_skip` with the message, or print it, in an encoding that has no such letters too"
    text = printable(message)
    encoding = getattr(sys.stdout, 'encoding', None) or 'utf-8'
    if on_skip: on_skip(text)
    else: print(text.encode(encoding, 'backslashreplace').decode(encoding))

# One image

def check_fit(fit:str)->None:
    "Raises ValueError for an unknown `fit`"
    if fit not in FITS: raise ValueError(f"fit must be 'crop', 'pad' or 'squash', got {fit!r}")

def check_depth(
    high:float, # the largest value
)->None:
    "Raises ValueError for 16-bit values which are bytes in truth, and would be black"
    if 0 < high < 256:
        raise ValueError(f'pixels are 16-bit integers up to {high}, which would be black; '
                         'store them as 8-bit integers, or multiply them by 257')

def deep_to_rgb(
    im:Image.Image, # of 16 or 32 bits a pixel, which Pillow's `convert` would clip
)->Image.Image:
    """Scale 16-bit integers and floats in [0,1] to bytes by constants, other ranges by their minimum and maximum.

    Raises ValueError for NaN or infinite values"""
    pixels = np.asarray(im).astype(np.float32) # (H,W)
    full_range = 1 if im.mode == 'F' else 65535
    low = float(pixels.min())
    high = float(pixels.max())
    if not np.isfinite(high-low): raise ValueError('it holds NaN or infinite values')
    if im.mode != 'F': check_depth(int(high))
    if low >= 0 and high <= full_range:
        low = 0
        high = full_range
    scaled = (pixels-low)*(255/max(high-low, 1e-9))
    return Image.fromarray(scaled.round().astype(np.uint8)).convert('RGB')

def to_rgb(im:Image.Image)->Image.Image:
    "Convert an image of any mode to RGB; what is transparent becomes white"
    if im.mode.startswith(('I', 'F')): return deep_to_rgb(im)
    if im.mode in ('LA', 'La', 'PA', 'RGBA', 'RGBa') or 'transparency' in im.info:
        page = Image.new('RGBA', im.size, 'white')
        page.alpha_composite(im.convert('RGBA'))
        im = page
    return im.convert('RGB')

def make_square(
    im:Image.Image,
    size:int, # edge in pixels
    fit:str, # one of FITS
)->Image.Image: # RGB
    "Resize an image to a square: its central square ('crop'), all of it between black bars ('pad'), or distorted"
    rgb = to_rgb(im)
    if fit == 'crop':
        edge = min(rgb.size)
        left = (rgb.width-edge)//2
        top = (rgb.height-edge)//2
        rgb = rgb.crop((left, top, left+edge, top+edge))
    width = height = size
    if fit == 'pad':
        scale = size/max(rgb.size)
        width = max(1, round(rgb.width*scale))
        height = max(1, round(rgb.height*scale))
    resized = rgb.resize((width, height), Image.Resampling.LANCZOS)
    if fit != 'pad': return resized
    page = Image.new('RGB', (size, size))
    page.paste(resized, ((size-width)//2, (size-height)//2))
    return page

def decode_pil(
    im:Image.Image,
    size:int, # edge in pixels
    fit:str, # one of FITS
)->Decoded:
    "Turn an image upright and make it a square of that size"
    cropped = 1-min(im.size)/max(im.size) if fit == 'crop' else 0.
    square = make_square(ImageOps.exif_transpose(im), size, fit)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous(), cropped

def decode_file(
    path:str|Path,
    size:int, # edge in pixels
    fit:str, # one of FITS
)->Decoded:
    "Read an image file of one of the FORMATS"
    if not stat.S_ISREG(os.stat(path).st_mode): raise ValueError('it is no regular file')
    with Image.open(path, formats=known_formats()) as im:
        # a large JPEG is decoded at 1/2, 1/4 or 1/8, if that is still three times `size`
        im.draft(None, (3*size, 3*size)) # type: ignore[arg-type]
        return decode_pil(im, size, fit)

def known_formats()->list[str]:
    "Those of the FORMATS that this Pillow can read"
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]

def to_bytes(
    pixels:np.ndarray, # integers in 0..255, uint16, or floats in [0,1]
)->np.ndarray: # the same shape, uint8
    "Scale pixels to bytes. Raises ValueError for any other range"
    kind = pixels.dtype.kind
    if kind not in 'biuf': raise ValueError(f'pixels must be integers in 0..255 or floats in [0,1], got {pixels.dtype}')
    if pixels.dtype == np.uint8 or not pixels.size: return pixels.astype(np.uint8, copy=False)
    low = pixels.min()
    high = pixels.max()
    if pixels.dtype == np.uint16:
        check_depth(int(high))
        return (pixels/np.float32(257)).round().astype(np.uint8)
    if kind in 'bf' and low >= 0 and high <= 1: return (pixels*np.float32(255)).round().astype(np.uint8)
    if kind in 'iu' and low >= 0 and high <= 255: return pixels.astype(np.uint8)
    raise ValueError('pixels must be integers in 0..255 or floats in [0,1], '
                     f'got {pixels.dtype} from {low} to {high}; scale them first')

def to_numpy(x:np.ndarray|Tensor)->np.ndarray:
    "Raises ValueError for a tensor without values, such as a sparse one"
    if isinstance(x, np.ndarray): return x
    try: return (x.float() if x.is_floating_point() else x).detach().cpu().numpy() # NumPy has no bfloat16
    except (TypeError, RuntimeError) as e:
        raise ValueError(f'images must be a dense tensor, got one of {x.layout} on {x.device}') from e

def channels_last(
    x:np.ndarray|Tensor, # one image or a batch: (H,W), (H,W,C) or (C,H,W), after the leading axes
    leading:int, # number of axes before those of the image
)->np.ndarray: # (...,H,W,C) uint8
    "Bring images to NumPy's order of axes and to bytes. Raises ValueError for other axes, channels or pixel ranges"
    pixels = to_numpy(x)
    if pixels.ndim == leading+2: pixels = pixels[..., None]
    if pixels.ndim != leading+3:
        raise ValueError(f'an image must have axes H,W or H,W,C or C,H,W, got shape {tuple(x.shape)}')
    could_be_first = pixels.shape[-3] in CHANNELS
    could_be_last = pixels.shape[-1] in CHANNELS
    # where both fit, torch puts channels first and NumPy puts them last
    if could_be_first and (isinstance(x, Tensor) or not could_be_last): pixels = np.moveaxis(pixels, -3, -1)
    if 0 in pixels.shape[leading:]: raise ValueError(f'images must have pixels, got shape {tuple(x.shape)}')
    if pixels.shape[-1] not in CHANNELS:
        raise ValueError(f'images must have 1, 3 or 4 channels, got shape {tuple(x.shape)}')
    return to_bytes(pixels)

def image_from_array(
    x:np.ndarray|Tensor, # (H,W), (H,W,C) or (C,H,W)
)->Image.Image:
    "Make a PIL image of an array or tensor. Raises ValueError as `channels_last` does"
    pixels = channels_last(x, leading=0) # (H,W,C)
    if pixels.shape[-1] == 1: pixels = pixels[..., 0]
    return Image.fromarray(np.ascontiguousarray(pixels))

def failure_reason(error:Exception)->str:
    "Say in one line why an image could not be read"
    if isinstance(error, UnidentifiedImageError): return 'it is no image of a format that is read'
    return getattr(error, 'strerror', None) or first_line(error)

def decode_source(
    source:str|Path|Image.Image|np.ndarray|Tensor, # path, PIL image, (H,W) or (H,W,C) array, (C,H,W) tensor
    size:int, # edge in pixels
    fit:str, # one of FITS
)->Decoded:
    "Read one image. Raises ValueError if it cannot be read"
    try:
        if isinstance(source, (str, Path)): return decode_file(source, size, fit)
        if isinstance(source, ARRAYS): source = image_from_array(source)
        if isinstance(source, Image.Image): return decode_pil(source, size, fit)
    except Exception as e: # Pillow raises errors of many types for a damaged file
        name = printable(source) if isinstance(source, (str, Path)) else 'the image'
        raise ValueError(f'{name} cannot be read: {failure_reason(e)}') from e
    raise ValueError(f'source must be a path, a PIL image, an array or a tensor, got {type(source).__name__}')

# Many images, decoded once

def report_skipped(
    reasons:list[str], # one for each image that was left out
    count:int, # number of all images
    on_skip:Report,
)->None:
    "Report the images that were left out, and why, in one message"
    if not reasons: return
    listed = '; '.join(reasons[:5])
    more = '; ...' if len(reasons) > 5 else ''
    report(f'skipped {len(reasons):,} of {count:,} images: {listed}{more}', on_skip)

def report_cropped(
    cropped:int, # number of images that were cropped
    lost:float, # share of such an image that was left out, on average
    count:int, # number of all images
    on_skip:Report,
)->None:
    "Report how many images were cropped to a square, and how much of them was lost"
    if not cropped: return
    report(f'cropped {cropped:,} of {count:,} images to their central square, which leaves out {lost:.1%} of each '
           "on average; fit='pad' or fit='squash' keeps all of it", on_skip)

def absolute_paths(paths:Iterable[str|Path])->list[str]:
    "Raises ValueError for what is no list of paths"
    if isinstance(paths, (str, bytes, Path)): raise ValueError('paths must be a list of paths, got a single one')
    try: return [os.path.abspath(os.fsdecode(path)) for path in paths]
    except TypeError as e: raise ValueError(f'paths must be a list of paths ({e})') from e

def file_stamp(path:str)->tuple:
    "Path, size and time of change of a file; the path alone if it cannot be found"
    try: status = os.stat(path)
    except (OSError, ValueError): return (path,)
    return path, status.st_size, status.st_mtime_ns

def cache_path(
    key:object, # plain data; another key is another file
    size:int, # edge in pixels
    fit:str, # one of FITS
    cache:str|Path|None, # folder; None: decoded/ in `data_root()`
)->Path: # *.npy
    "Where the decoded images are kept"
    if fit != 'crop': key = (fit, key) # the name of cropped ones is that of caches older than `fit`
    digest = hashlib.blake2b(repr((DECODER_VERSION, size, key)).encode(), digest_size=12).hexdigest()
    folder = Path(os.path.expanduser(cache)) if cache else data_root()/'decoded'
    return folder/f'{digest}.npy'

class Cached(NamedTuple):
    "What `write_cache` wrote"
    images:np.ndarray # (M,3,size,size) uint8, mapped from disk
    skipped:dict[int, str] # index -> why it was left out
    cropped:int # number of images that were cropped
    lost:float # share of such an image that was left out, on average

def load_cache(
    path:Path, # *.npy
    count:int, # of images, read or not
    size:int, # edge in pixels
)->Cached|None: # None if it is missing, or not what it should be
    "Read what `write_cache` wrote"
    if not (path.is_file() and path.with_suffix('.json').is_file()): return None
    try:
        meta = json.loads(path.with_suffix('.json').read_text())
        skipped = {int(i): str(why) for i, why in meta['skipped'].items()}
        cropped = int(meta.get('cropped', 0))
        lost = float(meta.get('lost', 0))
        images = np.lib.format.open_memmap(path, mode='c') # 'c': changes to the array do not reach the file
    except Exception: return None # whatever a damaged file may raise
    is_whole = images.shape == (count-len(skipped), 3, size, size) and images.dtype == np.uint8
    return Cached(images, skipped, cropped, lost) if is_whole and set(skipped) <= set(range(count)) else None

def read_in_order(
    read:Reader,
    count:int,
    workers:int, # threads
)->Iterator[Decoded|str]:
    "Yield read(0), ..., read(count-1), computed in several threads and only a few images ahead"
    with ThreadPoolExecutor(workers) as pool:
        pending:deque = deque()
        for i in range(count):
            pending.append(pool.submit(read, i))
            if len(pending) > 4*workers: yield pending.popleft().result()
        while pending: yield pending.popleft().result()

def write_header(
    file:BinaryIO,
    count:int, # of images
    size:int, # edge in pixels
)->None:
    "Write the header of an .npy file of (count,3,size,size) bytes. It takes 128 bytes whatever the count"
    header = dict(descr='|u1', fortran_order=False, shape=(count, 3, size, size))
    np.lib.format.write_array_header_1_0(file, header)

def write_cache(
    path:Path, # *.npy
    read:Reader,
    count:int,
    size:int, # edge in pixels
    workers:int, # threads
)->None:
    "Decode all images into one .npy file, and write which could not be read, and why, into a .json file beside it"
    skipped = {}
    losses = []
    with atomic_write(path) as temporary, open(temporary, 'wb') as file:
        write_header(file, count, size)
        results = read_in_order(read, count, workers)
        for i, result in enumerate(tqdm(results, total=count, desc='decoding', disable=None, leave=False)):
            if isinstance(result, str):
                skipped[i] = result
                continue
            image, cropped = result
            file.write(image.numpy())
            if cropped: losses.append(cropped)
        file.seek(0)
        write_header(file, count-len(skipped), size)
    meta = dict(skipped=skipped, cropped=len(losses), lost=float(np.mean(losses or [0])))
    with atomic_write(path.with_suffix('.json')) as temporary: # last, since without it the cache counts as missing
        temporary.write_text(json.dumps(meta))

def decode_cached(
    read:Reader,
    count:int,
    size:int, # edge in pixels
    key:object, # plain data that changes when an image changes
    *,
    fit:str, # one of FITS
    cache:str|Path|None, # folder; None: decoded/ in `data_root()`
    on_skip:Report,
    workers:int=1, # threads
)->tuple[Tensor, Tensor]: # images (M,3,size,size) uint8, mapped from disk; (M,) their numbers among 0..count-1
    "Decode the images read(0), ..., read(count-1), or find them decoded on disk"
    path = cache_path(key, size, fit, cache)
    found = load_cache(path, count, size)
    # an image that could not be read may have been repaired
    if found is None or not all(isinstance(read(i), str) for i in found.skipped):
        write_cache(path, read, count, size, workers)
        found = load_cache(path, count, size)
    if found is None: raise OSError(f'{path} was changed while it was written; run again, or choose another cache')
    report_skipped(list(found.skipped.values()), count, on_skip)
    report_cropped(found.cropped, found.lost, count, on_skip)
    kept = [i for i in range(count) if i not in found.skipped]
    return torch.from_numpy(found.images), torch.tensor(kept, dtype=torch.long)

# Labels

def list_labels(
    labels:Any, # an array, a tensor, a column of a table, or any iterable
)->list:
    "Labels as a list of Python's own values. Raises ValueError for what is no list of labels"
    if isinstance(labels, (str, bytes, dict, set)) or not hasattr(labels, '__iter__'):
        raise ValueError(f'labels must be a list of one label for each image, got {type(labels).__name__}')
    if hasattr(labels, 'tolist'): values = labels.tolist()
    elif hasattr(labels, '__array__'): values = np.asarray(labels).tolist() # such as a table of pandas
    else: values = [label.item() if getattr(label, 'ndim', None) == 0 else label for label in labels]
    if not isinstance(values, list): raise ValueError('labels must be one label for each image, got a single one')
    return values

def is_missing(label:Any)->bool:
    "Whether a label is an empty name, or None or what else stands for an empty cell of a table"
    return not label if isinstance(label, str) else str(label) in ('None', 'nan', 'NaT', '<NA>')

def check_label(label:Any, number:int)->None:
    "Raises ValueError unless a label is a whole number or a name"
    if isinstance(label, str): return
    if hasattr(label, '__len__') and not isinstance(label, bytes):
        raise ValueError(f'labels must be one for each image, got {len(label)} at number {number}; '
                         'if they are one-hot, give labels.argmax(1)')
    is_number = isinstance(label, (int, float, np.integer, np.floating))
    if not is_number or label != label//1 or abs(label) >= 2**53:
        raise ValueError(f'labels must be whole numbers or names, got {label!r} at number {number}')

def number_labels(
    labels:list, # (N,) integers or names, from `list_labels`
    names:list[str]|None=None, # of the classes, by number; None: the labels are their own names
)->tuple[Tensor, tuple[str, ...]]: # labels (N,) 0..C-1, names of the C classes
    """Number the labels without gaps.

    Raises ValueError if they are no integers or names, if some are missing, or if one has no name"""
    missing = [i for i, label in enumerate(labels) if is_missing(label)]
    if missing:
        raise ValueError(f'labels: {len(missing):,} of {len(labels):,} are missing, the first at number {missing[0]}; '
                         'leave those images out')
    for i, label in enumerate(labels): check_label(label, i)
    are_names = {isinstance(label, str) for label in labels}
    if len(are_names) > 1: raise ValueError('labels must be all numbers or all names, got some of both')
    given = np.asarray(labels)
    if given.dtype.kind == 'f': given = given.astype(np.int64)
    values, numbers = np.unique(given, return_inverse=True)
    if names and True not in are_names:
        if values[0] < 0:
            raise ValueError(f'labels: {(given < 0).sum()} of {len(given)} are missing (-1); leave those images out')
        if values[-1] >= len(names):
            raise ValueError(f'labels: the source has {len(names)} names of classes, and none for {values[-1]}; '
                             'give its images and labels as arrays')
    else: names = None
    classes = tuple(printable(names[v] if names else v) for v in values)
    return torch.from_numpy(numbers).long(), classes

def number_bias(
    bias:Any, # (N,) of the same values as the labels: the class whose shortcut an image shows
    classes:tuple[str, ...], # names of the C classes
    n:int,
)->Tensor: # (N,) 0..C-1
    "Number the bias as the labels are. Raises ValueError for another number of them, or for one that is no class"
    names = [printable(value) for value in list_labels(bias)]
    if len(names) != n: raise ValueError(f'bias must be one for each of {n} images, got {len(names)}')
    unknown = sorted(set(names)-set(classes))
    if unknown:
        raise ValueError(f"bias: {unknown[0]!r} is no class; give for each image the class whose shortcut it shows, "
                         f"of {', '.join(classes[:8])}")
    return torch.tensor([classes.index(name) for name in names])

def split_indices(
    labels:Tensor, # (N,) 0..C-1
    classes:tuple[str, ...], # names of the C classes
    split:str, # 'train' or 'test'
    held_out:float, # share of each class that is 'test'
    seed:int,
)->Tensor: # indices, ascending
    "Draw the test images of each class, at least one and not all. Raises ValueError for a class of one image"
    is_test = torch.zeros(len(labels), dtype=torch.bool)
    with seeded(derive_seed(seed, 'held out')):
        for c, name in enumerate(classes):
            members = (labels == c).nonzero().flatten()
            n = len(members)
            if n < 2:
                raise ValueError(f'class {name} has one image, which cannot be in both train and test; '
                                 "add more, or use split='all'")
            n_test = min(max(round(held_out*n), 1), n-1)
            is_test[members[torch.randperm(n)[:n_test]]] = True
    chosen = is_test if split == 'test' else ~is_test
    return chosen.nonzero().flatten()

# Folders

def visible(names:Iterable[str])->list[str]:
    "Sorted, without hidden names and what systems put beside files"
    return sorted(name for name in names if not name.startswith('.') and name not in IGNORED)

def class_folders(
    folder:Path,
)->tuple[str, ...]:
    "Names of the subfolders, sorted. Raises ValueError if there are none, or if they hold nothing but folders"
    if not folder.is_dir(): raise ValueError(f'{folder} is not a folder')
    names = visible(p.name for p in folder.iterdir() if p.is_dir())
    if not names: raise ValueError(f'{folder} has no subfolders; put the images of each class in a folder of its own')
    is_nested = False
    for child in (child for name in names for child in (folder/name).iterdir() if visible([child.name])):
        is_nested = child.is_dir()
        if not is_nested: break
    if is_nested:
        raise ValueError(f'the folders in {folder} ({", ".join(names[:3])}) hold only folders; give a folder of classes, '
                         'with images right in each of them, or name its parts train/ and test/')
    return tuple(names)

def own_paths(folder:Path)->dict[str, str]:
    "Real path -> path, for all that a folder holds itself and not by a link; '' for the folders around it"
    paths = {str(parent): '' for parent in Path(os.path.realpath(folder)).parents}
    for parent, subfolders, names in os.walk(folder):
        subfolders[:] = visible(subfolders) # os.walk goes into these
        real = os.path.realpath(parent)
        shown = os.path.normpath(parent) # os.walk('.') begins its paths with ./
        paths[real] = shown
        for name in visible(names): paths[os.path.join(real, name)] = os.path.normpath(os.path.join(shown, name))
    return paths

def image_files(
    folder:Path,
    paths:dict[str, str], # from `own_paths`: real path -> the one path under which it is read; what is found is added
    left_out:Counter[str], # kind of file -> number of those that are no images; what is found is added
)->Iterator[str]:
    "Yield the paths of all images at any depth, each real path once, whatever links there are"
    Image.init()
    suffixes = {suffix for suffix, name in Image.registered_extensions().items() if name in known_formats()}
    def unlistable(error:OSError)->None: left_out['folders that cannot be read'] += 1
    for parent, subfolders, names in os.walk(os.path.normpath(folder), followlinks=True, onerror=unlistable):
        if paths.setdefault(os.path.realpath(parent), parent) != parent:
            left_out['links to what is read elsewhere'] += 1
            subfolders.clear()
            continue
        subfolders[:] = visible(subfolders)
        for name in visible(names):
            path = os.path.join(parent, name)
            suffix = os.path.splitext(name)[1].lower()
            if not os.path.isfile(path): left_out['that are no regular files'] += 1
            elif suffix not in suffixes: left_out[suffix or 'without an ending'] += 1
            elif paths.setdefault(os.path.realpath(path), path) != path: left_out['links to what is read elsewhere'] += 1
            else: yield path

def load_classes(
    folder:Path,
    classes:tuple[str, ...], # names of its subfolders
    paths:dict[str, str], # from `own_paths`
    read:Callable[[list[str]], tuple[Tensor, Tensor]], # `read_files` with all its other arguments
    on_skip:Report,
    excluded:Collection[str]=(), # real paths that are left out
)->tuple[Tensor, Tensor, list[str]]: # images (N,3,size,size) uint8, labels (N,), paths (N,)
    "Read a folder of class folders. Raises ValueError for a class without a readable image"
    left_out:Counter[str] = Counter()
    files = []
    numbers = []
    for c, name in enumerate(classes):
        found = [path for path in image_files(folder/name, paths, left_out) if os.path.realpath(path) not in excluded]
        files += found
        numbers += [c]*len(found)
    if left_out:
        kinds = ', '.join(f'{n:,} {kind}' for kind, n in left_out.most_common(8))
        report(f'left out in {folder}: {kinds}', on_skip)
    images, kept = read(files)
    labels = torch.tensor(numbers, dtype=torch.long)[kept]
    empty = set(range(len(classes)))-set(labels.tolist())
    if empty: raise ValueError(f'{folder/classes[min(empty)]} has no readable image; add some, or remove the folder')
    return images, labels, [files[i] for i in kept.tolist()]

def find_splits(
    folder:Path,
)->dict[str, Path]: # 'train', 'valid', 'test' -> folder; empty unless there are folders to train and to test on
    "Find train/, valid/ and test/ by their usual names; without test/, valid/ takes its place, as in ImageNet"
    names = visible(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    found:dict[str, Path] = {}
    for split, usual in SPLITS.items():
        present = [name for name in names if name.lower() in usual]
        if len(present) > 1 and len(names) > 1:
            raise ValueError(f'{folder} has {present[0]}/ and {present[1]}/, which mean the same; keep one of them')
        if present: found[split] = folder/present[0]
    if found and len(found) == len(names) and ('train' not in found or len(found) < 2):
        only = next(iter(found.values()))
        raise ValueError(f'{folder} has {only.name}/ and lacks the part to train or to test on; '
                         f'add it, or give {only} to have a share of each class held out')
    if 'valid' in found: found.setdefault('test', found['valid'])
    return found if 'train' in found and 'test' in found else {}

class Folder(NamedTuple):
    "What was read of a folder of class folders"
    images:Tensor # (N,3,size,size) uint8
    labels:Tensor # (N,)
    paths:list[str] # (N,)
    classes:tuple[str, ...] # names of the classes
    split:str # 'all', or the split that is still to be drawn

def load_folder(
    folder:Path, # of class folders, or of train/ and test/ with these
    split:str, # 'train', 'valid', 'test' or 'all'
    read:Callable[[list[str]], tuple[Tensor, Tensor]], # `read_files` with all its other arguments
    on_skip:Report,
    excluded:Collection[str]=(), # real paths that are left out
)->Folder:
    "Read a folder. Raises ValueError if it lacks the split, or if its train/ and test/ have different classes"
    parts = find_splits(folder)
    if parts and split not in (*parts, 'all'): raise ValueError(f'split: {folder} has no {split}/')
    distinct = {os.path.realpath(part): part for part in parts.values()} or {'': folder}
    wanted = [parts[split]] if parts and split != 'all' else list(distinct.values())
    classes = class_folders(wanted[0])
    for other in distinct.values():
        different = set(class_folders(other))^set(classes)
        if different:
            raise ValueError(f'{other} and {wanted[0]} must have the same classes; {min(different)} is in one only')
    paths:dict[str, str] = {}
    for part in (*distinct.values(), *wanted): paths |= own_paths(part)
    loaded = [load_classes(part, classes, paths, read, on_skip, excluded) for part in wanted]
    images, labels, files = zip(*loaded, strict=True)
    joined = torch.cat(images) if len(loaded) > 1 else images[0] # still mapped from disk
    names = tuple(printable(name) for name in classes)
    return Folder(joined, torch.cat(labels), sum(files, []), names, 'all' if parts else split)

def load_test_folder(
    folder:Path, # of folders of some of the classes
    source:Path, # of the training set
    read:Callable[[list[str]], tuple[Tensor, Tensor]],
    on_skip:Report,
    excluded:Collection[str]=(),
)->Folder:
    "Read a folder to test on, its classes numbered as those of `source`. Raises ValueError for one that is not there"
    found = load_folder(folder, 'all', read, on_skip, excluded)
    classes = tuple(printable(name) for name in class_folders(find_splits(source).get('train', source)))
    unknown = [name for name in found.classes if name not in classes]
    if unknown:
        raise ValueError(f"test: {folder} has a class {unknown[0]!r}, and {source} has {', '.join(classes[:8])}; "
                         'name the folders alike')
    numbers = torch.tensor([classes.index(name) for name in found.classes])
    return found._replace(labels=numbers[found.labels], classes=classes)

def read_excluded(
    exclude:str|Path, # a text file, a path a line
    source:Path, # where relative paths begin, if they do not in the present folder
)->set[str]: # real paths
    "The files that a list names. Raises ValueError for a line that names none"
    try: lines = Path(exclude).read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise ValueError(f'exclude must be a text file with a path a line, {exclude} cannot be read: {e}') from e
    excluded = set()
    for line in filter(None, map(str.strip, lines)):
        file = next((f for f in (Path(line), source/line) if f.is_file()), None)
        if file is None: raise ValueError(f'exclude: {exclude} names {line}, which is no file, here or in {source}')
        excluded.add(os.path.realpath(file))
    return excluded

def read_bias(
    file:str|Path, # CSV with the columns path and bias
    source:Path, # where relative paths begin, if they do not in the present folder
    paths:Sequence[str], # (N,) of the images
)->list[str]: # (N,) the name of the class whose shortcut an image shows
    "The bias of images. Raises ValueError for an image without one"
    import pandas as pd  # here, since it takes a third of a second to import
    try: table = pd.read_csv(file, dtype=str, encoding='utf-8')
    except (OSError, ValueError) as e:
        raise ValueError(f'bias must be a CSV file with the columns path and bias, {file} cannot be read: {e}') from e
    if not {'path', 'bias'} <= set(table.columns):
        raise ValueError(f"bias: {file} must have the columns path and bias, it has {', '.join(table.columns)}")
    shown:dict[str, str] = {}
    for path, bias in zip(table.path, table.bias, strict=True):
        for start in (Path(), source): shown[os.path.realpath(start/str(path))] = bias
    without = [path for path in paths if not isinstance(shown.get(os.path.realpath(path)), str)]
    if without:
        raise ValueError(f'bias: {file} has none for {len(without)} images, the first is {without[0]}; '
                         f'its paths must begin here or in {source}')
    return [shown[os.path.realpath(path)] for path in paths]

# Arrays and data sets

Labelled = tuple[Tensor, list, list[str]|None] # images (N,C,size,size) uint8, labels as given, class names if known

def check_labels(source:Any, labels:Any)->None:
    "Raises ValueError unless labels are given with an array, and with no other source"
    if isinstance(source, ARRAYS) != (labels is not None):
        raise ValueError('labels must be given with an array, one for each image, and with nothing else; '
                         'np.stack makes an array of a list of them, read_files of files')

def load_array(
    x:np.ndarray|Tensor, # (N,H,W), (N,H,W,C) or (N,C,H,W)
    size:int, # edge in pixels
    fit:str, # one of FITS
    *,
    on_skip:Report,
)->Tensor: # (N,C,size,size) uint8
    "Bring an array of images to the size; those of that size pass as they are"
    pixels = channels_last(x, leading=1) # (N,H,W,C)
    if pixels.shape[1:3] == (size, size) and pixels.shape[3] < 4:
        channels_first = pixels.transpose(0, 3, 1, 2)
        return torch.from_numpy(np.require(channels_first, requirements=['C', 'W'])) # torch wants it writeable
    images = torch.empty(len(pixels), 3, size, size, dtype=torch.uint8)
    cropped = 0.
    for i, image in enumerate(pixels): images[i], cropped = decode_source(image, size, fit)
    report_cropped(len(pixels)*bool(cropped), cropped, len(pixels), on_skip) # all have the same shape
    return images

def find_column(
    source:Any, # Hugging Face data set
    kind:str, # the type of the column's feature
    names:tuple[str, ...], # usual names, the most usual one first
)->str:
    "Find a column by name or, if none has a usual name, by type. Raises ValueError unless there is exactly one"
    found = [n for n in names if n in source.column_names][:1]
    if not found: found = [n for n, feature in source.features.items() if type(feature).__name__ == kind]
    if len(found) == 1: return found[0]
    raise ValueError(f"source must have a column {names[0]!r}, got {', '.join(source.column_names)}; "
                     f"name it so with source.rename_column(..., {names[0]!r})")

def load_hugging_face(
    source:Any, # Hugging Face data set
    size:int, # edge in pixels
    fit:str, # one of FITS
    *,
    cache:str|Path|None,
    on_skip:Report,
)->Labelled:
    "Read the columns of images and labels of a Hugging Face data set; the decoded images are kept on disk"
    image_column = find_column(source, 'Image', ('image', 'img'))
    label_column = find_column(source, 'ClassLabel', ('label', 'labels', 'fine_label'))
    def read(i:int)->Decoded|str:
        try: return decode_source(source[i][image_column], size, fit)
        except READ_ERRORS as e: return f'source[{i}]: {e}'
    key = (source._fingerprint, image_column)
    images, kept = decode_cached(read, len(source), size, key, fit=fit, cache=cache, on_skip=on_skip)
    labels = list_labels(source[label_column][:])
    names = getattr(source.features[label_column], 'names', None)
    return images, [labels[i] for i in kept], names

def load_pairs(
    source:Any, # a sequence of (image, label, ...)
    size:int, # edge in pixels
    fit:str, # one of FITS
    *,
    on_skip:Report,
)->Labelled:
    """Read pairs one after the other, since not every data set can be read by several threads.

    Raises ValueError for an item that is no pair"""
    images = torch.empty(len(source), 3, size, size, dtype=torch.uint8)
    labels:list = []
    skipped = []
    losses = []
    for i in tqdm(range(len(source)), desc='decoding', disable=None, leave=False):
        try: item = source[i]
        except READ_ERRORS as e:
            skipped.append(f'source[{i}]: {e}')
            continue
        except Exception as e: raise ValueError(f'source[{i}] cannot be had: {type(e).__name__}: {e}') from e
        if not isinstance(item, (tuple, list)) or len(item) < 2:
            raise ValueError(f'source[{i}] must be a pair (image, label), got {type(item).__name__}')
        try: images[len(labels)], cropped = decode_source(item[0], size, fit)
        except READ_ERRORS as e:
            skipped.append(f'source[{i}]: {e}')
            continue
        labels.append(item[1])
        if cropped: losses.append(cropped)
    report_skipped(skipped, len(source), on_skip)
    report_cropped(len(losses), float(np.mean(losses or [0])), len(source), on_skip)
    return images[:len(labels)], list_labels(labels), class_names(source)

def class_names(
    source:Any, # torch data set
)->list[str]|None:
    "Names of the classes by number, as torchvision's data sets and subsets of them have"
    whole = getattr(source, 'dataset', source)
    names = getattr(whole, 'classes', None)
    is_renumbered = getattr(whole, 'target_transform', None) is not None
    is_list = isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)
    return list(names) if names and is_list and not is_renumbered else None

def load_labelled(
    source:Any, # array or tensor, or (array, labels); torch or Hugging Face data set, or another sequence of pairs
    labels:Any, # (N,) of an array; None with any other source
    size:int, # edge in pixels
    fit:str, # one of FITS
    *,
    cache:str|Path|None,
    on_skip:Report,
)->Labelled:
    "Read images and labels from anything but a folder. Raises ValueError for what does not have both"
    if labels is None and isinstance(source, (tuple, list)) and len(source) == 2 and isinstance(source[0], ARRAYS):
        source, labels = source
    check_labels(source, labels)
    if isinstance(source, ARRAYS):
        numbers = list_labels(labels)
        count = len(source) if source.ndim else 0
        if count != len(numbers):
            raise ValueError(f'images and labels must have the same length, got {count} and {len(numbers)}')
        return load_array(source, size, fit, on_skip=on_skip), numbers, None
    if isinstance(source, dict):
        raise ValueError(f"source is a dict; give one of its parts, such as source[{next(iter(source), 'train')!r}]")
    if hasattr(source, '_fingerprint'): return load_hugging_face(source, size, fit, cache=cache, on_skip=on_skip)
    if hasattr(source, '__len__') and hasattr(source, '__getitem__'):
        return load_pairs(source, size, fit, on_skip=on_skip)
    raise ValueError('source must be a folder (--source FOLDER on the command line), an array or a data set with a length, '
                     f'got {type(source).__name__}')
