// A boot drawn as a bar: one segment a stage, as wide as the time it took.
import type { Boot } from "../api/queries";
import { ago, milliseconds } from "../format";

const kStageNames: Record<Boot["stages"][number]["stage"], string> = {
    dhcp: "DHCP", nbp: "boot program", ipxe: "iPXE", script: "script", login: "disk attached",
    os_login: "system attached", first_write: "first write", end: "ended",
};

const kStateClass: Record<Boot["state"], string> = { booting: "warn", running: "good", ended: "", failed: "bad" };

export function BootTimeline({ boot }: { boot: Boot | null }) {
    if (!boot) return <span className="quiet">never booted</span>;
    const stages = boot.stages.filter((stage) => stage.stage !== "end");
    const last = stages[stages.length - 1];
    return (
        <div className="boot">
            <span className={`badge ${kStateClass[boot.state]}`}>{boot.state}</span>
            <ol className="timeline" aria-label="boot stages">
                {stages.map((stage, index) => {
                    const next = stages[index + 1];
                    const tookMs = next ? next.after_ms - stage.after_ms : 0;
                    return (
                        <li
                            key={stage.stage}
                            className={`stage stage-${stage.stage}`}
                            style={{ flexGrow: Math.max(tookMs, 400) }}
                            title={`${kStageNames[stage.stage]} at ${milliseconds(stage.after_ms)}${stage.detail ? `: ${stage.detail}` : ""}`}
                        >
                            {kStageNames[stage.stage]}
                        </li>
                    );
                })}
            </ol>
            <span className="quiet">
                {ago(boot.started_at)}
                {last ? ` · ${milliseconds(last.after_ms)}` : ""}
            </span>
            {boot.problem && <div className="bad-text">{boot.problem}</div>}
        </div>
    );
}
