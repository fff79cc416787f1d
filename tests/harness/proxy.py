"""A way to a server that breaks."""

import socket
import threading


class CuttingProxy:
    """Passes connections on to a server on loopback and counts what goes to it and comes back; cuts those on which
    more than `cut_every` bytes went to it (or came back, with `cut_answers`), the first `cuts` times. Once
    `dies_after` bytes passed that way in all, no connection lives any more."""

    def __init__(self, port, cut_every=0, cuts=0, cut_answers=False, dies_after=None):
        self.port, self.cut_every, self.left = port, cut_every, cuts
        self.cut_answers, self.dies_after = cut_answers, dies_after
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

    def _pass(self, source, sink, forward):
        passed = 0
        try:
            while data := source.recv(65536):
                sink.sendall(data)
                passed += len(data)
                if forward:
                    self.sent_bytes += len(data)
                else:
                    self.received_bytes += len(data)
                if self.dead:
                    break
                if forward != self.cut_answers and self.left > 0 and passed > self.cut_every:
                    self.left -= 1
                    break
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()
