// Links: what each client or lease boots, how full its overlay is, and the reset.
import { useState, type ReactNode } from "react";

import { call } from "../api/client";
import { useChange, useLinks, type Link } from "../api/queries";
import { OverlayCell } from "../components/OverlayCell";
import { ProblemBox } from "../components/ProblemBox";
import { QuotaDialog } from "../components/QuotaDialog";
import { RebaseDialog } from "../components/RebaseDialog";
import { TrashDialog } from "../components/TrashDialog";
import { UsageDialog } from "../components/UsageDialog";

const kStateClass: Record<Link["state"], string> = { ready: "good", pending: "warn", failed: "bad" };

// One line a disk, so that the columns of a link of several disks stand beside each other.
function eachDisk(link: Link, show: (disk: Link["disks"][number]) => ReactNode) {
    return link.disks.map((disk) => <div key={disk.lun}>{show(disk)}</div>);
}

function kindOf(disk: Link["disks"][number]) {
    if (disk.type === "cdrom") return "CD-ROM";
    return disk.logical_block_bytes === 4096 ? `${disk.policy}, 4Kn` : disk.policy;
}

// A client can start a disc of its link with LUN 0 attached, to install onto it.
function canInstall(link: Link) {
    return link.client !== null && link.disks[0]?.type === "disk" && link.disks.some((disk) => disk.type === "cdrom");
}

// The version that a disk would be on if it did not keep what was written over its own.
function newerVersion(disk: Link["disks"][number]) {
    return disk.policy === "discard" || disk.channel_version === disk.version ? null : disk.channel_version;
}

export function LinksPage() {
    const links = useLinks();
    const [rebasing, setRebasing] = useState<{ link: Link; lun: number } | null>(null);
    const [limiting, setLimiting] = useState<{ link: Link; lun: number } | null>(null);
    const [looking, setLooking] = useState<{ link: Link; lun: number } | null>(null);
    const [trashOpen, setTrashOpen] = useState(false);
    const remove = useChange(
        ({ id, force }: { id: string; force: boolean }) => call("DELETE", `/links/${id}${force ? "?force=true" : ""}`),
        ["links", "clients", "trash"],
    );
    const reset = useChange(
        ({ id, force }: { id: string; force: boolean }) => call("POST", `/links/${id}/reset`, { force }),
        ["links"],
    );
    const start = useChange(
        ({ id, install }: { id: string; install: boolean }) => call("PATCH", `/links/${id}`, { install }),
        ["links"],
    );
    const resetLink = (link: Link) => {
        const running = link.sessions.length > 0;
        const who = link.client ?? "this lease";
        const question = running
            ? `${who} is running on this disk. Reset it all the same? It will lose its disk at once.`
            : `Throw away what ${who} has written?`;
        if (window.confirm(question)) reset.mutate({ id: link.id, force: running });
    };
    const removeLink = (link: Link) => {
        const running = link.sessions.length > 0;
        const who = link.client ?? "this lease";
        const kept = link.client !== null && link.disks.some((disk) => disk.type === "disk" && disk.policy !== "discard");
        const after = kept ? " What it wrote stays in the trash for some days." : " What it wrote is gone.";
        const question = running ? `${who} is running on this disk. Remove the link all the same? It will lose its disk at once.` : `Remove the link of ${who}?`;
        if (window.confirm(question + after)) remove.mutate({ id: link.id, force: running });
    };
    return (
        <section>
            <div className="title-row">
                <h1>Links</h1>
                <button className="plain" onClick={() => setTrashOpen(true)}>Trash</button>
            </div>
            <ProblemBox error={links.error ?? reset.error ?? start.error ?? remove.error} />
            {links.data?.length === 0 && <p className="card quiet">No links yet. A link binds a client to an image: add a client with an image.</p>}
            {links.data && links.data.length > 0 && (
                <table>
                    <thead>
                        <tr><th>For</th><th>Image</th><th>Policy</th><th>State</th><th>Overlay (write-back)</th><th>Sessions</th><th aria-label="actions" /></tr>
                    </thead>
                    <tbody>
                        {links.data.map((link) => (
                            <tr key={link.id}>
                                <td>
                                    <strong>{link.client ?? "lease"}</strong>
                                    {link.install && <div className="quiet">starts its CD-ROM, to install</div>}
                                </td>
                                <td>
                                    {eachDisk(link, (disk) => (
                                        <>
                                            {link.disks.length > 1 && <span className="quiet">LUN {disk.lun} </span>}
                                            {disk.image}@{disk.version}
                                            {disk.channel && <span className="quiet"> {disk.channel}</span>}
                                            {newerVersion(disk) !== null && (
                                                <button className="plain" onClick={() => setRebasing({ link, lun: disk.lun })}>
                                                    {disk.channel} is @{newerVersion(disk)}
                                                </button>
                                            )}
                                        </>
                                    ))}
                                </td>
                                <td>{eachDisk(link, kindOf)}</td>
                                <td>
                                    <span className={`badge ${kStateClass[link.state]}`}>{link.state}</span>
                                    {link.problem && <div className="bad-text">{link.problem}</div>}
                                    {link.disks.filter((disk) => disk.problem).map((disk) => (
                                        <div className="bad-text" key={disk.lun}>LUN {disk.lun}: {disk.problem}</div>
                                    ))}
                                </td>
                                <td>
                                    {eachDisk(link, (disk) => (
                                        <OverlayCell
                                            disk={disk}
                                            onLook={() => setLooking({ link, lun: disk.lun })}
                                            onQuota={() => setLimiting({ link, lun: disk.lun })}
                                        />
                                    ))}
                                </td>
                                <td>{link.sessions.map((each) => each.address).join(", ") || <span className="quiet">none</span>}</td>
                                <td>
                                    {canInstall(link) && (
                                        <button className="plain" onClick={() => start.mutate({ id: link.id, install: !link.install })}>
                                            {link.install ? "Installed" : "Install"}
                                        </button>
                                    )}
                                    <button className="plain" onClick={() => resetLink(link)}>Reset</button>
                                    <button className="plain" aria-label={`Remove the link of ${link.client ?? "a lease"}`}
                                        onClick={() => removeLink(link)}>Remove</button>
                                </td>
                            </tr>
                        ))}
                    </tbody>
                </table>
            )}
            {trashOpen && <TrashDialog onClose={() => setTrashOpen(false)} />}
            {limiting && <QuotaDialog link={limiting.link} lun={limiting.lun} onClose={() => setLimiting(null)} />}
            {looking && <UsageDialog link={looking.link} lun={looking.lun} onClose={() => setLooking(null)} />}
            {rebasing && <RebaseDialog link={rebasing.link} lun={rebasing.lun} onClose={() => setRebasing(null)} />}
        </section>
    );
}
