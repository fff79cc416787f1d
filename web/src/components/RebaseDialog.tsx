// What it would mean for a disk that keeps its changes to go on over a newer version, and doing it.
import { useState } from "react";
import { useQuery } from "@tanstack/react-query";

import { call, type Schemas } from "../api/client";
import { isRunning, useChange, useTask, type Link, type Task } from "../api/queries";
import { bytes } from "../format";
import { Dialog } from "./Dialog";
import { ProblemBox } from "./ProblemBox";

type Report = Schemas["RebaseReport"];
type Take = Report["choices"][number]["take"];

const kButton: Record<Take, string> = { fresh: "Start fresh", written: "Keep what was written" };

function Overlap({ report }: { report: Report }) {
    const { mine_bytes, theirs_bytes, both_bytes, range_count, exact, partitions } = report.overlap;
    const names = partitions.map((each) => (each.number === null ? "what is outside of partitions" : `partition ${each.number}`));
    return (
        <dl>
            <dt>Written by {report.client ?? "the lease"}</dt><dd>{bytes(mine_bytes)}</dd>
            <dt>Changed by {report.image}@{report.to}</dt><dd>{bytes(theirs_bytes)}</dd>
            <dt>Changed by both</dt>
            {names.length > 0 && <dd>{names.join(", ")}</dd>}
            <dd>{both_bytes === 0 ? "no block" : `${exact ? "" : "at most "}${bytes(both_bytes)} in ${range_count} places`}</dd>
        </dl>
    );
}

export function RebaseDialog({ link, lun, onClose }: { link: Link; lun: number; onClose: () => void }) {
    const path = `/links/${link.id}/rebase`;
    const report = useQuery({ queryKey: ["rebase", link.id, lun], queryFn: () => call<Report>("GET", `${path}?lun=${lun}`), gcTime: 0 });
    const [taskId, setTaskId] = useState<string | null>(null);
    const task = useTask(taskId);
    const rebase = useChange(
        async (take: Take) => setTaskId((await call<Task>("POST", path, { lun, take })).id),
        ["links"],
    );
    const ended = taskId !== null && !isRunning(task.data);
    return (
        <Dialog title={`A newer version for ${link.client ?? "the lease"}, LUN ${lun}`} onClose={onClose}>
            <ProblemBox error={report.error ?? rebase.error ?? task.error} />
            {report.isPending && <p className="quiet">Comparing…</p>}
            {report.data && taskId === null && (
                <>
                    <p>{report.data.image}@{report.data.from} → {report.data.image}@{report.data.to} {report.data.to_note}</p>
                    <Overlap report={report.data} />
                    {report.data.choices.map((choice) => (
                        <div key={choice.take}>
                            <p>{choice.means}</p>
                            {choice.why_not && <p className="bad-text">{choice.why_not}</p>}
                            <button className="plain" disabled={!choice.possible || rebase.isPending} onClick={() => rebase.mutate(choice.take)}>
                                {kButton[choice.take]}
                            </button>
                        </div>
                    ))}
                </>
            )}
            {taskId !== null && <p className={task.data?.state === "failed" ? "bad-text" : undefined}>{task.data?.error ?? task.data?.message ?? "…"}</p>}
            <button className="plain" onClick={onClose}>{ended ? "Done" : "Close"}</button>
        </Dialog>
    );
}
