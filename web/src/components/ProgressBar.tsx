import { bytes, percent } from "../format";

interface Props { label: string; doneBytes: number; totalBytes: number }

export function ProgressBar({ label, doneBytes, totalBytes }: Props) {
    const share = percent(doneBytes, totalBytes);
    return (
        <div className="progress">
            <div className="progress-text">
                <span>{label}</span>
                <span>{bytes(doneBytes)} of {bytes(totalBytes)} · {share} %</span>
            </div>
            <progress max={100} value={share} aria-label={label} />
        </div>
    );
}
