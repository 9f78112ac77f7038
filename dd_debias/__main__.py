"The process of the command `dd-debias`"
import os
import sys

from . import __version__


def main()->int:
    "Exit status of the command line"
    if sys.stderr is None: sys.stderr = open(os.devnull, 'w') # noqa: SIM115 (closed by 2>&-)
    try:
        if sys.argv[1:] == ['--version']: # without the seconds that importing torch takes
            print(__version__)
            return 0
        from .cli import main as command_line  # takes seconds, in which Ctrl-C may come
        return command_line()
    except KeyboardInterrupt:
        print('dd-debias: stopped', file=sys.stderr)
        return 130
    finally:
        try: print(end='', flush=True)
        except OSError: os.dup2(os.open(os.devnull, os.O_WRONLY), 1) # or Python complains at its end

if __name__ == '__main__': raise SystemExit(main())
