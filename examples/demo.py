"""The five-minute tour, ``sa-pgnotify demo``: its code is in ``sa_pgnotify/cli/demo.py``. ``make
demo`` runs it too."""

from sa_pgnotify.cli import app

if __name__ == "__main__":
    app(["demo"])
