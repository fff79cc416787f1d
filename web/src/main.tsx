import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./App";
import "./styles.css";

const cache = new QueryClient({ defaultOptions: { queries: { retry: 1, staleTime: 2_000 } } });

createRoot(document.getElementById("root")!).render(
    <StrictMode>
        <QueryClientProvider client={cache}>
            <App />
        </QueryClientProvider>
    </StrictMode>,
);
