"""Services made from a plan: who is started with which sockets and which log."""

from __future__ import annotations

from dovecotpy.config.values import Auth
from dovecotpy.master.authservice import AuthService
from dovecotpy.master.loginservice import LoginService
from dovecotpy.master.logservice import LogService
from dovecotpy.master.mailservice import MailService
from dovecotpy.master.plan import Plan
from dovecotpy.master.service import Host, Service
from dovecotpy.master.sockets import Sockets


class Builder:
    """Makes the services of a generation. A program is made anew at each start, with the sockets and logs of that moment."""

    def __init__(self, host: Host, sockets: Sockets, logs: LogService) -> None:
        self._host = host
        self._sockets = sockets
        self._logs = logs

    def everything(self, plan: Plan) -> list[Service]:
        """All services but the log, in the order in which they are started."""
        auths: list[Service] = [self._auth(plan, number) for number in range(len(plan.server.auths))]
        mails: list[Service] = [self._mail(plan, protocol) for protocol in plan.protocols]
        return [*auths, *mails, *self.logins(plan)]

    def logins(self, plan: Plan) -> list[LoginService]:
        """The login processes of all protocols."""
        return [self._login(plan, protocol) for protocol in plan.protocols]

    def _log(self, kind: str) -> int:
        return self._logs.writer(kind).fileno()

    def _auth(self, plan: Plan, number: int) -> AuthService:
        auth: Auth = plan.server.auths[number]
        return AuthService(
            self._host,
            plan.auth_plan(
                auth,
                lambda: plan.auth_program(auth, self._sockets.auth(auth.name), self._log(f"auth.{number}")),
                lambda: plan.auth_worker_program(auth, self._log(f"auth-worker.{number}")),
            ),
        )

    def _mail(self, plan: Plan, protocol: str) -> MailService:
        return MailService(
            self._host,
            plan.mail_plan(protocol),
            lambda: plan.mail_program(protocol, self._sockets.queue(protocol), self._log(protocol)),
        )

    def _login(self, plan: Plan, protocol: str) -> LoginService:
        return LoginService(
            self._host,
            protocol,
            plan.login_limits(protocol),
            lambda: plan.login_program(
                protocol, self._sockets.listeners.of(protocol), self._log(f"{protocol}-login")
            ),
        )
