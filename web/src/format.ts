// Sizes and times as people read them, and what a file's name says.
const kUnits = ["B", "KiB", "MiB", "GiB", "TiB"];

export function bytes(count: number | null | undefined): string {
    if (count === null || count === undefined) return "–";
    let value = count;
    let unit = 0;
    while (value >= 1024 && unit < kUnits.length - 1) {
        value /= 1024;
        unit += 1;
    }
    return `${unit === 0 ? value : value.toFixed(value < 10 ? 1 : 0)} ${kUnits[unit]}`;
}

export function milliseconds(ms: number): string {
    return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

export function ago(time: string, now: Date = new Date()): string {
    const seconds = Math.max(0, (now.getTime() - new Date(time).getTime()) / 1000);
    if (seconds < 60) return "just now";
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
    if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
    return new Date(time).toLocaleDateString();
}

// The server detects the formats of disks; that a file is a disc, it must be told.
export function formatOf(fileName: string): "iso" | undefined {
    return /\.iso$/i.test(fileName) ? "iso" : undefined;
}

export function percent(done: number, total: number): number {
    return total > 0 ? Math.min(100, Math.round((100 * done) / total)) : 0;
}

// As a person types it; null: empty, undefined: no number of bytes that a quota could be.
export function bytesOfGib(text: string): number | null | undefined {
    if (text.trim() === "") return null;
    if (!/^\s*\d+([.,]\d+)?\s*$/.test(text)) return undefined;
    const blocks = Math.round((Number(text.trim().replace(",", ".")) * 1024 ** 3) / 4096);
    return blocks >= 1 && blocks * 4096 <= 2 ** 50 ? blocks * 4096 : undefined;
}

// The class of a bar: events tell at the same limits.
export function fullness(used: number, limit: number): "" | "warn" | "bad" {
    return used >= 0.95 * limit ? "bad" : used >= 0.8 * limit ? "warn" : "";
}

interface Reads { cache_hits: number; cache_misses: number }
interface BootTrace { bytes: number; prewarmed_at: string | null }
interface Pin { wanted_bytes: number; pinned_bytes: number; problem: string | null }

// How a version in use is read, and what is read ahead of its boots; "" when there is nothing to say.
export function readsOf({ reads, boot_trace, pin }: { reads: Reads | null; boot_trace: BootTrace | null; pin: Pin | null }): string {
    const said: string[] = [];
    const all = reads ? reads.cache_hits + reads.cache_misses : 0;
    if (reads && all > 0) said.push(`${(100 * reads.cache_hits / all).toFixed(1)} % of reads from memory`);
    if (boot_trace) said.push(`boots read ${bytes(boot_trace.bytes)} first${boot_trace.prewarmed_at ? ", read ahead" : ""}`);
    if (pin) said.push(`pinned, ${bytes(pin.pinned_bytes)} of ${bytes(pin.wanted_bytes)} in memory${pin.problem ? `: ${pin.problem}` : ""}`);
    return said.join(" · ");
}
