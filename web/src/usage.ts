// What fills an overlay, as rows to draw: partitions as shares of the overlay, files and what
// belongs to none as shares of their partition.
import type { Schemas } from "./api/client";
import { bytes } from "./format";

export type Usage = Schemas["LinkUsage"];
export type PartitionUsage = Schemas["PartitionUsage"];

// `dim`: no file.
export interface Row { name: string; detail: string; bytes: number; share: number; dim: boolean }

const share = (part: number, whole: number) => (whole > 0 ? Math.min(1, part / whole) : 0);

export function nameOf(partition: PartitionUsage): string {
    const place = partition.number === null ? "Whole disk" : `Partition ${partition.number}`;
    return `${place}, ${partition.file_system ?? "not known"} of ${bytes(partition.length_bytes)}`;
}

export function partitionRows(usage: Usage): Row[] {
    const row = (name: string, count: number, dim: boolean): Row => ({
        name, detail: "", bytes: count, share: share(count, usage.used_bytes), dim,
    });
    const rows = usage.partitions.map((each) => row(nameOf(each), each.written_bytes, false));
    if (usage.outside_bytes > 0) rows.push(row("Outside of partitions", usage.outside_bytes, true));
    return rows;
}

// Largest first, then what belongs to no listed file; the rows add up to the partition's bytes.
export function fileRows(partition: PartitionUsage): Row[] {
    const row = (name: string, detail: string, count: number, dim: boolean): Row => ({
        name, detail, bytes: count, share: share(count, partition.written_bytes), dim,
    });
    const rows = partition.files.map((file) => row(file.path, `of ${bytes(file.size_bytes)}`, file.written_bytes, false));
    const listed = partition.files.reduce((sum, file) => sum + file.written_bytes, 0);
    const more = partition.file_count - partition.files.length;
    rows.push(
        row(`${more} more ${more === 1 ? "file" : "files"}`, "", partition.file_bytes - listed, true),
        row("The file system itself: tables, journal, folders", "", partition.metadata_bytes, true),
        row("Free again: of deleted or replaced files", "", partition.free_bytes, true),
        row("Not told", "", partition.other_bytes, true),
    );
    return rows.filter((each) => each.bytes > 0);
}
