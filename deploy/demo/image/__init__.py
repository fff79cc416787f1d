"""Builds the demo's golden image: a small real Debian that boots over iSCSI by BIOS and by UEFI."""
