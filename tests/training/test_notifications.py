"""E-mail and Slack, against a real SMTP server and a real HTTP server on loopback."""

from __future__ import annotations

import json
import logging
import socketserver
import ssl
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address

import pytest
import torch
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from torch import nn
from torch.utils.data import TensorDataset

from utils.training.engine import AlertConfig, MetricsEngine, Trainer
from utils.training.notifications import (
    BackgroundNotifier,
    NotificationSettings,
    notifiers_from_environment,
    send_email,
)
from utils.training.task_spec import TaskSpec
from utils.training.training_config import TrainingConfig

ALERT = {
    "type": "accuracy_drop",
    "message": "Validation accuracy fell by 9.0 points & more.",
    "severity": "critical",
    "value": 0.09,
    "threshold": 0.05,
    "epoch": 3,
}


class SmtpHandler(socketserver.StreamRequestHandler):
    """Enough of RFC 5321 to take a message, and AUTH PLAIN."""

    def handle(self):
        self.say("220 test ESMTP")
        while line := self.rfile.readline():
            verb = line.split()[0].upper().decode()
            self.server.verbs.append(verb)
            if not getattr(self, f"on_{verb.lower()}", self.on_other)(line):
                return

    def finish(self):
        super().finish()
        self.request.close()  # under TLS another one than the server knows

    def say(self, text):
        self.wfile.write(text.encode() + b"\r\n")
        return True

    def on_ehlo(self, line):
        self.say("250-test")
        if self.server.tls is not None:
            self.say("250-STARTTLS")
        return self.say("250 AUTH PLAIN")

    def on_starttls(self, line):
        self.say("220 go on")
        try:
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        except ssl.SSLError:
            return False
        self.rfile, self.wfile = self.request.makefile("rb"), self.request.makefile("wb", 0)
        return True

    def on_auth(self, line):
        self.server.credentials.append(line.split()[2])
        return self.say("235 welcome" if self.server.accepts else "535 wrong password")

    def on_data(self, line):
        self.say("354 go on")
        lines = []
        while (text := self.rfile.readline()) != b".\r\n":
            lines.append(text)
        self.server.messages.append(b"".join(lines))
        return self.say("250 taken")

    def on_rcpt(self, line):
        self.server.recipients.append(line.decode().split(":", 1)[1].strip())
        return self.say("250 fine")

    def on_quit(self, line):
        self.say("221 bye")
        return False

    def on_other(self, line):
        return self.say("250 fine")


@contextmanager
def running(server):
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class SmtpServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), SmtpHandler)
        self.verbs, self.messages, self.recipients, self.credentials = [], [], [], []
        self.accepts, self.tls = True, None


@pytest.fixture
def smtp_server():
    with running(SmtpServer()) as server:
        yield server


@pytest.fixture
def certificate(tmp_path):
    """A certificate of 127.0.0.1 that signs itself, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "server.pem"
    path.write_bytes(
        signed.public_bytes(Encoding.PEM)
        + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return path


@pytest.fixture
def tls_server(smtp_server, certificate):
    smtp_server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    smtp_server.tls.load_cert_chain(certificate)
    return smtp_server


class SlackHandler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.append((self.path, self.headers["Content-Type"], json.loads(body)))
        code = self.server.codes.pop(0) if self.server.codes else 200
        self.send_response(code)
        self.end_headers()

    def log_message(self, *arguments):
        """Keep the test's output quiet."""


@pytest.fixture
def slack_server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), SlackHandler)
    server.posts, server.codes = [], []
    with running(server):
        yield server


def smtp_environment(server, **more):
    return {
        "TRAINING_ALERT_SMTP_HOST": "127.0.0.1",
        "TRAINING_ALERT_SMTP_PORT": str(server.server_address[1]),
        "TRAINING_ALERT_SMTP_FROM": "engine@example.org",
        "TRAINING_ALERT_SMTP_TO": "ann@example.org, bob@example.org",
        **more,
    }


def webhook(server):
    return f"http://127.0.0.1:{server.server_address[1]}/services/secret"


def send_all(config, environment):
    notifiers = notifiers_from_environment(
        email=config.enable_email_alerts,
        slack=config.enable_slack_alerts,
        environment=environment,
    )
    for notifier in notifiers:
        notifier(ALERT)
        notifier.close()
    return notifiers


def test_an_email_reaches_every_recipient(smtp_server):
    send_all(AlertConfig(enable_email_alerts=True), smtp_environment(smtp_server))
    message = message_from_bytes(smtp_server.messages[0], policy=policy.default)
    assert message["Subject"] == "[training] critical: accuracy_drop in epoch 3"
    assert message["From"] == "engine@example.org"
    assert "fell by 9.0 points" in message.get_content()
    assert "value: 0.09" in message.get_content()
    assert smtp_server.recipients == ["<ann@example.org>", "<bob@example.org>"]


def test_a_password_from_a_file_logs_in(smtp_server, tmp_path):
    secret = tmp_path / "password"
    secret.write_text("hunter2\n", encoding="utf-8")
    environment = smtp_environment(
        smtp_server,
        TRAINING_ALERT_SMTP_USER="engine",
        TRAINING_ALERT_SMTP_PASSWORD_FILE=str(secret),
    )
    send_all(AlertConfig(enable_email_alerts=True), environment)
    assert smtp_server.credentials == [b"AGVuZ2luZQBodW50ZXIy"]  # NUL engine NUL hunter2
    assert len(smtp_server.messages) == 1


def test_a_wrong_password_is_warned_about_and_not_tried_again(smtp_server, caplog):
    smtp_server.accepts = False
    environment = smtp_environment(
        smtp_server, TRAINING_ALERT_SMTP_USER="engine", TRAINING_ALERT_SMTP_PASSWORD="wrong"
    )
    send_all(AlertConfig(enable_email_alerts=True), environment)
    assert smtp_server.messages == []
    assert smtp_server.verbs.count("EHLO") == 1
    assert "E-mail alert 'accuracy_drop' could not be sent" in caplog.text
    assert "wrong" not in caplog.text.replace("wrong password", "")


def test_a_password_never_travels_in_the_clear_to_another_machine(smtp_server, monkeypatch):
    monkeypatch.setattr("utils.training.notifications._LOOPBACK", ())
    settings = NotificationSettings.from_environment(
        smtp_environment(smtp_server, TRAINING_ALERT_SMTP_USER="engine")
    )
    with pytest.raises(ValueError, match="offers no STARTTLS"):
        send_email(settings, ALERT)
    assert smtp_server.credentials == []


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_password_travels_encrypted_where_the_server_can(
    security, tls_server, certificate, monkeypatch
):
    monkeypatch.setattr("utils.training.notifications._LOOPBACK", ())
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    if security == "tls":
        tls_server.socket = tls_server.tls.wrap_socket(tls_server.socket, server_side=True)
    environment = smtp_environment(
        tls_server,
        TRAINING_ALERT_SMTP_USER="engine",
        TRAINING_ALERT_SMTP_PASSWORD="hunter2",
        TRAINING_ALERT_SMTP_SECURITY=security,
    )
    send_all(AlertConfig(enable_email_alerts=True), environment)
    assert len(tls_server.messages) == 1
    assert ("STARTTLS" in tls_server.verbs) == (security == "starttls")


def test_a_server_with_a_certificate_of_nobody_is_told_nothing(tls_server, caplog):
    (notifier,) = notifiers_from_environment(
        email=True, slack=False, environment=smtp_environment(tls_server)
    )
    notifier._pause_seconds = 0.001
    notifier(ALERT)
    notifier.close()
    assert tls_server.messages == []
    assert "CERTIFICATE_VERIFY_FAILED" in caplog.text


def test_a_server_that_is_away_costs_a_warning(caplog):
    with running(SmtpServer()) as gone:
        environment = smtp_environment(gone)
    settings = NotificationSettings.from_environment(environment)
    notifier = BackgroundNotifier(
        "E-mail", lambda alert: send_email(settings, alert), pause_seconds=0.001
    )
    notifier(ALERT)
    notifier.close()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_slack_gets_the_message_as_text(slack_server):
    environment = {"TRAINING_ALERT_SLACK_WEBHOOK": webhook(slack_server)}
    send_all(AlertConfig(enable_slack_alerts=True), environment)
    text = "*accuracy_drop* (critical): Validation accuracy fell by 9.0 points &amp; more."
    assert slack_server.posts == [("/services/secret", "application/json", {"text": text})]


def test_slack_is_tried_again_after_a_server_error_and_not_after_a_refusal(slack_server, caplog):
    slack_server.codes = [503, 429]
    environment = {"TRAINING_ALERT_SLACK_WEBHOOK": webhook(slack_server)}
    (notifier,) = notifiers_from_environment(email=False, slack=True, environment=environment)
    notifier._pause_seconds = 0.001
    notifier(ALERT)
    notifier.close()
    assert len(slack_server.posts) == 3
    assert caplog.text == ""
    slack_server.codes = [404]
    send_all(AlertConfig(enable_slack_alerts=True), environment)
    assert len(slack_server.posts) == 4
    assert "HTTP Error 404" in caplog.text
    assert "secret" not in caplog.text


def test_the_engine_sends_what_its_config_switches_on(smtp_server, slack_server, monkeypatch):
    for name, value in smtp_environment(smtp_server).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TRAINING_ALERT_SLACK_WEBHOOK", webhook(slack_server))
    engine = MetricsEngine(
        use_wandb=False,
        alert_config=AlertConfig(enable_email_alerts=True, enable_slack_alerts=True),
    )
    engine.log_epoch(0, {"loss": 1.0}, gradient_norm=50.0)
    engine.close()
    assert b"gradient_explosion" in smtp_server.messages[0]
    assert "gradient_explosion" in slack_server.posts[0][2]["text"]


def test_a_training_tells_people_where_its_config_says_so(smtp_server, slack_server, monkeypatch):
    for name, value in smtp_environment(smtp_server).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TRAINING_ALERT_SLACK_WEBHOOK", webhook(slack_server))
    config = TrainingConfig(
        epochs=1,
        device="cpu",
        progress_bar=False,
        vanishing_threshold=0.0,
        explosion_threshold=1e-6,  # any gradient explodes
        email_alerts=True,
        slack_alerts=True,
    )
    task = TaskSpec(name="rows", modality="tabular", num_classes=2)
    rows = TensorDataset(torch.randn(8, 3), torch.arange(8) % 2)
    Trainer(nn.Linear(3, 2), None, config, task).train(rows)
    assert b"gradient_explosion" in smtp_server.messages[0]
    assert "gradient_explosion" in slack_server.posts[0][2]["text"]


def test_nothing_is_read_or_started_where_alerts_are_off():
    environment = {"TRAINING_ALERT_SMTP_PORT": "no"}
    assert notifiers_from_environment(email=False, slack=False, environment=environment) == []


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "set TRAINING_ALERT_SMTP_HOST, TRAINING_ALERT_SMTP_FROM, TRAINING_ALERT_SMTP_TO"),
        ({}, "set TRAINING_ALERT_SLACK_WEBHOOK"),
        ({"TRAINING_ALERT_SLACK_WEBHOOK": "file:///etc/passwd"}, "set TRAINING_ALERT_SLACK"),
        ({"TRAINING_ALERT_SMTP_PORT": "mail"}, "TRAINING_ALERT_SMTP_PORT is 'mail', allowed is 1"),
        ({"TRAINING_ALERT_SMTP_PORT": "70000"}, "allowed is 1 to 65535"),
        ({"TRAINING_ALERT_SMTP_SECURITY": "ssl"}, "allowed are starttls, tls, none"),
        ({"TRAINING_ALERT_SMTP_PASSWORD_FILE": "/nowhere"}, "No such file"),
    ],
)
def test_a_channel_without_its_settings_is_switched_off_with_a_warning(
    environment, expected, caplog
):
    assert notifiers_from_environment(email=True, slack=True, environment=environment) == []
    assert expected in caplog.text


def test_settings_keep_secrets_out_of_their_repr():
    settings = NotificationSettings(smtp_password="hunter2", slack_webhook="https://hooks/secret")
    assert "hunter2" not in repr(settings)
    assert "secret" not in repr(settings)


def test_a_cause_outside_of_a_training_is_told_without_an_epoch(smtp_server):
    alert = {name: value for name, value in ALERT.items() if name != "epoch"}
    settings = NotificationSettings.from_environment(smtp_environment(smtp_server))
    send_email(settings, alert)
    message = message_from_bytes(smtp_server.messages[0], policy=policy.default)
    assert message["Subject"] == "[training] critical: accuracy_drop"
