// The token commands of third-party copy as an initiator makes them (SBC-3 5.7, 5.45), and what
// RECEIVE ROD TOKEN INFORMATION (SPC-4 6.24, SBC-3 5.25) told.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tests/unit/scsi/copy_rig.hpp"

namespace goldlink::scsi::testing {

using Buffer = std::vector<std::uint8_t>;
using Ranges = std::vector<std::pair<std::uint64_t, std::uint32_t>>;

inline constexpr std::uint64_t kMiB = 1 << 20;

inline void add_ranges(Buffer& list, const Ranges& ranges) {
    for (const auto& [lba, blocks] : ranges) {
        const std::size_t at = list.size();
        list.resize(at + 16);
        store_be64(&list[at], lba);
        store_be32(&list[at + 8], blocks);
    }
    store_be16(&list[0], static_cast<std::uint16_t>(list.size() - 2));
}

inline Buffer populate_list(const Ranges& ranges, std::uint32_t inactivity = 0) {
    Buffer list(16);
    store_be32(&list[4], inactivity);
    store_be16(&list[14], static_cast<std::uint16_t>(ranges.size() * 16));
    add_ranges(list, ranges);
    return list;
}

inline Buffer write_list(const Buffer& token, const Ranges& ranges, std::uint64_t offset = 0,
                         unsigned flags = 0) {
    Buffer list(536);
    list[2] = static_cast<std::uint8_t>(flags);
    store_be64(&list[8], offset);
    std::ranges::copy(token, list.begin() + 16);
    store_be16(&list[534], static_cast<std::uint16_t>(ranges.size() * 16));
    add_ranges(list, ranges);
    return list;
}

inline Buffer zero_token() {
    Buffer token(512);
    store_be32(&token[0], 0xFFFF0001);
    store_be16(&token[6], 0x1F8);
    return token;
}

inline Command& populate(CopyRig& rig, const Buffer& list, std::uint64_t lun = 0,
                         std::uint32_t id = 1) {
    return rig.finish(copy_out(0x10, id, list.size()), list, lun);
}
inline Command& write_using(CopyRig& rig, const Buffer& list, std::uint64_t lun = 0,
                            std::uint32_t id = 2) {
    return rig.finish(copy_out(0x11, id, list.size()), list, lun);
}

struct Information {
    unsigned action, status, completion, units;
    std::uint64_t transferred;
    Buffer sense, token;
};
inline Information information(CopyRig& rig, std::uint32_t id) {
    Command& command = rig.run(copy_in(0x07, id));
    REQUIRE(command.good());
    const Buffer raw = copy(command.data_in());
    REQUIRE(raw.size() >= 36);
    REQUIRE(load_be32(&raw[0]) == raw.size() - 4);
    Information out{raw[4], raw[5], raw[12], raw[15], load_be64(&raw[16]), {}, {}};
    const std::size_t sense_length = raw[13];
    REQUIRE(raw[14] <= sense_length);
    REQUIRE(raw.size() >= 36 + sense_length);
    out.sense.assign(raw.begin() + 32, raw.begin() + 32 + raw[14]);
    const std::size_t at = 32 + sense_length;
    REQUIRE(load_be32(&raw[at]) == raw.size() - at - 4);
    if (raw.size() > at + 6)
        out.token.assign(raw.begin() + static_cast<std::ptrdiff_t>(at + 6), raw.end());
    return out;
}

inline Buffer token_of(CopyRig& rig, const Ranges& ranges, std::uint64_t lun = 0,
                       std::uint32_t id = 1) {
    REQUIRE(populate(rig, populate_list(ranges), lun, id).good());
    Buffer token = information(rig, id).token;
    REQUIRE(token.size() == 512);
    return token;
}

inline void fill_all(CopyRig& rig) {
    for (std::size_t unit = 0; unit < 3; ++unit)
        rig.fill(unit, 0, CopyRig::kBytes, static_cast<std::uint32_t>(unit + 7));
}

}  // namespace goldlink::scsi::testing
