// Uploads a disk image: bytes sent first, then the server's import task, both with progress.
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState, type FormEvent } from "react";
import { upload } from "../api/client";
import { isRunning, useTask } from "../api/queries";
import { Dialog } from "./Dialog";
import { ProblemBox } from "./ProblemBox";
import { ProgressBar } from "./ProgressBar";

export function UploadDialog({ onClose }: { onClose: () => void }) {
    const cache = useQueryClient();
    const [file, setFile] = useState<File | null>(null);
    const [name, setName] = useState("");
    const [note, setNote] = useState("");
    const [sentBytes, setSentBytes] = useState<number | null>(null);
    const [taskId, setTaskId] = useState<string | null>(null);
    const [error, setError] = useState<Error | null>(null);
    const cancel = useRef<(() => void) | null>(null);
    const task = useTask(taskId).data;
    const busy = (sentBytes !== null && taskId === null) || (taskId !== null && isRunning(task));

    useEffect(() => () => cancel.current?.(), []);
    useEffect(() => {
        if (task && !isRunning(task)) void cache.invalidateQueries({ queryKey: ["images"] });
    }, [task, cache]);

    const submit = async (event: FormEvent) => {
        event.preventDefault();
        if (!file) return;
        setError(null);
        setTaskId(null);
        setSentBytes(0);
        const running = upload(name, file, note, setSentBytes);
        cancel.current = running.cancel;
        try {
            setTaskId((await running.done).id);
        } catch (problem) {
            setError(problem as Error);
            setSentBytes(null);
        } finally {
            cancel.current = null;
        }
    };
    const choose = (chosen: File | null) => {
        setFile(chosen);
        if (chosen && name === "") setName(chosen.name.replace(/\.(gz|bz2|zst|xz|zip)$/i, "").replace(/\.[^.]*$/, "").replace(/[^A-Za-z0-9._-]/g, "-").slice(0, 63));
    };

    return (
        <Dialog title="Upload an image" onClose={onClose}>
            <form onSubmit={(event) => void submit(event)}>
                <label>
                    Disk image (raw, VHD, VHDX, VMDK, qcow2; also .gz, .bz2, .zst, .xz, .zip, .ova) or disc (.iso)
                    <input type="file" required disabled={busy} onChange={(event) => choose(event.target.files?.[0] ?? null)} />
                </label>
                <label>
                    Image name
                    <input value={name} required maxLength={63} pattern="[A-Za-z0-9][A-Za-z0-9._\-]*" disabled={busy}
                        onChange={(event) => setName(event.target.value)} />
                </label>
                <label>
                    Note
                    <input value={note} maxLength={500} placeholder="what changed" disabled={busy}
                        onChange={(event) => setNote(event.target.value)} />
                </label>
                {file && sentBytes !== null && taskId === null && (
                    <ProgressBar label="Uploading" doneBytes={sentBytes} totalBytes={file.size} />
                )}
                {task && isRunning(task) && (
                    <ProgressBar label="Importing" doneBytes={task.done_bytes} totalBytes={task.total_bytes} />
                )}
                {task?.state === "done" && <p className="good-text" role="status">{task.subject} is ready.</p>}
                {(task?.state === "failed" || task?.state === "cancelled") && (
                    <div className="problem" role="alert">
                        <strong>The import {task.state === "failed" ? "failed" : "was cancelled"}</strong>
                        <p>{task.error ?? "Nothing of it is kept."}</p>
                    </div>
                )}
                <ProblemBox error={error} />
                <div className="actions">
                    <button type="button" className="plain" onClick={onClose}>{task?.state === "done" ? "Close" : "Cancel"}</button>
                    {task?.state !== "done" && <button type="submit" disabled={busy || !file}>Upload</button>}
                </div>
            </form>
        </Dialog>
    );
}
