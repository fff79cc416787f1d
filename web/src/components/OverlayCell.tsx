// How full a disk's overlay is, and the ways to what fills it and to how much it may take.
import type { Link } from "../api/queries";
import { bytes, fullness, percent } from "../format";

interface Props { disk: Link["disks"][number]; onLook: () => void; onQuota: () => void }

export function OverlayCell({ disk, onLook, onQuota }: Props) {
    if (disk.type !== "disk") return <>–</>;
    const used = disk.overlay?.used_bytes;
    const limit = disk.quota_bytes ?? disk.overlay?.quota_bytes;
    return (
        <div className="overlay">
            {bytes(used)}{disk.quota_bytes !== null && ` of ${bytes(disk.quota_bytes)}`}
            {used !== undefined && limit != null && (
                <div className={`bar ${fullness(used, limit)}`} role="img" aria-label={`${percent(used, limit)} % full`}>
                    <div style={{ width: `${percent(used, limit)}%` }} />
                </div>
            )}
            {used !== undefined && used > 0 && <button className="plain" onClick={onLook}>What fills it</button>}
            <button className="plain" onClick={onQuota}>Quota</button>
        </div>
    );
}
