"""The ten-second tour, ``sa-pgnotify demo``. Its code is in ``sa_pgnotify/cli/demo.py``, and ``make
demo`` runs it too."""

from sa_pgnotify.cli import app

if __name__ == "__main__":
    app(["demo"])
