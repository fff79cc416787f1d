// A modal form on the browser's own <dialog>: Escape closes it, focus stays inside.
import { useEffect, useRef, type ReactNode } from "react";

interface Props { title: string; onClose: () => void; children: ReactNode }

export function Dialog({ title, onClose, children }: Props) {
    const dialog = useRef<HTMLDialogElement>(null);
    useEffect(() => {
        dialog.current?.showModal();
    }, []);
    return (
        <dialog ref={dialog} onClose={onClose} aria-label={title}>
            <h2>{title}</h2>
            {children}
        </dialog>
    );
}
