// The room: every client with its image and its last boot, stage by stage as it happens.
import { useState } from "react";
import { call } from "../api/client";
import { useChange, useClients, type Client } from "../api/queries";
import { BootTimeline } from "../components/BootTimeline";
import { ClientDialog } from "../components/ClientDialog";
import { ProblemBox } from "../components/ProblemBox";

export function RoomPage() {
    const clients = useClients();
    const [adding, setAdding] = useState(false);
    const approve = useChange((name: string) => call("POST", `/clients/${encodeURIComponent(name)}/approve`), ["clients"]);
    const wake = useChange((name: string) => call("POST", `/clients/${encodeURIComponent(name)}/wake`), []);
    const pending = clients.data?.filter((client) => client.state === "pending") ?? [];
    const approved = clients.data?.filter((client) => client.state === "approved") ?? [];
    return (
        <section>
            <div className="title-row">
                <h1>Room</h1>
                <button onClick={() => setAdding(true)}>Add a client</button>
            </div>
            <ProblemBox error={clients.error ?? approve.error ?? wake.error} />
            {pending.length > 0 && (
                <div className="card notice">
                    <h2>New machines</h2>
                    <p className="quiet">They asked to boot and are not in the room yet.</p>
                    <ul className="rows">
                        {pending.map((client) => (
                            <li key={client.id}>
                                <strong>{client.name}</strong> <code>{client.macs.join(", ")}</code>
                                <span className="grow" />
                                <button onClick={() => approve.mutate(client.name)}>Approve</button>
                            </li>
                        ))}
                    </ul>
                </div>
            )}
            {clients.data && approved.length === 0 && (
                <p className="card quiet">No clients yet. Add one by its MAC address, or just start a PC by network: it will ask to join.</p>
            )}
            {approved.length > 0 && (
                <table className="room">
                    <thead>
                        <tr><th>Client</th><th>Boots</th><th>Last boot</th><th aria-label="actions" /></tr>
                    </thead>
                    <tbody>
                        {approved.map((client) => (
                            <ClientRow key={client.id} client={client} onWake={() => wake.mutate(client.name)} />
                        ))}
                    </tbody>
                </table>
            )}
            {adding && <ClientDialog onClose={() => setAdding(false)} />}
        </section>
    );
}

function ClientRow({ client, onWake }: { client: Client; onWake: () => void }) {
    return (
        <tr>
            <td>
                <strong>{client.name}</strong>
                <div className="quiet"><code>{client.macs.join(", ")}</code></div>
            </td>
            <td>
                {client.image ?? <span className="quiet">local disk</span>}
                {client.policy && <div className="quiet">{client.policy}</div>}
            </td>
            <td><BootTimeline boot={client.last_boot} /></td>
            <td><button className="plain" onClick={onWake}>Wake</button></td>
        </tr>
    );
}
