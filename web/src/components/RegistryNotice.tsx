// Says when the target does not follow this database, and lets an admin see and do the adoption.
import { useState } from "react";

import { call } from "../api/client";
import { useChange, useRegistry, type Registry } from "../api/queries";
import { bytes } from "../format";
import { Dialog } from "./Dialog";
import { ProblemBox } from "./ProblemBox";

export function RegistryNotice({ isAdmin }: { isAdmin: boolean }) {
    const registry = useRegistry().data;
    const [open, setOpen] = useState(false);
    if (!registry || (!registry.problem && registry.unknown_links.length === 0)) return null;
    const count = registry.unknown_links.length;
    return (
        <div className="problem" role="alert">
            <strong>{registry.problem ? "The target follows another registry" : "The target has links that this registry does not know"}</strong>
            <p>{registry.problem ?? `${count} ${count === 1 ? "link is" : "links are"} served though nobody here made or deleted them. They stay until you say otherwise.`}</p>
            <button className="plain" onClick={() => setOpen(true)}>See what adopting this one would do</button>
            {open && <AdoptDialog registry={registry} isAdmin={isAdmin} onClose={() => setOpen(false)} />}
        </div>
    );
}

function AdoptDialog({ registry, isAdmin, onClose }: { registry: Registry; isAdmin: boolean; onClose: () => void }) {
    const links = registry.unknown_links;
    const adopt = useChange(
        () => call("POST", "/registry/adopt", { confirm_removals: links.length }),
        ["registry", "links", "status"],
    );
    return (
        <Dialog title="Adopt this registry" onClose={onClose}>
            {links.length === 0 ? (
                <p>The target has no links beyond those of this registry: nothing would be removed.</p>
            ) : (
                <>
                    <p>These would be removed at the target. Disks that keep their changes go to the trash.</p>
                    <table>
                        <thead><tr><th>Link</th><th>Policy</th><th>In use</th><th>Written</th></tr></thead>
                        <tbody>
                            {links.map((link) => (
                                <tr key={link.id}>
                                    <td>{link.alias ?? link.id}</td>
                                    <td>{link.policy}</td>
                                    <td>{link.in_use ? <span className="bad-text">yes</span> : "no"}</td>
                                    <td>{bytes(link.used_bytes ?? 0)}</td>
                                </tr>
                            ))}
                        </tbody>
                    </table>
                </>
            )}
            {!isAdmin && <p className="quiet">Only an admin may adopt it.</p>}
            <ProblemBox error={adopt.error} />
            <div className="actions">
                <button type="button" className="plain" onClick={onClose}>Cancel</button>
                <button type="button" disabled={!isAdmin || adopt.isPending}
                    onClick={() => adopt.mutate(undefined, { onSuccess: onClose })}>
                    {links.length === 0 ? "Adopt" : `Adopt, and remove ${links.length}`}
                </button>
            </div>
        </Dialog>
    );
}
