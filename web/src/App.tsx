// The frame: signed out, the sign-in page; signed in, the header, the pages and the live events.
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useState, useSyncExternalStore } from "react";
import { session } from "./api/client";
import { followEvents } from "./api/events";
import { refreshFor, useStatus, useWhoami } from "./api/queries";
import { HealthNotice } from "./components/HealthNotice";
import { ProblemBox } from "./components/ProblemBox";
import { RegistryNotice } from "./components/RegistryNotice";
import { ImagesPage } from "./pages/ImagesPage";
import { LinksPage } from "./pages/LinksPage";
import { RoomPage } from "./pages/RoomPage";
import { SignInPage } from "./pages/SignInPage";

const kPages = {
    room: { title: "Room", page: RoomPage },
    images: { title: "Images", page: ImagesPage },
    links: { title: "Links", page: LinksPage },
} as const;
type PageName = keyof typeof kPages;

function pageOfHash(): PageName {
    const name = window.location.hash.replace(/^#\/?/, "");
    return name in kPages ? (name as PageName) : "room";
}

const onHashChange = (notify: () => void) => {
    window.addEventListener("hashchange", notify);
    return () => window.removeEventListener("hashchange", notify);
};

export function App() {
    const cache = useQueryClient();
    const [signedIn, setSignedIn] = useState(session.token() !== null);
    const signOut = () => {
        session.end();
        cache.clear();
        setSignedIn(false);
    };
    return signedIn ? <Console onSignOut={signOut} /> : <SignInPage onSignedIn={() => setSignedIn(true)} />;
}

function Console({ onSignOut }: { onSignOut: () => void }) {
    const cache = useQueryClient();
    const name = useSyncExternalStore(onHashChange, pageOfHash);
    const whoami = useWhoami();
    const status = useStatus();
    const [live, setLive] = useState(false);
    useEffect(
        () =>
            followEvents(
                (event) => refreshFor(event, cache),
                (connected) => {
                    setLive(connected);
                    if (connected) void cache.invalidateQueries();
                },
            ),
        [cache],
    );
    const Page = kPages[name].page;
    return (
        <>
            <header>
                <strong className="brand">Goldlink</strong>
                <nav aria-label="Pages">
                    {(Object.keys(kPages) as PageName[]).map((key) => (
                        <a key={key} href={`#/${key}`} aria-current={key === name ? "page" : undefined}>
                            {kPages[key].title}
                        </a>
                    ))}
                </nav>
                <span className="grow" />
                <span className={live ? "badge good" : "badge warn"} role="status">
                    {live ? "live" : "reconnecting"}
                </span>
                {whoami.data && <span className="quiet">{whoami.data.name} · {whoami.data.role}</span>}
                <button className="plain" onClick={onSignOut}>Sign out</button>
            </header>
            <main>
                <ProblemBox error={whoami.error ?? status.error} />
                <HealthNotice />
                <RegistryNotice isAdmin={whoami.data?.role === "admin"} />
                <Page />
            </main>
            <footer className="quiet">
                {status.data && (
                    <>
                        Portal {status.data.portal ?? "not up"} · {status.data.sessions} sessions · version {status.data.version}
                    </>
                )}
            </footer>
        </>
    );
}
