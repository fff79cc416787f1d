// What the disc in a CD-ROM drive says of itself: READ CAPACITY, READ FORMAT CAPACITIES, READ
// TOC/PMA/ATIP, READ DISC INFORMATION, READ DISC STRUCTURE (MMC-6 6.21, 6.23, 6.25, 6.22, 6.22.2):
// one session of one data track that begins at block 0 and fills the disc.
#include "target/scsi/cdrom.hpp"
#include "target/scsi/parameter_data.hpp"

namespace goldlink::scsi {

namespace {

constexpr std::uint8_t kTrack = 1;
constexpr std::uint8_t kLeadOut = 0xAA;
constexpr std::uint8_t kDataTrack = 0x14;  // ADR 1, CONTROL 4: position, data
constexpr Sense kIncompatibleFormat = sense::make(0x5, 0x30, 0x02);

// Minutes, seconds and frames (MMC-6 4.2.3.6); what lies beyond is shown as the last there is.
void minutes_seconds_frames(ParameterData& data, std::uint64_t lba) {
    const std::uint64_t frames = std::min<std::uint64_t>(lba + 150, 256 * 60 * 75 - 1);
    data.u8(static_cast<std::uint8_t>(frames / (60 * 75)));
    data.u8(static_cast<std::uint8_t>(frames / 75 % 60));
    data.u8(static_cast<std::uint8_t>(frames % 75));
}

void address(ParameterData& data, std::uint64_t lba, bool msf) {
    if (!msf) {
        data.be32(static_cast<std::uint32_t>(lba));
        return;
    }
    data.u8(0);
    minutes_seconds_frames(data, lba);
}

void track_descriptor(ParameterData& data, std::uint8_t track, std::uint64_t lba, bool msf) {
    data.u8(0);
    data.u8(kDataTrack);
    data.u8(track);
    data.u8(0);
    address(data, lba, msf);
}

enum TocFormat : std::uint8_t { kFormattedToc = 0, kSessions = 1, kRawToc = 2 };

// Format 0000b of the CDB's byte 2 leaves it to the two high bits of byte 9, where SFF 8020 has it.
std::uint8_t toc_format(const Task& task) {
    const std::uint8_t format = task.cdb[2] & 0x0F;
    return format != 0 ? format : static_cast<std::uint8_t>(task.cdb[9] >> 6);
}

void formatted_toc(const LogicalUnit& unit, ParameterData& data, std::uint8_t from, bool msf) {
    data.u8(kTrack);
    data.u8(kTrack);
    if (from <= kTrack) track_descriptor(data, kTrack, 0, msf);
    track_descriptor(data, kLeadOut, unit.block_count, msf);
}

// The first track of the last session: drivers find where to mount by it.
void sessions(ParameterData& data, bool msf) {
    data.u8(1);
    data.u8(1);
    track_descriptor(data, kTrack, 0, msf);
}

// MMC-6 table 479: as the lead-in has it, always in minutes, seconds and frames.
void raw_toc(const LogicalUnit& unit, ParameterData& data) {
    enum Point : std::uint8_t { kFirstTrack = 0xA0, kLastTrack = 0xA1, kLeadOutStart = 0xA2 };
    data.u8(1);
    data.u8(1);
    for (const std::uint8_t point : {std::uint8_t{kFirstTrack}, std::uint8_t{kLastTrack},
                                     std::uint8_t{kLeadOutStart}, kTrack}) {
        data.u8(1);  // session
        data.u8(kDataTrack);
        data.u8(0);
        data.u8(point);
        data.zeroes(4);
        if (point == kFirstTrack || point == kLastTrack) {
            data.u8(kTrack);
            data.be16(0);  // and DISC TYPE 00h: CD-ROM
        } else {
            minutes_seconds_frames(data, point == kTrack ? 0 : unit.block_count);
        }
    }
}

}  // namespace

Step prepare_cdrom_read_capacity(LogicalUnit& unit, Task& task) noexcept {
    return check_disc(unit, task) == Step::finished ? Step::finished
                                                    : prepare_read_capacity_10(unit, task);
}

Step prepare_format_capacities(LogicalUnit&, Task& task) noexcept {
    return grant_parameter_data(task, load_be16(&task.cdb[7]));
}

Step execute_format_capacities(LogicalUnit& unit, Task& task) noexcept {
    constexpr std::uint8_t kFormatted = 0x02;
    constexpr std::uint8_t kNoMedium = 0x03;
    ParameterData data(task);
    data.be32(8);  // CAPACITY LIST LENGTH in the last byte
    data.be32(unit.ejected ? 0 : static_cast<std::uint32_t>(unit.block_count));
    data.be32(static_cast<std::uint32_t>(unit.ejected ? kNoMedium : kFormatted) << 24 |
              unit.block_bytes());
    return data.finish();
}

Step prepare_read_toc(LogicalUnit& unit, Task& task) noexcept {
    if (check_disc(unit, task) == Step::finished) return Step::finished;
    const std::uint8_t format = toc_format(task);
    const std::uint8_t track = task.cdb[6];
    if (format > kRawToc) return fail_cdb_field(task, 2);
    const std::uint8_t last = format == kFormattedToc ? kLeadOut : kTrack;  // a session's number
    if (track > kTrack && track != last) return fail_cdb_field(task, 6);
    return grant_parameter_data(task, load_be16(&task.cdb[7]));
}

Step execute_read_toc(LogicalUnit& unit, Task& task) noexcept {
    const bool msf = (task.cdb[1] & 0x02) != 0;
    ParameterData data(task);
    data.be16(0);
    switch (toc_format(task)) {
        case kFormattedToc:
            formatted_toc(unit, data, task.cdb[6], msf);
            break;
        case kSessions:
            sessions(data, msf);
            break;
        default:
            raw_toc(unit, data);
            break;
    }
    data.patch_be16(0, data.size() - 2);
    return data.finish();
}

Step prepare_disc_information(LogicalUnit& unit, Task& task) noexcept {
    if (check_disc(unit, task) == Step::finished) return Step::finished;
    if ((task.cdb[1] & 0x07) != 0) return fail_cdb_field(task, 1);  // standard information only
    return grant_parameter_data(task, load_be16(&task.cdb[7]));
}

// MMC-6 table 365
Step execute_disc_information(LogicalUnit&, Task& task) noexcept {
    constexpr std::uint8_t kSessionCompleteDiscFinal = 0x0E;  // not erasable
    constexpr std::uint8_t kUnrestrictedUse = 0x20;
    ParameterData data(task);
    data.be16(32);
    data.u8(kSessionCompleteDiscFinal);
    data.u8(kTrack);  // first track
    data.u8(1);       // sessions
    data.u8(kTrack);  // first and last track of the last session
    data.u8(kTrack);
    data.u8(kUnrestrictedUse);
    data.zeroes(8);         // DISC TYPE 00h: CD-ROM; no identification
    data.be32(0xFFFFFFFF);  // nothing can be added: no lead-in and
    data.be32(0xFFFFFFFF);  // no lead-out to come
    data.zeroes(10);
    return data.finish();
}

namespace {
enum DiscStructure : std::uint8_t { kPhysicalFormat = 0x00, kCopyright = 0x01 };
}

Step prepare_disc_structure(LogicalUnit& unit, Task& task) noexcept {
    if (check_disc(unit, task) == Step::finished) return Step::finished;
    if ((task.cdb[1] & 0x0F) != 0) return fail_cdb_field(task, 1);  // MEDIA TYPE: DVD
    if (disc_profile(unit) != DiscProfile::dvd_rom) return fail(task, kIncompatibleFormat);
    if (task.cdb[6] != 0) return fail_cdb_field(task, 6);  // one layer
    if (task.cdb[7] > kCopyright) return fail_cdb_field(task, 7);
    return grant_parameter_data(task, load_be16(&task.cdb[8]));
}

// MMC-6 6.22.3.2.1 and 6.22.3.2.2
Step execute_disc_structure(LogicalUnit& unit, Task& task) noexcept {
    constexpr std::uint8_t kDvdRomBook = 0x01;
    constexpr std::uint8_t k120mmAnyRate = 0x0F;
    constexpr std::uint8_t kEmbossed = 0x01;
    constexpr std::uint32_t kFirstSector = 0x30000;
    ParameterData data(task);
    data.be32(0);
    if (task.cdb[7] == kPhysicalFormat) {
        data.u8(kDvdRomBook);
        data.u8(k120mmAnyRate);
        data.u8(kEmbossed);
        data.u8(0);
        data.be32(kFirstSector);
        data.be32(kFirstSector + static_cast<std::uint32_t>(unit.block_count - 1));
        data.be32(0);
        data.zeroes(2048 - 16);
    } else {
        data.be32(0);  // no protection, all regions
    }
    data.patch_be16(0, data.size() - 2);
    return data.finish();
}

}  // namespace goldlink::scsi
