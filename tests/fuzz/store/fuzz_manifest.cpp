// Manifest files, read under the digest that they have, so that only their form is in question.
#include <sys/mman.h>
#include <unistd.h>

#include "common/check.hpp"
#include "common/file.hpp"
#include "target/store/manifest_file.hpp"

using namespace goldlink;
using namespace goldlink::store;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const FileDescriptor file(::memfd_create("manifest", MFD_CLOEXEC));
    CHECK(::ftruncate(file.get(), 0) == 0, "no room for a file in memory");
    CHECK(::pwrite(file.get(), data, size, 0) == static_cast<ssize_t>(size), "a short write");
    Hasher hasher;
    hasher.start();
    hasher.add({data, size});
    const Digest digest = hasher.finish();
    const auto path = "/proc/self/fd/" + std::to_string(file.get());
    const auto manifest = read_manifest_file(posix_storage(), path, digest);
    if (!manifest) return 0;
    CHECK(manifest->digest() == digest, "read under a digest it does not have");
    CHECK(manifest->chunks.size() == chunk_count_of(manifest->size_bytes), "chunks that miss");
    return 0;
}
