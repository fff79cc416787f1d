import { describe, expect, it } from "vitest";
import { ago, bytes, bytesOfGib, formatOf, fullness, milliseconds, percent, readsOf } from "./format";

describe("format", () => {
    it("writes sizes in the unit a person would", () => {
        expect(bytes(0)).toBe("0 B");
        expect(bytes(1023)).toBe("1023 B");
        expect(bytes(1024)).toBe("1.0 KiB");
        expect(bytes(64 * 1024 ** 3)).toBe("64 GiB");
        expect(bytes(null)).toBe("–");
    });
    it("writes times", () => {
        expect(milliseconds(40)).toBe("40 ms");
        expect(milliseconds(12_340)).toBe("12.3 s");
        const now = new Date("2026-01-01T12:00:00Z");
        expect(ago("2026-01-01T11:59:30Z", now)).toBe("just now");
        expect(ago("2026-01-01T11:00:00Z", now)).toBe("1 h ago");
        expect(ago("2026-01-01T12:00:05Z", now)).toBe("just now");
    });
    it("takes a quota in GiB", () => {
        expect(bytesOfGib(" ")).toBeNull();
        expect(bytesOfGib("20")).toBe(20 * 1024 ** 3);
        expect(bytesOfGib("0,5")).toBe(512 * 1024 ** 2);
        for (const text of ["0", "-1", "1e3", "20G", ".", "0.0000001", "9999999999"]) expect(bytesOfGib(text), text).toBeUndefined();
    });
    it("says when an overlay gets full", () => {
        expect([fullness(79, 100), fullness(80, 100), fullness(95, 100)]).toEqual(["", "warn", "bad"]);
    });
    it("knows a disc by its file's name", () => {
        expect(formatOf("debian-13-netinst.ISO")).toBe("iso");
        expect(formatOf("win11.vhdx")).toBeUndefined();
        expect(formatOf("iso")).toBeUndefined();
        expect(formatOf("disc.iso.qcow2")).toBeUndefined();
    });
    it("says how a version is read", () => {
        const nothing = { reads: null, boot_trace: null, pin: null };
        expect(readsOf(nothing)).toBe("");
        expect(readsOf({ ...nothing, reads: { cache_hits: 0, cache_misses: 0 } })).toBe("");
        expect(readsOf({ ...nothing, reads: { cache_hits: 3, cache_misses: 1 }, boot_trace: { bytes: 1024 ** 2, prewarmed_at: null } }))
            .toBe("75.0 % of reads from memory · boots read 1.0 MiB first");
        expect(readsOf({ ...nothing, boot_trace: { bytes: 1024, prewarmed_at: "2026-01-01T12:00:00Z" } }))
            .toBe("boots read 1.0 KiB first, read ahead");
        expect(readsOf({ ...nothing, pin: { wanted_bytes: 2048, pinned_bytes: 1024, problem: "the locked memory is full" } }))
            .toBe("pinned, 1.0 KiB of 2.0 KiB in memory: the locked memory is full");
    });
    it("never leaves 0 to 100 percent", () => {
        expect(percent(5, 0)).toBe(0);
        expect(percent(200, 100)).toBe(100);
        expect(percent(1, 3)).toBe(33);
    });
});
