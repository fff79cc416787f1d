// goldlink-usage-reader: started by goldlink-target in the sandbox, with a socket as its standard
// input. Locks itself in, takes one order and reports on each partition of the disk, those with the
// most written bytes first: what it holds, and whose these bytes are.
#include <unistd.h>

#include <algorithm>
#include <numeric>

#include "target/usage/reader/confine.hpp"
#include "target/usage/reader/file_walk.hpp"

namespace goldlink::usage {
namespace {

constexpr int kSocket = STDIN_FILENO;

FileSystem look_at_start(Disk& disk, const Order::Range& partition) {
    std::vector<std::uint8_t> start(std::min<std::uint64_t>(kDetectBytes, partition.length_bytes));
    const ssize_t n = disk.read(partition.offset_bytes, start.data(), start.size());
    return n < 0 ? FileSystem::unknown
                 : detect(std::span(start).first(static_cast<std::size_t>(n)));
}

Contents look_at(Disk& disk, const WrittenBlocks& written, Claims& claims,
                 const Order::Range& partition, std::uint32_t files,
                 FileWalk::Clock::time_point until) {
    Contents contents;
    contents.file_system = look_at_start(disk, partition);
    if (!is_readable(contents.file_system)) return contents;
    contents.gap = Gap::time;
    if (FileWalk::Clock::now() >= until) return contents;
    return FileWalk(disk, written, claims, partition, files, until).run(contents.file_system);
}

bool read_order(Order& order, WrittenBlocks& written) {
    std::vector<std::uint8_t> bytes(kOrderHeadBytes);
    if (!read_all(kSocket, bytes)) return false;
    const auto rest = order_rest_bytes(bytes);
    if (!rest) return false;
    bytes.resize(kOrderHeadBytes + *rest);
    if (!read_all(kSocket, MutableBytes(bytes).subspan(kOrderHeadBytes))) return false;
    auto parsed = parse_order(bytes, written);
    if (!parsed) return false;
    order = std::move(*parsed);
    return true;
}

int run() {
    const auto started = FileWalk::Clock::now();
    Order order;
    WrittenBlocks written;
    if (!read_order(order, written)) return 2;
    const auto until = started + std::chrono::milliseconds(order.budget_ms);
    Disk disk(kSocket, order.disk_bytes, order.sector_bytes);
    Claims claims(written);
    std::vector<std::uint64_t> bytes;
    for (const Order::Range& range : order.partitions)
        bytes.push_back(written.bytes_in(range.offset_bytes, range.length_bytes));
    std::vector<std::uint32_t> numbers(order.partitions.size());
    std::iota(numbers.begin(), numbers.end(), 0u);
    std::stable_sort(numbers.begin(), numbers.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return bytes[a] > bytes[b]; });
    for (const std::uint32_t number : numbers) {
        const Contents contents =
            look_at(disk, written, claims, order.partitions[number], order.files, until);
        if (!write_all(kSocket, as_bytes(encode_contents(number, contents)))) return 1;
    }
    return write_all(kSocket, as_bytes(encode_end())) ? 0 : 1;
}

}  // namespace
}  // namespace goldlink::usage

int main() {
    if (!goldlink::usage::confine()) ::_exit(126);
    ::_exit(goldlink::usage::run());
}
