"""What a Windows disk (disk.sys, classpnp, partmgr) reads of a disk, as tables beside SPC-4 and SBC-3/4.

Values that Windows needs or that follow from the link (512-byte blocks on 4 KiB, thin, not rotating)
are exact; ANY is a field of the standard that does not concern it. See harness/fields.py.
"""

from harness.fields import ANY, Rule, between, one_of, text

NONZERO = Rule("not zero", lambda value: value != 0)

STANDARD_INQUIRY = (  # SPC-4 6.6.2
    ("PERIPHERAL QUALIFIER", 0, 7, 3, 0),
    ("PERIPHERAL DEVICE TYPE", 0, 4, 5, 0),
    ("RMB", 1, 7, 1, 0),
    ("VERSION", 2, 7, 8, one_of(5, 6, 7)),
    ("NORMACA", 3, 5, 1, 0),
    ("HISUP", 3, 4, 1, ANY),
    ("RESPONSE DATA FORMAT", 3, 3, 4, 2),
    ("ADDITIONAL LENGTH", 4, 7, 8, ANY),
    ("SCCS", 5, 7, 1, 0),
    ("TPGS", 5, 5, 2, ANY),
    ("3PC", 5, 3, 1, ANY),
    ("PROTECT", 5, 0, 1, 0),
    ("ENCSERV", 6, 6, 1, 0),
    ("MULTIP", 6, 4, 1, ANY),
    ("CMDQUE", 7, 1, 1, 1),
    ("T10 VENDOR IDENTIFICATION", 8, 7, 64, text(8)),
    ("PRODUCT IDENTIFICATION", 16, 7, 128, text(16)),
    ("PRODUCT REVISION LEVEL", 32, 7, 32, text(4)),
)
STANDARD_INQUIRY_REST = (
    ("vendor specific", 36, 7, 160, ANY),
    ("VERSION DESCRIPTORS", 58, 7, 128, NONZERO),
)

EXTENDED_INQUIRY = (  # VPD 86h, SPC-4 7.8.7
    ("page header", 0, 7, 32, 0x0086003C),
    ("ACTIVATE MICROCODE", 4, 7, 2, ANY),
    ("SPT", 4, 5, 3, 0),
    ("GRD_CHK, APP_CHK, REF_CHK", 4, 2, 3, 0),
    ("UASK_SUP", 5, 5, 1, ANY),
    ("GROUP_SUP", 5, 4, 1, ANY),
    ("PRIOR_SUP", 5, 3, 1, ANY),
    ("HEADSUP", 5, 2, 1, 1),
    ("ORDSUP", 5, 1, 1, 1),
    ("SIMPSUP", 5, 0, 1, 1),
    ("WU_SUP", 6, 3, 1, ANY),
    ("CRD_SUP", 6, 2, 1, ANY),
    ("NV_SUP", 6, 1, 1, ANY),
    ("V_SUP", 6, 0, 1, 1),
    ("P_I_I_SUP", 7, 4, 1, 0),
    ("LUICLR", 7, 0, 1, ANY),
    ("R_SUP, CBCS", 8, 4, 5, ANY),
    ("MULTI I_T NEXUS MICROCODE DOWNLOAD", 9, 3, 4, ANY),
    ("EXTENDED SELF-TEST COMPLETION MINUTES", 10, 7, 16, ANY),
    ("POA_SUP, HRA_SUP, VSA_SUP", 12, 7, 3, ANY),
    ("MAXIMUM SUPPORTED SENSE DATA LENGTH", 13, 7, 8, one_of(0, *range(18, 253))),
)

BLOCK_LIMITS = (  # VPD B0h, SBC-3 6.6.4; bytes 44 to 63 SBC-4
    ("page header", 0, 7, 32, 0x00B0003C),
    ("WSNZ", 4, 0, 1, ANY),
    ("MAXIMUM COMPARE AND WRITE LENGTH", 5, 7, 8, NONZERO),
    ("OPTIMAL TRANSFER LENGTH GRANULARITY", 6, 7, 16, 8),
    # Windows cuts its requests to this: at least 1 MiB.
    ("MAXIMUM TRANSFER LENGTH", 8, 7, 32, between(2048, 1 << 24)),
    ("OPTIMAL TRANSFER LENGTH", 12, 7, 32, between(128, 1 << 24)),
    ("MAXIMUM PREFETCH LENGTH", 16, 7, 32, ANY),
    # Both zero and TRIM is off; set and not done, Format hangs.
    ("MAXIMUM UNMAP LBA COUNT", 20, 7, 32, NONZERO),
    ("MAXIMUM UNMAP BLOCK DESCRIPTOR COUNT", 24, 7, 32, NONZERO),
    ("OPTIMAL UNMAP GRANULARITY", 28, 7, 32, 8),
    ("UGAVALID", 32, 7, 1, 1),
    ("UNMAP GRANULARITY ALIGNMENT", 32, 6, 31, 0),
    ("MAXIMUM WRITE SAME LENGTH", 36, 7, 64, NONZERO),
    ("MAXIMUM ATOMIC TRANSFER LENGTH", 44, 7, 32, ANY),
    ("ATOMIC ALIGNMENT", 48, 7, 32, ANY),
    ("ATOMIC TRANSFER LENGTH GRANULARITY", 52, 7, 32, ANY),
    ("MAXIMUM ATOMIC TRANSFER LENGTH WITH ATOMIC BOUNDARY", 56, 7, 32, ANY),
    ("MAXIMUM ATOMIC BOUNDARY SIZE", 60, 7, 32, ANY),
)

BLOCK_DEVICE_CHARACTERISTICS = (  # VPD B1h, SBC-3 6.6.2
    ("page header", 0, 7, 32, 0x00B1003C),
    ("MEDIUM ROTATION RATE", 4, 7, 16, 1),  # not rotating: Windows does not defragment it
    ("PRODUCT TYPE", 6, 7, 8, 0),
    ("WABEREQ", 7, 7, 2, ANY),
    ("WACEREQ", 7, 5, 2, 0),
    ("NOMINAL FORM FACTOR", 7, 3, 4, 0),
    ("ZONED", 8, 5, 2, 0),
    ("FUAB", 8, 1, 1, ANY),
    ("VBULS", 8, 0, 1, ANY),
)

LOGICAL_BLOCK_PROVISIONING = (  # VPD B2h, SBC-3 6.6.5
    ("PERIPHERAL", 0, 7, 8, 0),
    ("PAGE CODE", 1, 7, 8, 0xB2),
    ("PAGE LENGTH", 2, 7, 16, 4),
    ("THRESHOLD EXPONENT", 4, 7, 8, ANY),
    ("LBPU", 5, 7, 1, 1),
    ("LBPWS", 5, 6, 1, ANY),
    ("LBPWS10", 5, 5, 1, ANY),
    ("LBPRZ", 5, 4, 3, 1),
    ("ANC_SUP", 5, 1, 1, 0),
    ("DP", 5, 0, 1, 0),
    ("MINIMUM PERCENTAGE", 6, 7, 5, ANY),
    ("PROVISIONING TYPE", 6, 2, 3, 2),
    ("THRESHOLD PERCENTAGE", 7, 7, 8, ANY),
)

READ_CAPACITY_16 = (  # SBC-3 5.15.2
    ("RETURNED LOGICAL BLOCK ADDRESS", 0, 7, 64, ANY),
    ("LOGICAL BLOCK LENGTH IN BYTES", 8, 7, 32, 512),
    ("P_TYPE, PROT_EN", 12, 3, 4, 0),
    ("P_I_EXPONENT", 13, 7, 4, 0),
    ("LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT", 13, 3, 4, 3),
    ("LBPME", 14, 7, 1, 1),
    ("LBPRZ", 14, 6, 1, 1),
    ("LOWEST ALIGNED LOGICAL BLOCK ADDRESS", 14, 5, 14, 0),
)

CACHING = (  # mode page 08h, SBC-3 6.5.6
    ("PS, SPF", 0, 7, 2, 0),
    ("PAGE CODE", 0, 5, 6, 0x08),
    ("PAGE LENGTH", 1, 7, 8, 18),
    ("IC to DISC", 2, 7, 5, ANY),
    ("WCE", 2, 2, 1, 1),  # else Windows thinks flushes are not needed
    ("MF", 2, 1, 1, ANY),
    ("RCD", 2, 0, 1, 0),
    ("retention and prefetch", 3, 7, 72, ANY),
    ("FSW to NV_DIS", 12, 7, 8, ANY),
    ("NUMBER OF CACHE SEGMENTS", 13, 7, 8, ANY),
    ("CACHE SEGMENT SIZE", 14, 7, 16, ANY),
)

CONTROL = (  # mode page 0Ah, SPC-4 7.5.8
    ("PS, SPF", 0, 7, 2, 0),
    ("PAGE CODE", 0, 5, 6, 0x0A),
    ("PAGE LENGTH", 1, 7, 8, 10),
    ("TST", 2, 7, 3, one_of(0, 1)),
    ("TMF_ONLY", 2, 4, 1, ANY),
    ("DPICZ", 2, 3, 1, 0),
    ("D_SENSE", 2, 2, 1, 0),  # Windows expects fixed format unless it asks
    ("GLTSD", 2, 1, 1, ANY),
    ("RLEC", 2, 0, 1, ANY),
    ("QUEUE ALGORITHM MODIFIER", 3, 7, 4, one_of(0, 1)),
    ("QERR", 3, 2, 2, 0),
    ("VS, RAC, UA_INTLCK_CTRL", 4, 7, 4, 0),
    ("SWP", 4, 3, 1, 0),
    ("ATO, TAS, ATMPE, RWWP", 5, 7, 4, 0),
    ("AUTOLOAD MODE", 5, 2, 3, 0),
    ("BUSY TIMEOUT PERIOD", 8, 7, 16, ANY),
    ("EXTENDED SELF-TEST COMPLETION TIME", 10, 7, 16, ANY),
)

INFORMATIONAL_EXCEPTIONS = (  # mode page 1Ch, SPC-4 7.5.13, SBC-3 6.5.8
    ("PS, SPF", 0, 7, 2, 0),
    ("PAGE CODE", 0, 5, 6, 0x1C),
    ("PAGE LENGTH", 1, 7, 8, 10),
    ("PERF to DEXCPT", 2, 7, 5, ANY),
    ("TEST", 2, 2, 1, 0),
    ("EBACKERR", 2, 1, 1, ANY),
    ("LOGERR", 2, 0, 1, ANY),
    ("MRIE", 3, 3, 4, ANY),
    ("INTERVAL TIMER", 4, 7, 32, ANY),
    ("REPORT COUNT", 8, 7, 32, ANY),
)

MODE_PAGES = {0x08: CACHING, 0x0A: CONTROL, 0x1C: INFORMATIONAL_EXCEPTIONS}


def split_mode_pages(data):
    """{page code: page} of the pages of mode data behind header and block descriptors."""
    pages, at = {}, 0
    while at < len(data):
        if data[at] & 0x40:
            length = 4 + int.from_bytes(data[at + 2:at + 4], "big")
        else:
            length = 2 + data[at + 1]
        page, at = data[at:at + length], at + length
        if len(page) != length:
            raise AssertionError(f"mode page {page[0] & 0x3F:#04x} ends after {len(page)} of {length} bytes")
        if page[0] & 0x40 == 0:
            pages[page[0] & 0x3F] = page
    return pages


def designators(data):
    """VPD 83h (SPC-4 7.8.6) as (association, type, code set, protocol or None, value)."""
    found, at = [], 4
    while at < len(data):
        if at + 4 + data[at + 3] > len(data):
            raise AssertionError(f"a designator ends after the page: {data[at:].hex()}")
        protocol = data[at] >> 4 if data[at + 1] & 0x80 else None
        if data[at + 1] & 0x40 or data[at + 2] or (protocol is None and data[at] >> 4):
            raise AssertionError(f"reserved bits of a designation descriptor: {data[at:at + 4].hex()}")
        value = data[at + 4:at + 4 + data[at + 3]]
        found.append((data[at + 1] >> 4 & 3, data[at + 1] & 15, data[at] & 15, protocol, value))
        at += 4 + data[at + 3]
    return found
