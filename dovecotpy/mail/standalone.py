"""A mail session that no login process handed over: `--exec-mail`, and our own program at the end of a mail_executable wrapper.

`python -I -m dovecotpy.mail.standalone [imap]` serves one session on descriptors 0 and 1 by its environment (processes' reference,
section 6): USER, HOME, MAIL, IP, NAMESPACE_n, settings by their names in upper case, RESTRICT_* for whom to become. Without
LOGGED_IN and IMAPLOGINTAG the session greets with PREAUTH; IMAPLOGINTAG is the tag to answer, CLIENT_INPUT (base64) what the client
sent behind its login. DOVECOTPY_FDS may name `settings` (the blocks `settings`, `namespace.N`, `plugin`) and `control` (the slot and
lifeline of a session that the master knows); what the environment says goes before them. LOG_TO_MASTER: lines go to descriptor 2,
as records; else to LOGFILE, to syslog (USE_SYSLOG), or to stderr, with LOG_PREFIX.
"""

from __future__ import annotations

import os
import re
import socket
import sys

import dovecotpy
from dovecotpy import clock
from dovecotpy.child import bootstrap
from dovecotpy.config.values import Namespace, Settings, Value
from dovecotpy.ipc import fdpass
from dovecotpy.ipc.handover import HandOver
from dovecotpy.ipc.record import Level
from dovecotpy.log.client import Log
from dovecotpy.mail import preload
from dovecotpy.mail.account import Account
from dovecotpy.mail.imap import IMAP
from dovecotpy.mail.pipes import Pipes
from dovecotpy.mail.service import Service
