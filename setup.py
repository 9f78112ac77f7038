"Package metadata, read from settings.ini: edit there, not here."
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

parser = ConfigParser(delimiters=['='], interpolation=None)
parser.read(Path(__file__).with_name('settings.ini'), encoding='utf-8')
cfg = parser['DEFAULT']
lib = cfg['lib_path']

setup(
    version=cfg['version'],
    author=cfg['author'], author_email=cfg['author_email'], keywords=cfg['keywords'].split(),
    classifiers=[
        'Development Status :: 3 - Alpha', f"Intended Audience :: {cfg['audience']}", 'Framework :: Jupyter',
        *(f'Programming Language :: Python :: {version}' for version in cfg['pythons'].split()),
        'Operating System :: POSIX :: Linux', 'Operating System :: MacOS', 'Typing :: Typed'],
    packages=[*find_packages(include=[lib, lib+'.*']), f'{lib}.results'],
    package_dir={f'{lib}.results': 'results'}, # what the notebooks read, wherever they run
    package_data={
        lib: ['*.html', '*.css', 'py.typed'],
        f'{lib}.results': ['*.jsonl', '*.csv', 'paper/*.jsonl', 'paper/*/distilled.safetensors']},
    install_requires=cfg['requirements'].split(),
    extras_require={'dev': cfg['dev_requirements'].split(), 'ray': cfg['ray_requirements'].split()},
    entry_points={'console_scripts': cfg['console_scripts'].split(), 'nbdev': [f'{lib}={lib}._modidx:d']},
)
