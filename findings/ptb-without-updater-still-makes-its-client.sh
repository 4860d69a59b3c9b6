#!/bin/sh
# PTB without an updater still makes the HTTP client that only the updater uses.
#
# updater(None) is what python-telegram-bot's customwebhookbot example has, where updates come in by a
# web server of one's own and nothing calls getUpdates. One expects one client, that of the Bot API's
# other calls. The bot makes two all the same, and each makes a TLS context of its own, which reads
# certifi's certificates. A bot that starts anew for each update, as in a function, pays for both,
# unless it gives get_updates_request() a request object that does nothing.
#
# Counts TLS contexts and clients. Ends with 0 while that is so, and with 1 once it has changed.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    python-telegram-bot==22.8 httpx==0.28.1
cd "$folder"

cat >probe.py <<'PYTHON'
import importlib.metadata, ssl, sys

import httpx

contexts, clients = [], []
make_context, make_client = ssl.create_default_context, httpx.AsyncClient.__init__


def counted_context(*arguments, **options):
    contexts.append(1)
    return make_context(*arguments, **options)


def counted_client(self, *arguments, **options):
    clients.append(1)
    make_client(self, *arguments, **options)


ssl.create_default_context, httpx.AsyncClient.__init__ = counted_context, counted_client

from telegram.ext import ApplicationBuilder  # noqa: E402


def count(builder):
    """TLS contexts and HTTP clients that one application makes, and whether it has an updater."""
    contexts.clear(), clients.clear()
    application = builder.token("1:offline").build()
    return len(contexts), len(clients), application.updater is not None


seen = [count(ApplicationBuilder()), count(ApplicationBuilder().updater(None))]
for name in ("python-telegram-bot", "httpx"):
    print(name, importlib.metadata.version(name))
for made in seen:
    print("TLS contexts: {}, HTTP clients: {}, an updater: {}".format(*made))
sys.exit(seen != [(2, 2, True), (2, 2, False)])
PYTHON
"$folder/venv/bin/python" probe.py
