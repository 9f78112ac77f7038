"""How `dd_debias.image_folder` reads images: one image, a cache of decoded images, class folders, data sets.

Written by hand, not exported. The public functions, with examples, are in nbs/04_image_folder.ipynb."""
import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from tqdm import tqdm

from .runtime import atomic_write, derive_seed, seeded
from .sources import data_root

Reader = Callable[[int], Tensor|str] # i -> the i-th image, or the reason why it cannot be read

READ_ERRORS = (OSError, ValueError, SyntaxError) # raised for an image that cannot be read, which is then left out
CHANNELS = (1, 3, 4) # grey, RGB, RGBA
ARRAYS = (np.ndarray, Tensor)
DECODER_VERSION = 1 # raise it when the pixels that `decode_image` returns change, so that old caches are not read

# One image

def check_size(
    size:int, # edge in pixels
)->None:
    "Raises ValueError unless `size` is positive"
    if size < 1: raise ValueError(f'size must be at least 1, got {size}')

def deep_to_rgb(
    im:Image.Image, # of 16 or 32 bits a pixel, which Pillow's `convert` would clip
)->Image.Image:
    """Scale 16-bit integers and floats in [0,1] to bytes by constants, other ranges by their minimum and maximum.

    Raises ValueError for NaN or infinite values"""
    pixels = np.asarray(im).astype(np.float32) # (H,W)
    full_range = 1 if im.mode == 'F' else 65535
    low = pixels.min()
    high = pixels.max()
    if not np.isfinite(high-low): raise ValueError('it holds NaN or infinite values')
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

def crop_and_resize(
    im:Image.Image,
    size:int, # edge in pixels
)->Tensor: # (3,size,size) uint8
    "Turn an image upright, crop it to its central square and resize that"
    rgb = to_rgb(ImageOps.exif_transpose(im))
    edge = min(rgb.size)
    left = (rgb.width-edge)//2
    top = (rgb.height-edge)//2
    square = rgb.crop((left, top, left+edge, top+edge))
    resized = square.resize((size, size), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1).contiguous()

def decode_file(
    path:str|Path,
    size:int, # edge in pixels
)->Tensor: # (3,size,size) uint8
    "Read an image file"
    with Image.open(path) as im:
        # a large JPEG is decoded at 1/2, 1/4 or 1/8, if that is still three times `size`
        im.draft(None, (3*size, 3*size)) # type: ignore[arg-type]
        return crop_and_resize(im, size)

def to_bytes(
    pixels:np.ndarray, # integers in 0..255, uint16, or floats in [0,1]
)->np.ndarray: # the same shape, uint8
    "Scale pixels to bytes. Raises ValueError for any other range"
    if pixels.dtype == np.uint8 or not pixels.size: return pixels
    if pixels.dtype == np.uint16: return (pixels/np.float32(257)).round().astype(np.uint8)
    low = pixels.min()
    high = pixels.max()
    kind = pixels.dtype.kind
    if kind in 'bf' and low >= 0 and high <= 1: return (pixels*np.float32(255)).round().astype(np.uint8)
    if kind in 'iu' and low >= 0 and high <= 255: return pixels.astype(np.uint8)
    raise ValueError('pixels must be integers in 0..255 or floats in [0,1], '
                     f'got {pixels.dtype} from {low} to {high}; scale them first')

def channels_last(
    x:np.ndarray|Tensor, # one image or a batch: (H,W), (H,W,C) or (C,H,W), after the leading axes
    leading:int, # number of axes before those of the image
)->np.ndarray: # (...,H,W,C) uint8
    "Bring images to NumPy's order of axes and to bytes. Raises ValueError for other axes, channels or pixel ranges"
    pixels = x.detach().cpu().numpy() if isinstance(x, Tensor) else x
    if pixels.ndim == leading+2: pixels = pixels[..., None]
    if pixels.ndim != leading+3:
        raise ValueError(f'an image must have axes H,W or H,W,C or C,H,W, got shape {tuple(x.shape)}')
    could_be_first = pixels.shape[-3] in CHANNELS
    could_be_last = pixels.shape[-1] in CHANNELS
    # where both fit, torch puts channels first and NumPy puts them last
    if could_be_first and (isinstance(x, Tensor) or not could_be_last): pixels = np.moveaxis(pixels, -3, -1)
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
    if isinstance(error, UnidentifiedImageError): return 'no format that Pillow knows'
    message = str(getattr(error, 'strerror', None) or error)
    return (message or type(error).__name__).splitlines()[0]

# Many images, decoded once

def report_skipped(
    reasons:list[str], # one for each image that was left out
    count:int, # number of all images
    on_skip:Callable[[str], object]|None, # called with the message; None: print
)->None:
    "Report the images that were left out, and why, in one message"
    if not reasons: return
    listed = '; '.join(reasons[:5])
    more = '; ...' if len(reasons) > 5 else ''
    report = on_skip or print
    report(f'skipped {len(reasons):,} of {count:,} images: {listed}{more}')

def file_stamp(path:str)->tuple:
    "Path, size and time of change of a file; the path alone if it cannot be found"
    try: status = os.stat(path)
    except OSError: return (path,)
    return path, status.st_size, status.st_mtime_ns

def cache_path(
    key:object, # plain data; another key is another file
    size:int, # edge in pixels
    cache:str|Path|None, # folder; None: decoded/ in `data_root()`
)->Path: # *.npy
    "Where the decoded images are kept"
    digest = hashlib.blake2b(repr((DECODER_VERSION, size, key)).encode(), digest_size=12).hexdigest()
    folder = Path(cache).expanduser() if cache else data_root()/'decoded'
    return folder/f'{digest}.npy'

def load_cache(
    path:Path, # *.npy
)->tuple[np.ndarray, dict[int, str]]: # images (M,3,size,size) uint8, mapped from disk; index -> why it was left out
    "Read what `write_cache` wrote. Raises OSError or ValueError if it is missing or damaged"
    meta = json.loads(path.with_suffix('.json').read_text())
    skipped = {int(i): why for i, why in meta['skipped'].items()}
    return np.load(path, mmap_mode='c'), skipped # 'c': changes to the array do not reach the file

def is_current(
    path:Path, # *.npy
    read:Reader,
)->bool:
    "Whether the cache can be used: it is whole, and each image that it lacks still cannot be read"
    try: _, skipped = load_cache(path)
    except (OSError, ValueError): return False
    return all(isinstance(read(i), str) for i in skipped)

def read_in_order(
    read:Reader,
    count:int,
    workers:int, # threads
)->Iterator[Tensor|str]:
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
    with atomic_write(path) as temporary, open(temporary, 'wb') as file:
        write_header(file, count, size)
        results = read_in_order(read, count, workers)
        for i, image in enumerate(tqdm(results, total=count, desc='decoding', disable=None, leave=False)):
            if isinstance(image, str): skipped[i] = image
            else: file.write(image.numpy())
        file.seek(0)
        write_header(file, count-len(skipped), size)
    with atomic_write(path.with_suffix('.json')) as temporary: # last, since without it the cache counts as missing
        temporary.write_text(json.dumps(dict(skipped=skipped)))

def decode_cached(
    read:Reader,
    count:int,
    size:int, # edge in pixels
    key:object, # plain data that changes when an image changes
    *,
    cache:str|Path|None, # folder; None: decoded/ in `data_root()`
    on_skip:Callable[[str], object]|None, # called with one message; None: print
    workers:int=1, # threads
)->tuple[Tensor, Tensor]: # images (M,3,size,size) uint8, mapped from disk; (M,) their numbers among 0..count-1
    "Decode the images read(0), ..., read(count-1), or find them decoded on disk"
    path = cache_path(key, size, cache)
    if not is_current(path, read): write_cache(path, read, count, size, workers)
    images, skipped = load_cache(path)
    report_skipped(list(skipped.values()), count, on_skip)
    kept = [i for i in range(count) if i not in skipped]
    return torch.from_numpy(images), torch.tensor(kept, dtype=torch.long)

# Labels

def number_labels(
    labels:Any, # (N,) integers or names: an array, a tensor, or any iterable of these
    names:list[str]|None=None, # of the classes, by number; None: the labels are their own names
)->tuple[Tensor, tuple[str, ...]]: # labels (N,) 0..C-1, names of the C classes
    "Number the labels without gaps. Raises ValueError if they are no integers or names, or if some are missing"
    def plain(label): return label.item() if hasattr(label, 'item') else label
    is_array = hasattr(labels, 'tolist')
    given = np.asarray(labels.tolist() if is_array else [plain(label) for label in labels])
    if given.ndim != 1 or given.dtype.kind not in 'iubU':
        raise ValueError('labels must be one integer or one name for each image, '
                         f'got shape {given.shape} of {given.dtype}')
    if names and given.min() < 0:
        raise ValueError(f'labels: {(given < 0).sum()} of {len(given)} are missing (-1); leave those images out')
    values, numbers = np.unique(given, return_inverse=True)
    classes = tuple(names[v] if names else str(v) for v in values)
    return torch.from_numpy(numbers).long(), classes

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

def class_folders(
    folder:Path,
)->tuple[str, ...]:
    "Names of the subfolders, sorted. Raises ValueError if there are none"
    if not folder.is_dir(): raise ValueError(f'{folder} is not a folder')
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith('.'))
    if not names: raise ValueError(f'{folder} has no subfolders; put the images of each class in a folder of its own')
    return tuple(names)

def image_files(folder:Path)->Iterator[str]:
    "Yield the paths of all images at any depth, without hidden files and without formats that Pillow cannot open"
    suffixes = {suffix for suffix, name in Image.registered_extensions().items() if name in Image.OPEN}
    for parent, subfolders, names in os.walk(folder, followlinks=True):
        subfolders[:] = sorted(s for s in subfolders if not s.startswith('.')) # os.walk goes into these
        for name in sorted(names):
            if name.startswith('.'): continue
            if os.path.splitext(name)[1].lower() in suffixes: yield os.path.join(parent, name)

def load_classes(
    folder:Path,
    classes:tuple[str, ...], # names of its subfolders
    read:Callable[[list[str]], tuple[Tensor, Tensor]], # `read_files` with all its other arguments
)->tuple[Tensor, Tensor]: # images (N,3,size,size) uint8, labels (N,)
    "Read a folder of class folders. Raises ValueError for a class without a readable image"
    paths = []
    numbers = []
    for c, name in enumerate(classes):
        files = list(image_files(folder/name))
        paths += files
        numbers += [c]*len(files)
    images, kept = read(paths)
    labels = torch.tensor(numbers, dtype=torch.long)[kept]
    empty = set(range(len(classes)))-set(labels.tolist())
    if empty: raise ValueError(f'{folder/classes[min(empty)]} has no readable image; add some, or remove the folder')
    return images, labels

def find_splits(
    folder:Path,
)->dict[str, Path]: # 'train', 'valid', 'test' -> folder; empty unless there are folders to train and to test on
    "Find train/, valid/ or val/, and test/; without test/, the folder for validation takes its place, as in ImageNet"
    candidates = dict(train=('train',), valid=('valid', 'val'), test=('test', 'valid', 'val'))
    found = {}
    for split, names in candidates.items():
        present = [folder/name for name in names if (folder/name).is_dir()]
        if present: found[split] = present[0]
    return found if 'train' in found and 'test' in found else {}

def load_folder(
    folder:Path, # of class folders, or of train/ and test/ with these
    split:str, # 'train', 'valid', 'test' or 'all'
    read:Callable[[list[str]], tuple[Tensor, Tensor]], # `read_files` with all its other arguments
)->tuple[Tensor, Tensor, tuple[str, ...], str]: # images, labels, names of the classes, split that is still to be drawn
    "Read a folder. Raises ValueError if it lacks the split, or if its train/ and test/ have different classes"
    folders = find_splits(folder)
    if not folders:
        classes = class_folders(folder)
        images, labels = load_classes(folder, classes, read)
        return images, labels, classes, split
    distinct = list(dict.fromkeys(folders.values()))
    classes = class_folders(folders['train'])
    for other in distinct:
        different = set(class_folders(other))^set(classes)
        if different:
            raise ValueError(f'{other} and {folders["train"]} must have the same classes; '
                             f'{min(different)} is in one only')
    if split == 'all':
        parts = [load_classes(f, classes, read) for f in distinct]
        images = torch.cat([images for images, _ in parts])
        labels = torch.cat([labels for _, labels in parts])
    elif split in folders: images, labels = load_classes(folders[split], classes, read)
    else: raise ValueError(f'split: {folder} has no {split}/')
    return images, labels, classes, 'all'

# Arrays and data sets

Labelled = tuple[Tensor, Any, list[str]|None] # images (N,C,size,size) uint8, labels as given, class names if known

def check_labels(source:Any, labels:Any)->None:
    "Raises ValueError unless labels are given with an array, and with no other source"
    if isinstance(source, ARRAYS) != (labels is not None):
        raise ValueError('labels must be given with an array, one for each image, and with nothing else; '
                         'read_files makes an array of files')

def load_array(
    x:np.ndarray|Tensor, # (N,H,W), (N,H,W,C) or (N,C,H,W)
    size:int, # edge in pixels
    decode:Callable[[Any], Tensor], # `decode_image` at this size
)->Tensor: # (N,C,size,size) uint8
    "Bring an array of images to the size; those of that size pass as they are"
    pixels = channels_last(x, leading=1) # (N,H,W,C)
    if pixels.shape[1:3] == (size, size) and pixels.shape[3] < 4:
        channels_first = pixels.transpose(0, 3, 1, 2)
        return torch.from_numpy(np.require(channels_first, requirements=['C', 'W'])) # torch wants it writeable
    images = torch.empty(len(pixels), 3, size, size, dtype=torch.uint8)
    for i, image in enumerate(pixels): images[i] = decode(image)
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
    decode:Callable[[Any], Tensor], # `decode_image` at this size
    *,
    cache:str|Path|None,
    on_skip:Callable[[str], object]|None,
)->Labelled:
    "Read the columns of images and labels of a Hugging Face data set; the decoded images are kept on disk"
    image_column = find_column(source, 'Image', ('image', 'img'))
    label_column = find_column(source, 'ClassLabel', ('label', 'labels', 'fine_label'))
    def read(i:int)->Tensor|str:
        try: return decode(source[i][image_column])
        except READ_ERRORS as e: return f'source[{i}]: {e}'
    key = (source._fingerprint, image_column)
    images, kept = decode_cached(read, len(source), size, key, cache=cache, on_skip=on_skip)
    labels = source[label_column][:]
    names = getattr(source.features[label_column], 'names', None)
    return images, [labels[i] for i in kept], names

def load_pairs(
    source:Any, # a sequence of (image, label, ...)
    size:int, # edge in pixels
    decode:Callable[[Any], Tensor], # `decode_image` at this size
    *,
    on_skip:Callable[[str], object]|None,
)->Labelled:
    """Read pairs one after the other, since not every data set can be read by several threads.

    Raises ValueError for an item that is no pair"""
    images = torch.empty(len(source), 3, size, size, dtype=torch.uint8)
    labels:list = []
    skipped = []
    for i in tqdm(range(len(source)), desc='decoding', disable=None, leave=False):
        try:
            item = source[i]
            is_pair = isinstance(item, (tuple, list)) and len(item) >= 2
            if is_pair: images[len(labels)] = decode(item[0])
        except READ_ERRORS as e:
            skipped.append(f'source[{i}]: {e}')
            continue
        if not is_pair: raise ValueError(f'source[{i}] must be a pair (image, label), got {type(item).__name__}')
        labels.append(item[1])
    report_skipped(skipped, len(source), on_skip)
    return images[:len(labels)], labels, None

def load_labelled(
    source:Any, # array or tensor, or (array, labels); torch or Hugging Face data set, or another sequence of pairs
    labels:Any, # (N,) of an array; None with any other source
    size:int, # edge in pixels
    decode:Callable[[Any], Tensor], # `decode_image` at this size
    *,
    cache:str|Path|None,
    on_skip:Callable[[str], object]|None,
)->Labelled:
    "Read images and labels from anything but a folder. Raises ValueError for what does not have both"
    if labels is None and isinstance(source, (tuple, list)) and len(source) == 2 and isinstance(source[0], ARRAYS):
        source, labels = source
    check_labels(source, labels)
    if isinstance(source, ARRAYS):
        if len(source) != len(labels):
            raise ValueError(f'images and labels must have the same length, got {len(source)} and {len(labels)}')
        return load_array(source, size, decode), labels, None
    if isinstance(source, dict):
        raise ValueError(f"source is a dict; give one of its parts, such as source[{next(iter(source), 'train')!r}]")
    if hasattr(source, '_fingerprint'): return load_hugging_face(source, size, decode, cache=cache, on_skip=on_skip)
    if hasattr(source, '__len__') and hasattr(source, '__getitem__'):
        return load_pairs(source, size, decode, on_skip=on_skip)
    raise ValueError(f'source must be a folder, an array or a data set with a length, got {type(source).__name__}')
