import { useState, type FormEvent } from "react";
import { call, session, type Schemas } from "../api/client";
import { ProblemBox } from "../components/ProblemBox";

export function SignInPage({ onSignedIn }: { onSignedIn: () => void }) {
    const [token, setToken] = useState("");
    const [error, setError] = useState<Error | null>(null);
    const [busy, setBusy] = useState(false);
    const submit = async (event: FormEvent) => {
        event.preventDefault();
        setBusy(true);
        setError(null);
        session.begin(token.trim());
        try {
            await call<Schemas["Whoami"]>("GET", "/whoami");
            onSignedIn();
        } catch (problem) {
            session.end();
            setError(problem as Error);
        } finally {
            setBusy(false);
        }
    };
    return (
        <main className="sign-in">
            <form className="card" onSubmit={(event) => void submit(event)}>
                <h1>Goldlink</h1>
                <label>
                    Access token
                    <input type="password" value={token} required autoFocus autoComplete="current-password"
                        onChange={(event) => setToken(event.target.value)} />
                </label>
                <p className="quiet">The first one is in the file <code>admin.token</code> of the server's state folder.</p>
                <ProblemBox error={error} />
                <button type="submit" disabled={busy}>Sign in</button>
            </form>
        </main>
    );
}
