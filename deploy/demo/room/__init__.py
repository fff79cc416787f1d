"""A room of PCs on one machine: a network made of namespaces, the site's own DHCP server, and QEMU
machines that boot from the network. Used by the demo and by the end-to-end tests.

    with Room() as room:                 # or Room(server_interface="gldemo0")
        room.popen_server([...])         # the server's side of the network
        machine = room.machine("pc-001", firmware="uefi", mac="52:54:00:00:00:01")
        machine.start()
        machine.wait_booted()
        machine.run("uname -r")

Everything is made of child processes that die with this one (even when it is killed): namespaces
have no names and vanish with their last process, so that nothing is left to be cleaned up later.
"""
from .child import Child, RoomError
from .machine import Machine
from .network import Room

__all__ = ["Child", "Machine", "Room", "RoomError"]
