"""A way to a server that breaks."""

import socket
import threading


def shut_down(*ends):
    for end in ends:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


class CuttingProxy:
    """Passes connections on to a server on loopback and counts what goes to it and comes back; cuts those on which
    more than `cut_every` bytes went to it (or came back, with `cut_answers`), the first `cuts` times. Once
    `dies_after` bytes passed that way in all, no connection lives any more. `at`, a number of bytes and what to do,
    is done once when that much went to the server."""

    def __init__(self, port, cut_every=0, cuts=0, cut_answers=False, dies_after=None, at=None):
        self.port, self.cut_every, self.left = port, cut_every, cuts
        self.cut_answers, self.dies_after = cut_answers, dies_after
        self.at, self.lock = at, threading.Lock()
        self.sent_bytes = self.received_bytes = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def dead(self):
        passed = self.received_bytes if self.cut_answers else self.sent_bytes
        return self.dies_after is not None and passed > self.dies_after

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if self.dead:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self.port))
            threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _serve(self, client, server):
        with client, server:
            back = threading.Thread(target=self._pass, args=(server, client, False), daemon=True)
            back.start()
            self._pass(client, server, True)
            back.join()

    def _reach(self):
        with self.lock:
            due = self.at if self.at and self.sent_bytes >= self.at[0] else None
            if due:
                self.at = None
        if due:
            due[1]()

    def _pass(self, source, sink, forward):
        passed = 0
        try:
            while data := source.recv(65536):
                sink.sendall(data)
                passed += len(data)
                if forward:
                    self.sent_bytes += len(data)
                    self._reach()
                else:
                    self.received_bytes += len(data)
                if self.dead:
                    break
                if forward != self.cut_answers and self.left > 0 and passed > self.cut_every:
                    self.left -= 1
                    break
        except OSError:
            pass
        shut_down(source, sink)

    def close(self):
        self.listener.close()


class FreezingProxy:
    """A unix socket that passes connections on to another one, until freeze(): then it takes connections and passes
    nothing, either way, as a machine does that vanished. `connections` counts those that came."""

    def __init__(self, path, server):
        self.server, self.connections = str(server), 0
        self.moving = threading.Event()
        self.moving.set()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        path.chmod(0o777)
        self.listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def freeze(self):
        self.moving.clear()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        self.moving.wait()
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(self.server)
            back = threading.Thread(target=self._pass, args=(server, client), daemon=True)
            back.start()
            self._pass(client, server)
            back.join()

    def _pass(self, source, sink):
        try:
            while data := source.recv(65536):
                self.moving.wait()
                sink.sendall(data)
            self.moving.wait()
        except OSError:
            pass
        shut_down(source, sink)

    def close(self):
        """Lets what it held go on, and takes nobody any more."""
        self.listener.close()
        self.moving.set()
