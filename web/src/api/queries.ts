// What the pages read and change, each under one query key so that an event can refresh it.
import { useMutation, useQuery, useQueryClient, type QueryClient } from "@tanstack/react-query";
import { call, type Schemas } from "./client";
import type { Event } from "./events";

export type Client = Schemas["Client"];
export type Image = Schemas["Image"];
export type Link = Schemas["Link"];
export type Task = Schemas["Task"];
export type Boot = Schemas["Boot"];
export type Registry = Schemas["Registry"];
export type TrashEntry = Schemas["TrashEntry"];

interface Page<T> { items: T[]; next_cursor: string | null }

async function all<T>(path: string): Promise<T[]> {
    const items: T[] = [];
    let cursor: string | null = null;
    do {
        const query = new URLSearchParams({ limit: "1000", ...(cursor ? { cursor } : {}) });
        const page: Page<T> = await call<Page<T>>("GET", `${path}?${query}`);
        items.push(...page.items);
        cursor = page.next_cursor;
    } while (cursor);
    return items;
}

export const useWhoami = () =>
    useQuery({ queryKey: ["whoami"], queryFn: () => call<Schemas["Whoami"]>("GET", "/whoami"), retry: false });
export const useClients = () => useQuery({ queryKey: ["clients"], queryFn: () => all<Client>("/clients") });
export const useImages = () => useQuery({ queryKey: ["images"], queryFn: () => all<Image>("/images") });
export const useLinks = () => useQuery({ queryKey: ["links"], queryFn: () => all<Link>("/links") });
export const useTrash = () => useQuery({ queryKey: ["trash"], queryFn: () => all<TrashEntry>("/trash") });
export const useRegistry = () =>
    useQuery({ queryKey: ["registry"], queryFn: () => call<Registry>("GET", "/registry"), refetchInterval: 30_000, retry: false });
export const useStatus = () =>
    useQuery({ queryKey: ["status"], queryFn: () => call<Schemas["Status"]>("GET", "/status"), refetchInterval: 15_000 });

export const useTask = (id: string | null) =>
    useQuery({
        queryKey: ["tasks", id],
        queryFn: () => call<Task>("GET", `/tasks/${id}`),
        enabled: id !== null,
        refetchInterval: (query) => (isRunning(query.state.data) ? 500 : false),
    });

export const isRunning = (task: Task | undefined) =>
    task === undefined || task.state === "queued" || task.state === "running";

// A change by the admin: runs, then re-reads the lists it touches.
export function useChange<Input>(change: (input: Input) => Promise<unknown>, touches: string[]) {
    const cache = useQueryClient();
    return useMutation({
        mutationFn: change,
        onSettled: () => Promise.all(touches.map((key) => cache.invalidateQueries({ queryKey: [key] }))),
    });
}

// Which lists an event makes stale.
export function refreshFor(event: Event, cache: QueryClient) {
    if (event.boot_id || event.client) void cache.invalidateQueries({ queryKey: ["clients"] });
    if (event.link_id) void cache.invalidateQueries({ queryKey: ["links"] });
    if (event.kind === "link_removed" || event.kind === "link_restored") void cache.invalidateQueries({ queryKey: ["trash"] });
    if (event.kind.startsWith("import") || event.kind.startsWith("commit"))
        void cache.invalidateQueries({ queryKey: ["images"] });
}
