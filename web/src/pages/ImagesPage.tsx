// Images with their versions; a channel is moved (promote, roll back) where it stands.
import { useState } from "react";
import { call } from "../api/client";
import { useChange, useImages, type Image } from "../api/queries";
import { GarbageDialog } from "../components/GarbageDialog";
import { ProblemBox } from "../components/ProblemBox";
import { UploadDialog } from "../components/UploadDialog";
import { ago, bytes, readsOf } from "../format";

interface Pin { image: string; channel: string; pinned: boolean }
interface Move { image: string; channel: string; version: number }

export function ImagesPage() {
    const images = useImages();
    const [uploading, setUploading] = useState(false);
    const [collecting, setCollecting] = useState(false);
    const move = useChange(
        ({ image, channel, version }: Move) =>
            call("PUT", `/images/${encodeURIComponent(image)}/channels/${encodeURIComponent(channel)}`, { version }),
        ["images", "links"],
    );
    const pin = useChange(
        ({ image, channel, pinned }: Pin) =>
            call(pinned ? "PUT" : "DELETE", `/images/${encodeURIComponent(image)}/channels/${encodeURIComponent(channel)}/pin`),
        ["images"],
    );
    return (
        <section>
            <div className="title-row">
                <h1>Images</h1>
                <span>
                    <button className="plain" onClick={() => setCollecting(true)}>Give space back</button>{" "}
                    <button onClick={() => setUploading(true)}>Upload an image</button>
                </span>
            </div>
            <ProblemBox error={images.error ?? move.error ?? pin.error} />
            {images.data?.length === 0 && <p className="card quiet">No images yet. Upload the disk of a PC that is set up as you like it.</p>}
            {images.data?.map((image) => (
                <ImageCard
                    key={image.name}
                    image={image}
                    onMove={(channel, version) => move.mutate({ image: image.name, channel, version })}
                    onPin={(channel, pinned) => pin.mutate({ image: image.name, channel, pinned })}
                />
            ))}
            {uploading && <UploadDialog onClose={() => setUploading(false)} />}
            {collecting && <GarbageDialog onClose={() => setCollecting(false)} />}
        </section>
    );
}

interface CardProps {
    image: Image;
    onMove: (channel: string, version: number) => void;
    onPin: (channel: string, pinned: boolean) => void;
}

function ImageCard({ image, onMove, onPin }: CardProps) {
    const pinned = image.pinned_channels.includes("production");
    const channelsOf = (number: number) => Object.keys(image.channels).filter((channel) => image.channels[channel] === number);
    return (
        <article className="card" aria-label={image.name}>
            <div className="title-row">
                <h2>{image.name} {image.kind === "iso" && <span className="badge">disc</span>}</h2>
                <span className="quiet">{bytes(image.size_bytes)}{image.note ? ` · ${image.note}` : ""}</span>
            </div>
            <table>
                <thead><tr><th>Version</th><th>Channels</th><th>Stored</th><th>Note</th><th>Made</th><th aria-label="actions" /></tr></thead>
                <tbody>
                    {image.versions.map((version) => (
                        <tr key={version.number}>
                            <td>{image.name}@{version.number}</td>
                            <td>
                                {channelsOf(version.number).map((channel) => <span key={channel} className="badge good">{channel}</span>)}
                                {version.state !== "ready" && <span className={`badge ${version.state === "failed" ? "bad" : "warn"}`}>{version.state}</span>}
                            </td>
                            <td>{bytes(version.stored_bytes)}</td>
                            <td>
                                {version.error ?? version.note}
                                {readsOf(version) && <div className="quiet">{readsOf(version)}</div>}
                                {version.damage && <div className="bad-text">Damaged: {version.damage}</div>}
                            </td>
                            <td className="quiet">{ago(version.created_at)}</td>
                            <td>
                                {version.state === "ready" && image.channels["production"] !== version.number && (
                                    <button className="plain" onClick={() => onMove("production", version.number)}>To production</button>
                                )}
                                {image.channels["production"] === version.number && (
                                    <button className="plain" onClick={() => onPin("production", !pinned)}>{pinned ? "Unpin" : "Pin in memory"}</button>
                                )}
                            </td>
                        </tr>
                    ))}
                </tbody>
            </table>
        </article>
    );
}
