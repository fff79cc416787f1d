// What fills a disk's overlay: its partitions, and of each the files that most of it belongs to.
import { useQuery } from "@tanstack/react-query";

import { call } from "../api/client";
import type { Link } from "../api/queries";
import { bytes, percent } from "../format";
import { fileRows, nameOf, partitionRows, type Row, type Usage } from "../usage";
import { Dialog } from "./Dialog";
import { ProblemBox } from "./ProblemBox";

function Rows({ label, rows }: { label: string; rows: Row[] }) {
    return (
        <ul className="usage" aria-label={label}>
            {rows.map((row, index) => (
                <li key={index}>
                    <span className={row.dim ? "name quiet" : "name"}>{row.name} <span className="quiet">{row.detail}</span></span>
                    <div className={row.dim ? "bar dim" : "bar"} role="img" aria-label={`${percent(row.share, 1)} %`}>
                        <div style={{ width: `${100 * row.share}%` }} />
                    </div>
                    <span className="size">{bytes(row.bytes)}</span>
                </li>
            ))}
        </ul>
    );
}

export function UsageDialog({ link, lun, onClose }: { link: Link; lun: number; onClose: () => void }) {
    const usage = useQuery({
        queryKey: ["usage", link.id, lun],
        queryFn: () => call<Usage>("GET", `/links/${link.id}/usage?lun=${lun}`),
        gcTime: 0, retry: false, refetchOnWindowFocus: false,
    });
    return (
        <Dialog title={`What fills the overlay of ${link.client ?? "the lease"}, LUN ${lun}`} onClose={onClose}>
            <ProblemBox error={usage.error} />
            {usage.isFetching && <p className="quiet">Looking into the disk; this takes up to a minute…</p>}
            {usage.data && (
                <>
                    <p>{bytes(usage.data.used_bytes)} written over {usage.data.image}</p>
                    {usage.data.why && <p className="bad-text">Not everything was looked at: {usage.data.why}</p>}
                    <Rows label="Partitions" rows={partitionRows(usage.data)} />
                    {usage.data.partitions.filter((each) => each.written_bytes > 0).map((each) => (
                        <div key={each.offset_bytes}>
                            <strong>{nameOf(each)}</strong>
                            {each.problem && <div className="quiet">{each.problem}</div>}
                            {each.readable && <Rows label={nameOf(each)} rows={fileRows(each)} />}
                        </div>
                    ))}
                </>
            )}
            <button className="plain" onClick={onClose}>Close</button>
        </Dialog>
    );
}
