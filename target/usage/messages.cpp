#include "target/usage/messages.hpp"

#include <fmt/format.h>

#include <concepts>

#include "common/clean_text.hpp"
#include "target/store/partitions.hpp"

namespace goldlink::usage {
namespace {

constexpr std::uint64_t kMagic = 0x474c757361676531;  // "GLusage1"
constexpr std::size_t kRangeBytes = 16, kRunBytes = 8;
constexpr std::size_t kContentsHeadBytes = 4 + 1 + 1 + 4 * 8 + 4;
constexpr std::size_t kFileHeadBytes = 8 + 8 + 2;
static_assert(kContentsHeadBytes + kMaxFiles * (kFileHeadBytes + kMaxPathBytes) <= kMaxFrameBytes);

template <std::unsigned_integral T>
void put(std::string& out, T value) {
    for (std::size_t shift = sizeof value; shift-- > 0;)
        out.push_back(static_cast<char>(value >> shift * 8 & 0xff));
}

std::string frame(FrameKind kind, const std::string& payload) {
    std::string out;
    put(out, static_cast<std::uint32_t>(kind));
    put(out, static_cast<std::uint32_t>(payload.size()));
    return out + payload;
}

Failure impossible(std::string what) { return failure(ErrorKind::invalid, std::move(what)); }

struct OrderHead {
    Order order;
    std::uint32_t partitions = 0, runs = 0;
};

Result<OrderHead> parse_order_head(ByteReader& reader) {
    OrderHead head;
    const bool known = reader.be64() == kMagic;
    head.order.disk_bytes = reader.be64();
    head.order.sector_bytes = reader.be32();
    head.order.files = reader.be32();
    head.order.budget_ms = reader.be32();
    head.partitions = reader.be32();
    head.runs = reader.be32();
    if (!reader.ok() || !known || head.partitions > store::kMaxPartitions || head.runs > kMaxRuns ||
        head.order.files > kMaxFiles)
        return impossible("no order of this version");
    return head;
}

}  // namespace

std::string encode_order(const Order& order, const WrittenBlocks& written) {
    std::string out;
    out.reserve(kOrderHeadBytes + order.partitions.size() * kRangeBytes +
                written.runs().size() * kRunBytes);
    put(out, kMagic);
    put(out, order.disk_bytes);
    put(out, order.sector_bytes);
    put(out, order.files);
    put(out, order.budget_ms);
    put(out, static_cast<std::uint32_t>(order.partitions.size()));
    put(out, static_cast<std::uint32_t>(written.runs().size()));
    for (const Order::Range& range : order.partitions) {
        put(out, range.offset_bytes);
        put(out, range.length_bytes);
    }
    for (const BlockRun& run : written.runs()) {
        put(out, run.first);
        put(out, run.count);
    }
    return out;
}

Result<std::size_t> order_rest_bytes(Bytes head) {
    ByteReader reader(head);
    GOLDLINK_TRY_ASSIGN(const OrderHead parsed, parse_order_head(reader));
    return parsed.partitions * kRangeBytes + parsed.runs * kRunBytes;
}

Result<Order> parse_order(Bytes whole, WrittenBlocks& written) {
    ByteReader reader(whole);
    GOLDLINK_TRY_ASSIGN(OrderHead head, parse_order_head(reader));
    for (std::uint32_t i = 0; i < head.partitions; ++i) {
        const std::uint64_t offset = reader.be64(), length = reader.be64();
        head.order.partitions.push_back({offset, length});
    }
    std::uint64_t end = 0;
    for (std::uint32_t i = 0; i < head.runs; ++i) {
        const std::uint32_t first = reader.be32(), count = reader.be32();
        if (count == 0 || first < end) return impossible("written blocks out of order");
        written.add(first, count);
        end = std::uint64_t{first} + count;
    }
    if (!reader.ok() || !reader.empty()) return impossible("an order of another length");
    return std::move(head.order);
}

Result<FrameHead> parse_frame_head(Bytes head) {
    ByteReader reader(head);
    const std::uint32_t kind = reader.be32(), length = reader.be32();
    if (!reader.ok()) return impossible("a frame without its head");
    const auto is = [&](FrameKind wanted, std::size_t least, std::size_t most) {
        return kind == static_cast<std::uint32_t>(wanted) && length >= least && length <= most;
    };
    if (!is(FrameKind::chunk, 4, 4) && !is(FrameKind::end, 0, 0) &&
        !is(FrameKind::contents, kContentsHeadBytes, kMaxFrameBytes))
        return impossible(fmt::format("a frame of kind {} with {} bytes", kind, length));
    return FrameHead{static_cast<FrameKind>(kind), length};
}

std::string encode_chunk_request(std::uint32_t chunk) {
    std::string payload;
    put(payload, chunk);
    return frame(FrameKind::chunk, payload);
}

std::string encode_contents(std::uint32_t partition, const Contents& contents) {
    std::string payload;
    put(payload, partition);
    put(payload, static_cast<std::uint8_t>(contents.file_system));
    put(payload, static_cast<std::uint8_t>(contents.gap));
    put(payload, contents.file_bytes);
    put(payload, contents.metadata_bytes);
    put(payload, contents.free_bytes);
    put(payload, contents.file_count);
    put(payload, static_cast<std::uint32_t>(contents.files.size()));
    for (const FileUse& file : contents.files) {
        put(payload, file.written_bytes);
        put(payload, file.size_bytes);
        put(payload, static_cast<std::uint16_t>(file.path.size()));
        payload += file.path;
    }
    return frame(FrameKind::contents, payload);
}

std::string encode_end() { return frame(FrameKind::end, ""); }

Result<ReportedContents> parse_contents(Bytes payload, const Expected& expected) {
    ByteReader reader(payload);
    ReportedContents report;
    Contents& contents = report.contents;
    report.partition = reader.be32();
    const std::uint8_t file_system = reader.u8(), gap = reader.u8();
    contents.file_bytes = reader.be64();
    contents.metadata_bytes = reader.be64();
    contents.free_bytes = reader.be64();
    contents.file_count = reader.be64();
    const std::uint32_t files = reader.be32();
    if (!reader.ok() || report.partition >= expected.written_bytes.size() ||
        file_system > static_cast<std::uint8_t>(FileSystem::last) ||
        gap > static_cast<std::uint8_t>(Gap::last))
        return impossible("a partition or a file system that there is not");
    contents.file_system = static_cast<FileSystem>(file_system);
    contents.gap = static_cast<Gap>(gap);
    std::uint64_t left = expected.written_bytes[report.partition];
    for (const std::uint64_t part :
         {contents.file_bytes, contents.metadata_bytes, contents.free_bytes}) {
        if (part > left) return impossible("more bytes than were written");
        left -= part;
    }
    if (files > expected.files || files > contents.file_count ||
        contents.file_count > contents.file_bytes)
        return impossible("a number of files that cannot be");
    std::uint64_t left_of_files = contents.file_bytes, before = contents.file_bytes;
    for (std::uint32_t i = 0; i < files; ++i) {
        FileUse file;
        file.written_bytes = reader.be64();
        file.size_bytes = reader.be64();
        const std::uint16_t length = reader.be16();
        const Bytes path = reader.bytes(length);
        if (!reader.ok() || length > kMaxPathBytes) return impossible("a file cut short");
        if (file.written_bytes == 0 || file.written_bytes > left_of_files ||
            file.written_bytes > before || file.size_bytes > INT64_MAX)
            return impossible("a file larger than what was written, or out of order");
        left_of_files -= file.written_bytes;
        before = file.written_bytes;
        file.path = clean_text(as_text(path), kMaxPathBytes, Keep::end);
        contents.files.push_back(std::move(file));
    }
    if (!reader.ok() || !reader.empty()) return impossible("a report of another length");
    return report;
}

}  // namespace goldlink::usage
