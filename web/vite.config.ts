import react from "@vitejs/plugin-react";
import { defineConfig, loadEnv } from "vite";

// `npm run dev` serves the console with live reload against the manager at GOLDLINK_URL.
export default defineConfig(({ mode }) => ({
    plugins: [react()],
    build: { target: "es2022", sourcemap: false },
    server: { proxy: { "/api": loadEnv(mode, ".", "GOLDLINK_")["GOLDLINK_URL"] ?? "http://127.0.0.1:8080" } },
}));
