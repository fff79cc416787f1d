// Says what does not work, and the way out of each, as GET /status has it.
import { useStatus } from "../api/queries";

// RegistryNotice has that one, with what can be done about it.
const kToldElsewhere = "registry";

export function HealthNotice() {
    const problems = (useStatus().data?.problems ?? []).filter((one) => one.source !== kToldElsewhere);
    if (problems.length === 0) return null;
    return (
        <div className="problem" role="alert">
            <strong>{problems.length === 1 ? "Something needs you" : `${problems.length} things need you`}</strong>
            <ul>
                {problems.map((one) => (
                    <li key={`${one.source} ${one.problem}`}>
                        {one.source}: {one.problem}
                        {one.to_do && <div className="quiet">To do: {one.to_do}</div>}
                    </li>
                ))}
            </ul>
        </div>
    );
}
