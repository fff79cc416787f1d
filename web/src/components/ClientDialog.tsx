// Adds a PC, and with an image chosen binds it at once.
import { useState, type FormEvent } from "react";
import { call } from "../api/client";
import { useChange, useImages } from "../api/queries";
import { Dialog } from "./Dialog";
import { ProblemBox } from "./ProblemBox";

interface NewClient { name: string; mac: string; image: string; policy: string }

async function add({ name, mac, image, policy }: NewClient) {
    await call("POST", "/clients", { name, macs: [mac] });
    if (image !== "") await call("POST", "/links", { client: name, image, policy });
}

export function ClientDialog({ onClose }: { onClose: () => void }) {
    const images = useImages();
    const [client, setClient] = useState<NewClient>({ name: "", mac: "", image: "", policy: "discard" });
    const set = (change: Partial<NewClient>) => setClient({ ...client, ...change });
    const change = useChange(add, ["clients", "links"]);
    const submit = (event: FormEvent) => {
        event.preventDefault();
        change.mutate(client, { onSuccess: onClose });
    };
    return (
        <Dialog title="Add a client" onClose={onClose}>
            <form onSubmit={submit}>
                <label>
                    Name
                    <input value={client.name} required maxLength={63} pattern="[A-Za-z0-9][A-Za-z0-9._\-]*" placeholder="PC-001"
                        onChange={(event) => set({ name: event.target.value })} />
                </label>
                <label>
                    MAC address
                    <input value={client.mac} required maxLength={32} placeholder="52:54:00:12:34:56"
                        onChange={(event) => set({ mac: event.target.value })} />
                </label>
                <label>
                    Image
                    <select value={client.image} onChange={(event) => set({ image: event.target.value })}>
                        <option value="">none yet: boots its local disk</option>
                        {images.data?.flatMap((image) =>
                            Object.keys(image.channels).map((channel) => (
                                <option key={`${image.name}:${channel}`}>{`${image.name}:${channel}`}</option>
                            )),
                        )}
                    </select>
                </label>
                <label>
                    After a reboot
                    <select value={client.policy} onChange={(event) => set({ policy: event.target.value })}>
                        <option value="discard">discard: fresh at every boot</option>
                        <option value="keep">keep: its changes stay</option>
                        <option value="super">super: its changes become the next version</option>
                    </select>
                </label>
                <ProblemBox error={change.error} />
                <div className="actions">
                    <button type="button" className="plain" onClick={onClose}>Cancel</button>
                    <button type="submit" disabled={change.isPending}>Add</button>
                </div>
            </form>
        </Dialog>
    );
}
