"""An SMTP server for tests that keeps what it gets, byte for byte, and misbehaves on demand.

    with SmtpSink("127.0.0.11", port) as sink:
        ... sink.wait(1)[0].data

Behaviour is plain attributes, read anew for each command, so that a test may change them while it runs:

    greeting        "421 4.3.2 busy" instead of the 220 (then closes); HANG says nothing at all
    extensions      what EHLO announces
    starttls        None: not offered; "ok"; "broken": 220 and then no TLS; "close": 220 and then closes
    replies         "RCPT u@d.test", "MAIL", "DATA", "." -> a reply, or a list of replies (the last one stays)
    close_after     closes without a reply at this command ("RCPT", ".")
"""
import socket
import ssl
import threading
import time

HANG = "hang"


class Message:
    """One accepted message."""

    def __init__(self, session, mail, recipients, data):
        self.session, self.mail, self.recipients, self.data = session, mail, recipients, data
        self.tls = session.tls
        self.at = time.time()

    @property
    def sender(self):
        return self.mail[self.mail.index("<") + 1:self.mail.index(">")]


class Session:
    def __init__(self, number):
        self.number, self.commands, self.tls, self.ended = number, [], False, False


class SmtpSink:
    def __init__(self, address, port=0, certificate=None, key=None):
        self.address = address
        self.greeting = "220 sink.test ESMTP"
        self.extensions = ["PIPELINING", "8BITMIME", "SIZE 100000000", "ENHANCEDSTATUSCODES", "SMTPUTF8", "DSN"]
        self.starttls, self.replies, self.close_after = None, {}, None
        self.sessions, self.messages = [], []
        self._changed = threading.Condition()
        self._context = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate, key)
            self.starttls = "ok"
        self._open = set()
        self._closing = False
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((address, port))
        self._listener.listen(64)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self):
        """Stops listening and ends every session."""
        self._closing = True
        for s in [self._listener, *self._open]:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._listener.close()
        self._thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def wait(self, count, seconds=30, about=lambda message: True):
        """The messages that `about` picks, once there are `count` of them."""
        end = time.time() + seconds
        with self._changed:
            while True:
                found = [m for m in self.messages if about(m)]
                left = end - time.time()
                if len(found) >= count or left <= 0:
                    break
                self._changed.wait(left)
        if len(found) < count:
            raise AssertionError("%s got %d messages, not %d; sessions: %s" % (
                self.address, len(found), count, [s.commands for s in self.sessions]))
        return found

    def wait_sessions(self, count, seconds=30):
        end = time.time() + seconds
        while len(self.sessions) < count and time.time() < end:
            time.sleep(0.02)
        if len(self.sessions) < count:
            raise AssertionError("%s saw %d connections, not %d" % (self.address, len(self.sessions), count))

    # ---- one connection, one thread

    def _accept(self):
        while not self._closing:
            try:
                s, _ = self._listener.accept()
            except OSError:
                return
            session = Session(len(self.sessions))
            self.sessions.append(session)
            self._open.add(s)
            threading.Thread(target=self._serve, args=(s, session), daemon=True).start()

    def _serve(self, s, session):
        try:
            s.settimeout(60)
            self._converse(s, session)
        except (OSError, EOFError):
            pass
        finally:
            session.ended = True
            self._open.discard(s)
            s.close()

    def _reply(self, key, otherwise):
        given = self.replies.get(key)
        if isinstance(given, list):
            return given.pop(0) if len(given) > 1 else given[0]
        return otherwise if given is None else given

    def _converse(self, s, session):
        if self.greeting == HANG:
            while s.recv(4096):
                pass
            return
        say = lambda text: s.sendall(text.encode() + b"\r\n")
        say(self.greeting)
        if not self.greeting.startswith("2"):
            return
        f = s.makefile("rb")
        mail, recipients = None, []
        while True:
            line = f.readline(100000)
            if not line:
                return
            text = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
            session.commands.append(text)
            verb = text.split(" ")[0].upper()
            if self.close_after == verb:
                return
            if verb in ("EHLO", "HELO"):
                offers = list(self.extensions) + (["STARTTLS"] if self.starttls and not session.tls else [])
                lines = ["sink.test"] + (offers if verb == "EHLO" else [])
                reply = self._reply(verb, None)
                if reply is not None:
                    say(reply)
                    continue
                s.sendall("".join("250%s%s\r\n" % ("-" if i + 1 < len(lines) else " ", t) for i, t in enumerate(lines)).encode())
                mail, recipients = None, []
            elif verb == "STARTTLS" and self.starttls:
                say("220 2.0.0 go ahead")
                if self.starttls == "close":
                    return
                if self.starttls == "broken":
                    s.recv(4096)
                    s.sendall(b"250 this is not a handshake\r\n")
                    return
                f.close()
                self._open.discard(s)
                s = self._context.wrap_socket(s, server_side=True)
                self._open.add(s)
                f = s.makefile("rb")
                session.tls = True
                say = lambda text, s=s: s.sendall(text.encode() + b"\r\n")
                mail, recipients = None, []
            elif verb == "MAIL":
                reply = self._reply("MAIL", "250 2.1.0 ok")
                if reply.startswith("2"):
                    mail, recipients = text, []
                say(reply)
            elif verb == "RCPT":
                address = text[text.index("<") + 1:text.index(">")]
                reply = self._reply("RCPT " + address, self._reply("RCPT", "250 2.1.5 ok"))
                if reply.startswith("2"):
                    recipients.append(address)
                say(reply)
            elif verb == "DATA":
                reply = self._reply("DATA", "354 go ahead" if recipients else "503 5.5.1 no recipients")
                say(reply)
                if not reply.startswith("3"):
                    continue
                data = b""
                while True:
                    line = f.readline()
                    if not line:
                        return
                    if line == b".\r\n":
                        break
                    data += line[1:] if line.startswith(b".") else line
                if self.close_after == ".":
                    return
                reply = self._reply(".", "250 2.0.0 taken")
                if reply.startswith("2"):  # kept before the client knows
                    with self._changed:
                        self.messages.append(Message(session, mail, recipients, data))
                        self._changed.notify_all()
                mail, recipients = None, []
                say(reply)
            elif verb in ("RSET", "NOOP"):
                mail, recipients = None, []
                say("250 2.0.0 ok")
            elif verb == "QUIT":
                say("221 2.0.0 bye")
                return
            else:
                say("500 5.5.2 what?")
            if self._closing:
                return
