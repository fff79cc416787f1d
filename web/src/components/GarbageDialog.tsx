// Gives back the space of what nobody wants: first what would go is shown, then it goes.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { call, type Schemas } from "../api/client";
import { isRunning, useTask, type Task } from "../api/queries";
import { bytes } from "../format";
import { Dialog } from "./Dialog";
import { ProblemBox } from "./ProblemBox";
import { ProgressBar } from "./ProgressBar";

type Garbage = Schemas["Garbage"];

const collect = <T,>(dry_run: boolean, keep: number | null) =>
    call<T>("POST", "/gc", { dry_run, ...(keep === null ? {} : { keep_versions: keep }) });

export function GarbageDialog({ onClose }: { onClose: () => void }) {
    const cache = useQueryClient();
    const [keep, setKeep] = useState<number | null>(null);
    const [taskId, setTaskId] = useState<string | null>(null);
    const [error, setError] = useState<Error | null>(null);
    const would = useQuery({
        queryKey: ["garbage", keep],
        queryFn: () => collect<Garbage>(true, keep),
        enabled: taskId === null,
        gcTime: 0,
    });
    const task = useTask(taskId).data;
    const busy = taskId !== null && isRunning(task);

    useEffect(() => {
        if (task && !isRunning(task)) void cache.invalidateQueries({ queryKey: ["images"] });
    }, [task, cache]);

    const start = async () => {
        setError(null);
        try {
            setTaskId((await collect<Task>(false, keep)).id);
        } catch (problem) {
            setError(problem as Error);
        }
    };
    const shown = task?.state === "done" ? (task.result as unknown as Garbage) : would.data;

    return (
        <Dialog title="Give space back" onClose={onClose}>
            <label>
                Old versions of images
                <select value={keep ?? ""} disabled={taskId !== null}
                    onChange={(event) => setKeep(event.target.value === "" ? null : Number(event.target.value))}>
                    <option value="">keep all</option>
                    {[1, 2, 3, 5, 10].map((count) => (
                        <option key={count} value={count}>{`keep those in use and the newest ${count} of each image`}</option>
                    ))}
                </select>
            </label>
            {would.isFetching && taskId === null && <p className="quiet">Looking…</p>}
            {shown && <GarbageTable garbage={shown} />}
            {task && isRunning(task) && <ProgressBar label="Giving back" doneBytes={task.done_bytes} totalBytes={task.total_bytes} />}
            {(task?.state === "failed" || task?.state === "cancelled") && (
                <div className="problem" role="alert">
                    <strong>Not all of it went</strong>
                    <p>{task.error ?? "It was cancelled: what went by then is gone."}</p>
                </div>
            )}
            <ProblemBox error={error ?? would.error} />
            <div className="actions">
                <button type="button" className="plain" onClick={onClose}>{taskId === null ? "Cancel" : "Close"}</button>
                {taskId === null && (
                    <button type="button" disabled={busy || would.isFetching || !would.data || would.data.items.length === 0}
                        onClick={() => void start()}>Give back</button>
                )}
            </div>
        </Dialog>
    );
}

function GarbageTable({ garbage }: { garbage: Garbage }) {
    if (garbage.items.length === 0)
        return <p role="status">{garbage.dry_run ? "Nothing would go: all that is stored is wanted." : "Nothing went."}</p>;
    return (
        <>
            <table>
                <thead><tr><th>What</th><th>Space</th><th>Why</th></tr></thead>
                <tbody>
                    {garbage.items.map((item, index) => (
                        <tr key={index}>
                            <td>{item.kind.replace("_", " ")} {item.name}</td>
                            <td>{bytes(item.bytes)}</td>
                            <td className="quiet">{item.reason}</td>
                        </tr>
                    ))}
                </tbody>
            </table>
            <p role="status">{bytes(garbage.bytes)} {garbage.dry_run ? "would come back." : "came back."}</p>
        </>
    );
}
