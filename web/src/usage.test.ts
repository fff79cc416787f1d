import { describe, expect, it } from "vitest";
import { fileRows, nameOf, partitionRows, type PartitionUsage, type Usage } from "./usage";

const partition: PartitionUsage = {
    number: 2, offset_bytes: 1 << 20, length_bytes: 1024 ** 3, written_bytes: 1000, file_system: "NTFS", readable: true, problem: null,
    file_bytes: 700, metadata_bytes: 200, free_bytes: 100, other_bytes: 0, file_count: 4,
    files: [{ path: "/pagefile.sys", written_bytes: 500, size_bytes: 2048 }, { path: "/a", written_bytes: 100, size_bytes: 100 }],
};
const usage: Usage = {
    link_id: "", client: "PC-001", lun: 0, image: "win11", policy: "discard", live: true, disk_bytes: 1 << 30, used_bytes: 2000,
    outside_bytes: 500, partitions: [{ ...partition, number: 1, file_system: null, written_bytes: 500 }, partition], complete: true, why: null,
};

describe("usage", () => {
    it("shows partitions as shares of the overlay", () => {
        expect(partitionRows(usage).map(({ name, share, dim }) => [name, share, dim])).toEqual([
            ["Partition 1, not known of 1.0 GiB", 0.25, false],
            ["Partition 2, NTFS of 1.0 GiB", 0.5, false],
            ["Outside of partitions", 0.25, true],
        ]);
        expect(partitionRows({ ...usage, outside_bytes: 0, used_bytes: 0 }).map((row) => row.share)).toEqual([0, 0]);
        expect(nameOf({ ...partition, number: null })).toBe("Whole disk, NTFS of 1.0 GiB");
    });
    it("explains all of a partition's bytes", () => {
        const rows = fileRows(partition);
        expect(rows.map(({ name, bytes }) => [name, bytes])).toEqual([
            ["/pagefile.sys", 500], ["/a", 100], ["2 more files", 100],
            ["The file system itself: tables, journal, folders", 200], ["Free again: of deleted or replaced files", 100],
        ]);
        expect(rows[0]).toMatchObject({ detail: "of 2.0 KiB", share: 0.5, dim: false });
        expect(rows.reduce((sum, row) => sum + row.bytes, 0)).toBe(partition.written_bytes);
        expect(fileRows({ ...partition, file_count: 3 })[2]?.name).toBe("1 more file");
    });
});
