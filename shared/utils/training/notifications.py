"""Alerts by e-mail (SMTP) and to Slack (incoming webhook), sent from a thread of their own."""

from __future__ import annotations

import json
import logging
import os
import smtplib
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Protocol

from utils.training.background import BackgroundWorker

logger = logging.getLogger(__name__)

_PREFIX = "TRAINING_ALERT_"
_SECURITIES = ("starttls", "tls", "none")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_CLOSE_TIMEOUT_SECONDS = 15.0
_MAX_PENDING = 100
_SERVER_ERROR = 500
_TOO_MANY_REQUESTS = 429


@dataclass(frozen=True)
class NotificationSettings:
    """Where alerts go, read once from the environment; secrets stay out of its repr.

    Each name is ``TRAINING_ALERT_`` and the field's in capitals, such as
    ``TRAINING_ALERT_SMTP_HOST``; the password and the webhook may also be in a file that
    ``..._PASSWORD_FILE`` and ``..._WEBHOOK_FILE`` name.
    """

    smtp_host: str = ""
    smtp_port: int = 587
    smtp_user: str = ""
    smtp_password: str = field(default="", repr=False)
    smtp_from: str = ""
    smtp_to: tuple[str, ...] = ()  # separated by commas in the environment
    smtp_security: str = "starttls"  # "starttls" where offered, "tls" from the first byte, "none"
    slack_webhook: str = field(default="", repr=False)
    timeout_seconds: float = 10.0  # of one connection or request

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> NotificationSettings:
        """Read the settings; what is not set has its default.

        Raises:
            ValueError: a port that is no number, an unknown security.
            OSError: a secret's file can't be read.
        """
        values = os.environ if environment is None else environment
        user = values.get(f"{_PREFIX}SMTP_USER", "")
        return cls(
            smtp_host=values.get(f"{_PREFIX}SMTP_HOST", ""),
            smtp_port=_port(values.get(f"{_PREFIX}SMTP_PORT", "587")),
            smtp_user=user,
            smtp_password=_secret(values, "SMTP_PASSWORD"),
            smtp_from=values.get(f"{_PREFIX}SMTP_FROM", "") or user,
            smtp_to=_addresses(values.get(f"{_PREFIX}SMTP_TO", "")),
            smtp_security=_security(values.get(f"{_PREFIX}SMTP_SECURITY", "starttls")),
            slack_webhook=_secret(values, "SLACK_WEBHOOK"),
        )


def _port(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 1 << 16:
        raise ValueError(f"{_PREFIX}SMTP_PORT is '{text}', allowed is 1 to 65535.")
    return int(text)


def _security(text: str) -> str:
    if text not in _SECURITIES:
        raise ValueError(
            f"{_PREFIX}SMTP_SECURITY is '{text}', allowed are {', '.join(_SECURITIES)}."
        )
    return text


def _secret(values: Mapping[str, str], name: str) -> str:
    if path := values.get(f"{_PREFIX}{name}_FILE"):
        return Path(path).read_text(encoding="utf-8").strip()
    return values.get(_PREFIX + name, "")


def _addresses(text: str) -> tuple[str, ...]:
    return tuple(address.strip() for address in text.split(",") if address.strip())


class Notifier(Protocol):
    """Is told each alert as its dict; returns at once."""

    def __call__(self, alert: dict[str, Any]) -> None:
        """Send the alert in the background."""

    def close(self) -> None:
        """Wait for what is on its way, for a limited time."""


class BackgroundNotifier:
    """Calls ``send`` for each alert from a thread; failures are tried again, then logged.

    Args:
        name: the channel, for log lines.
        send: delivers one alert, or raises.
        attempts: how often an alert is tried.
        pause_seconds: before the second attempt; doubled before each further one.
    """

    def __init__(
        self,
        name: str,
        send: Callable[[dict[str, Any]], None],
        attempts: int = 3,
        pause_seconds: float = 1.0,
    ) -> None:
        self._name = name
        self._send = send
        self._attempts = attempts
        self._pause_seconds = pause_seconds
        self._worker = BackgroundWorker(f"{name} alerts", max_pending=_MAX_PENDING)

    def __call__(self, alert: dict[str, Any]) -> None:
        """Queue the alert."""
        self._worker.submit(lambda: self._deliver(alert))

    def close(self) -> None:
        """Wait for what is on its way, for at most 15 seconds."""
        if not self._worker.close(_CLOSE_TIMEOUT_SECONDS):
            logger.warning("%s alerts are still unsent; they are in the log.", self._name)

    def _deliver(self, alert: dict[str, Any]) -> None:
        for attempt in range(1, self._attempts + 1):
            try:
                self._send(alert)
            except Exception as error:  # noqa: BLE001 - whatever a server does, training goes on
                if attempt == self._attempts or not _is_worth_another_try(error):
                    logger.warning(
                        "%s alert '%s' could not be sent: %s", self._name, alert["type"], error
                    )
                    return
                time.sleep(self._pause_seconds * 2 ** (attempt - 1))
            else:
                return


def _is_worth_another_try(error: Exception) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= _SERVER_ERROR or error.code == _TOO_MANY_REQUESTS
    if isinstance(error, smtplib.SMTPAuthenticationError | smtplib.SMTPRecipientsRefused):
        return False
    return isinstance(error, OSError)


def send_email(settings: NotificationSettings, alert: dict[str, Any]) -> None:
    """Deliver an alert to the SMTP server.

    Raises:
        OSError: the server can't be reached or refuses (smtplib's errors are OSErrors).
        ValueError: a password would go over an unencrypted connection.
    """
    context = ssl.create_default_context()
    host, port, timeout = settings.smtp_host, settings.smtp_port, settings.timeout_seconds
    is_encrypted = settings.smtp_security == "tls"
    with (
        smtplib.SMTP_SSL(host, port, timeout=timeout, context=context)
        if is_encrypted
        else smtplib.SMTP(host, port, timeout=timeout)
    ) as server:
        if settings.smtp_security == "starttls":
            server.ehlo()
            if server.has_extn("starttls"):
                server.starttls(context=context)
                is_encrypted = True
        if settings.smtp_user:
            _require_privacy(settings, is_encrypted)
            server.login(settings.smtp_user, settings.smtp_password)
        server.send_message(_message(settings, alert))


def _require_privacy(settings: NotificationSettings, is_encrypted: bool) -> None:
    is_allowed = is_encrypted or settings.smtp_security == "none"
    if not is_allowed and settings.smtp_host not in _LOOPBACK:
        raise ValueError(
            f"The mail server {settings.smtp_host} offers no STARTTLS, and the password would be "
            f"readable on its way; set {_PREFIX}SMTP_SECURITY to tls, or to none to accept that."
        )


def _message(settings: NotificationSettings, alert: dict[str, Any]) -> EmailMessage:
    message = EmailMessage()
    what = f"{alert['severity']}: {alert['type']}"
    if "epoch" in alert:
        what += f" in epoch {alert['epoch']}"
    message["Subject"] = f"[training] {what}"
    message["From"] = settings.smtp_from
    message["To"] = ", ".join(settings.smtp_to)
    message.set_content(
        f"{alert['message']}\n\nvalue: {alert['value']:.6g}\nthreshold: {alert['threshold']:.6g}\n"
    )
    return message


def send_to_slack(settings: NotificationSettings, alert: dict[str, Any]) -> None:
    """Post an alert to the incoming webhook.

    Raises:
        OSError: the webhook can't be reached or refuses (urllib's errors are OSErrors).
    """
    text = f"*{alert['type']}* ({alert['severity']}): {_escaped(alert['message'])}"
    request = urllib.request.Request(  # noqa: S310 - the scheme is checked when the notifier is made
        settings.slack_webhook,
        data=json.dumps({"text": text}).encode(),
        headers={"Content-Type": "application/json"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=settings.timeout_seconds):  # noqa: S310 - as above
        return


def _escaped(text: str) -> str:
    """Slack reads &, < and > as markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def notifiers_from_environment(
    *, email: bool, slack: bool, environment: Mapping[str, str] | None = None
) -> list[Notifier]:
    """The channels that are switched on and that the environment says how to reach.

    A channel whose settings are missing or wrong is warned about and left out.
    """
    if not (email or slack):
        return []
    try:
        settings = NotificationSettings.from_environment(environment)
    except (ValueError, OSError) as error:
        logger.warning("E-mail and Slack alerts are switched off: %s", error)
        return []
    notifiers: list[Notifier] = []
    if email and _is_complete_for_email(settings):
        notifiers.append(BackgroundNotifier("E-mail", lambda alert: send_email(settings, alert)))
    if slack and _is_complete_for_slack(settings):
        notifiers.append(BackgroundNotifier("Slack", lambda alert: send_to_slack(settings, alert)))
    return notifiers


def _is_complete_for_email(settings: NotificationSettings) -> bool:
    needed = {
        "SMTP_HOST": settings.smtp_host,
        "SMTP_FROM": settings.smtp_from,
        "SMTP_TO": settings.smtp_to,
    }
    missing = [_PREFIX + name for name, value in needed.items() if not value]
    if missing:
        logger.warning("E-mail alerts are switched off: set %s.", ", ".join(missing))
    return not missing


def _is_complete_for_slack(settings: NotificationSettings) -> bool:
    is_url = settings.slack_webhook.startswith(("https://", "http://"))
    if not is_url:
        logger.warning(
            "Slack alerts are switched off: set %sSLACK_WEBHOOK to the webhook's https:// URL.",
            _PREFIX,
        )
    return is_url
