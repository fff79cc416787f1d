// The reader locks itself in, once its libraries are loaded and before it sees a byte of a disk:
// what is left are its socket, memory and its end. One thread.
#pragma once

namespace goldlink::usage {

// Drops what the sandbox still left (Sandbox: nobody, Landlock, no network, limits): capabilities,
// and all system calls but those of reading, writing and memory. No file can be opened after it.
// False when that could not be done.
bool confine();

}  // namespace goldlink::usage
