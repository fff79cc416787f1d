"""A way to a server that breaks."""

import socket
import threading


class CuttingProxy:
    """Passes connections on to a server on loopback and counts what it was sent; cuts those that sent more than
    `cut_every` bytes, the first `cuts` times."""

    def __init__(self, port, cut_every=0, cuts=0):
        self.port, self.cut_every, self.left = port, cut_every, cuts
        self.sent_bytes = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.port))
            threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _serve(self, client, server):
        with client, server:
            back = threading.Thread(target=self._pass, args=(server, client, False), daemon=True)
            back.start()
            self._pass(client, server, True)
            back.join()

    def _pass(self, source, sink, counted):
        passed = 0
        try:
            while data := source.recv(65536):
                sink.sendall(data)
                passed += len(data)
                if counted:
                    self.sent_bytes += len(data)
                    if self.left > 0 and passed > self.cut_every:
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
