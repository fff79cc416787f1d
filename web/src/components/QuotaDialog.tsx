// How much a disk's overlay may take; it counts at once, also for a client that runs.
import { useState, type FormEvent } from "react";

import { call } from "../api/client";
import { useChange, type Link } from "../api/queries";
import { bytes, bytesOfGib } from "../format";
import { Dialog } from "./Dialog";
import { ProblemBox } from "./ProblemBox";

export function QuotaDialog({ link, lun, onClose }: { link: Link; lun: number; onClose: () => void }) {
    const disk = link.disks.find((each) => each.lun === lun);
    const [gib, setGib] = useState(disk?.quota_bytes ? String(disk.quota_bytes / 1024 ** 3) : "");
    const change = useChange(
        async (quota_bytes: number | null) => {
            await call("PATCH", `/links/${link.id}`, { quota_bytes, lun });
            onClose();
        },
        ["links"],
    );
    const quota = bytesOfGib(gib);
    const submit = (event: FormEvent) => {
        event.preventDefault();
        if (quota !== undefined) change.mutate(quota);
    };
    return (
        <Dialog title={`What ${link.client ?? "the lease"} may write, LUN ${lun}`} onClose={onClose}>
            <form onSubmit={submit}>
                <ProblemBox error={change.error} />
                <p className="quiet">{bytes(disk?.overlay?.used_bytes)} are written now. A client that is out of space goes on when this is raised.</p>
                <label>
                    Quota in GiB; empty: as much as the disk is large
                    <input inputMode="decimal" value={gib} onChange={(event) => setGib(event.target.value)} autoFocus />
                </label>
                {quota === undefined && <p className="bad-text">Write a number of GiB, for example 20 or 0.5</p>}
                <button type="submit" disabled={quota === undefined || change.isPending}>Save</button>{" "}
                <button type="button" className="plain" onClick={onClose}>Cancel</button>
            </form>
        </Dialog>
    );
}
