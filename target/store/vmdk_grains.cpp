#include "target/store/vmdk_grains.hpp"

#include <algorithm>

#include "common/bytes.hpp"
#include "common/image_magic.hpp"
#include "common/manifest.hpp"

namespace goldlink::store {
namespace {

constexpr std::string_view kHostedMagic = "KDMV";
constexpr std::uint64_t kTablesAtEnd = ~std::uint64_t{0};  // as the directory's sector
constexpr std::uint32_t kCompressedFlag = 1U << 16;
constexpr std::uint32_t kZeroGrain = 1;  // a table's entry; 0: none was written
constexpr std::uint64_t kEntryBytes = 4;
constexpr std::size_t kEntriesAtOnce = 16384;
constexpr std::uint64_t kMinGrainSectors = 1, kMaxGrainSectors = 128 * 1024;
constexpr std::uint64_t kMaxTableEntries = 8192;

// Of a grain directory, in sectors.
struct Tables {
    std::uint64_t capacity = 0;
    std::uint64_t grain = 0;
    std::uint64_t directory = 0;
    std::uint64_t entries_per_table = 0;
};

Tables hosted(const std::uint8_t* header) {
    return {load_le64(header + 12), load_le64(header + 20), load_le64(header + 56),
            load_le32(header + 44)};
}

Tables esx(const std::uint8_t* header) {
    return {load_le32(header + 12), load_le32(header + 16), load_le32(header + 20), 4096};
}

class GrainCheck {
  public:
    GrainCheck(const ImageFile& file, const Tables& tables, bool compressed = false)
        : file_(file), tables_(tables), compressed_(compressed) {}

    Result<> run() {
        if (tables_.capacity > kMaxDiskBytes / kSectorBytes)
            return refuse(file_, "says that it holds more than a disk can have");
        if (tables_.grain < kMinGrainSectors || tables_.grain > kMaxGrainSectors ||
            tables_.entries_per_table == 0 || tables_.entries_per_table > kMaxTableEntries)
            return refuse(file_, "is a damaged VMDK: its header has grains of no possible size");
        const std::uint64_t grains =
            tables_.capacity / tables_.grain + (tables_.capacity % tables_.grain == 0 ? 0 : 1);
        const std::uint64_t count =
            grains / tables_.entries_per_table + (grains % tables_.entries_per_table == 0 ? 0 : 1);
        return each_entry(tables_.directory, count, [&](std::uint64_t i, std::uint32_t table) {
            const std::uint64_t before = i * tables_.entries_per_table;
            return check_table(table, before, std::min(tables_.entries_per_table, grains - before));
        });
    }

  private:
    Result<> check_table(std::uint64_t table, std::uint64_t first_grain, std::uint64_t count) {
        return each_entry(table, count, [&](std::uint64_t i, std::uint32_t grain) -> Result<> {
            if (grain == kZeroGrain) return {};
            if (compressed_) return check_compressed(grain);
            // The disk's last grain need not be whole.
            const std::uint64_t at = (first_grain + i) * tables_.grain;
            return needs(grain, std::min(tables_.grain, tables_.capacity - at) * kSectorBytes);
        });
    }

    // It begins with a marker: which sector it is of, and how long it is.
    Result<> check_compressed(std::uint64_t sector) const {
        constexpr std::uint64_t kMarkerBytes = 12;
        GOLDLINK_TRY(needs(sector, kMarkerBytes));
        GOLDLINK_TRY_ASSIGN(const auto marker, file_.read(sector * kSectorBytes, kMarkerBytes));
        return needs(sector, kMarkerBytes + load_le32(marker.data() + 8));
    }

    // Those of a table in the file that are not 0.
    template <typename Visit>
    Result<> each_entry(std::uint64_t sector, std::uint64_t count, Visit visit) {
        GOLDLINK_TRY(needs(sector, count * kEntryBytes));
        for (std::uint64_t done = 0; done < count;) {
            const auto some =
                static_cast<std::size_t>(std::min<std::uint64_t>(count - done, kEntriesAtOnce));
            GOLDLINK_TRY_ASSIGN(
                const auto bytes,
                file_.read(sector * kSectorBytes + done * kEntryBytes, some * kEntryBytes));
            for (std::size_t i = 0; i < some; ++i)
                if (const std::uint32_t entry = load_le32(bytes.data() + i * kEntryBytes);
                    entry != 0)
                    GOLDLINK_TRY(visit(done + i, entry));
            done += some;
        }
        return {};
    }

    Result<> needs(std::uint64_t sector, std::uint64_t bytes) const {
        if (sector <= file_.size_bytes / kSectorBytes &&
            bytes <= file_.size_bytes - sector * kSectorBytes)
            return {};
        return refuse(file_, fmt::format("was cut short, or is damaged: it has {} bytes, and parts "
                                         "of the disk lie past them (at sector {}). Copy it again",
                                         file_.size_bytes, sector));
    }

    const ImageFile& file_;
    const Tables tables_;
    const bool compressed_;
};

// Of a stream, whose tables come last: a copy of the header, with their place, and the end marker.
Result<> check_footer(const ImageFile& file) {
    constexpr std::uint64_t kFooterBytes = 2 * kSectorBytes;
    std::vector<std::uint8_t> footer;
    if (file.size_bytes >= kFooterBytes) {
        GOLDLINK_TRY_ASSIGN(footer, file.read(file.size_bytes - kFooterBytes, kSectorBytes));
    }
    if (has_magic(footer, kHostedMagic)) return GrainCheck(file, hosted(footer.data()), true).run();
    return refuse(file,
                  "was cut short: it is a VMDK whose tables come last, and they are not there. "
                  "Copy it again");
}

}  // namespace

Result<> check_vmdk_grains(const ImageFile& file, const std::vector<std::uint8_t>& first) {
    if (has_magic(first, kHostedMagic)) {
        const Tables tables = hosted(first.data());
        if (tables.directory == kTablesAtEnd) return check_footer(file);
        const bool compressed = (load_le32(first.data() + 8) & kCompressedFlag) != 0;
        return GrainCheck(file, tables, compressed).run();
    }
    if (has_magic(first, "COWD")) return GrainCheck(file, esx(first.data())).run();
    return {};
}

}  // namespace goldlink::store
