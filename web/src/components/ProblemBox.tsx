// A refusal or failure in the server's own words: what, why, what to do.
import { ApiError } from "../api/client";

export function ProblemBox({ error }: { error: Error | null | undefined }) {
    if (!error) return null;
    const problem = error instanceof ApiError ? error.problem : null;
    return (
        <div className="problem" role="alert">
            <strong>{problem?.title ?? "Something went wrong"}</strong>
            <p>{error.message}</p>
            {problem?.blocked_by && problem.blocked_by.length > 0 && <p>In the way: {problem.blocked_by.join(", ")}</p>}
        </div>
    );
}
