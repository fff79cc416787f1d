// Kept disks of links that were removed: back to a client, or gone for good.
import { call } from "../api/client";
import { useChange, useTrash, type TrashEntry } from "../api/queries";
import { ago, bytes } from "../format";
import { Dialog } from "./Dialog";
import { ProblemBox } from "./ProblemBox";

function disksOf(entry: TrashEntry) {
    return entry.disks
        .filter((disk) => disk.kept)
        .map((disk) => (disk.image ? `${disk.image}@${disk.version}, ${disk.policy}` : `a version that is gone, ${disk.policy}`))
        .join("; ");
}

export function TrashDialog({ onClose }: { onClose: () => void }) {
    const trash = useTrash();
    const restore = useChange((id: string) => call("POST", `/trash/${id}/restore`, {}), ["trash", "links", "clients"]);
    const remove = useChange((id: string) => call("DELETE", `/trash/${id}`), ["trash"]);
    const removeEntry = (entry: TrashEntry) => {
        if (window.confirm(`Delete what ${entry.alias ?? "this link"} had written, for good?`)) remove.mutate(entry.id);
    };
    return (
        <Dialog title="Trash" onClose={onClose}>
            <ProblemBox error={trash.error ?? restore.error ?? remove.error} />
            {trash.data?.length === 0 && <p className="quiet">The trash is empty. Removed links that keep their changes leave their disk here for some days.</p>}
            {trash.data && trash.data.length > 0 && (
                <table>
                    <thead><tr><th>Of</th><th>Disks</th><th>Space</th><th>Removed</th><th aria-label="actions" /></tr></thead>
                    <tbody>
                        {trash.data.map((entry) => (
                            <tr key={entry.id}>
                                <td>{entry.alias ?? <code>{entry.link_id.slice(0, 8)}</code>}</td>
                                <td>{entry.problem ? <span className="bad-text">{entry.problem}</span> : disksOf(entry)}</td>
                                <td>{bytes(entry.bytes)}</td>
                                <td>{ago(new Date(entry.removed_at * 1000).toISOString())}</td>
                                <td>
                                    <button className="plain" aria-label={`Restore the disk of ${entry.alias ?? entry.link_id}`}
                                        disabled={!entry.restorable || restore.isPending} onClick={() => restore.mutate(entry.id)}>Restore</button>
                                    <button className="plain" aria-label={`Delete the disk of ${entry.alias ?? entry.link_id}`}
                                        onClick={() => removeEntry(entry)}>Delete</button>
                                </td>
                            </tr>
                        ))}
                    </tbody>
                </table>
            )}
            <div className="actions"><button type="button" className="plain" onClick={onClose}>Close</button></div>
        </Dialog>
    );
}
