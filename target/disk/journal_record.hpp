// The journal's bytes. Pure. Little endian.
//
// File "journal":
//   header, 4,096 bytes:      offset  length
//     magic "GLovrly\n"          0       8
//     format version = 2         8       4   1 is read too, which has no groups
//     policy                    12       4   0 discard, 1 keep, 2 super
//     size of the disk          16       8   bytes
//     slots in the RAM file     24       4   slot numbers below are in slots-ram, others in slots
//     seed                      28       4   random; part of each record's check
//     base version's digest     32      64   hex
//     boot id of the machine    96      40   text, zero padded
//     the journal's file       136      48   text: Storage::file_id of who wrote it; "": not known
//     the slots file           184      48   the same
//     whose overlay it is      232      64   the link's id; zero: a program of before did not say
//     zero                     296    3796
//     CRC32C of the above     4092       4
//   records of 16 bytes, up to the first that is not valid:
//     block, or count of members 0       4
//     slot, or count of blocks   4       4
//     CRC32C of the block        8       4   0: not known (discard; checkpoints of older programs)
//     type                      12       1
//     check                     13       3   CRC32C of the 13 bytes above, the record's index, the
//     seed
//
// A `mark` says: all records below the 64-bit index in its first 8 bytes, and the blocks they
// speak of, are durable. It is written again when its sync has ended; what that proves says
// Journal::End. A record at or above the last mark's index counts after a power loss only
// if the slot's bytes have its CRC. What is written atomically is a `member` a block and then a
// `group`: all of them count or none, so one whose slot has not its CRC takes the others with it,
// and members without their group, where the journal was cut short, count for nothing. The check
// holds the index and the seed, so bytes of an older
// file in the same place never pass.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "common/result.hpp"

namespace goldlink::disk {

inline constexpr std::size_t kJournalHeaderBytes = 4096;
inline constexpr std::size_t kRecordBytes = 16;
inline constexpr std::uint32_t kJournalFormat = 2;

std::uint32_t crc32c(const std::uint8_t* data, std::size_t length, std::uint32_t seed = 0);

struct JournalHeader {
    std::uint32_t format = kJournalFormat;
    std::uint32_t policy = 0;
    std::uint64_t size_bytes = 0;
    std::uint32_t ram_slots = 0;
    std::uint32_t seed = 0;
    std::string version_digest;
    std::string boot_id;
    std::string journal_file, slots_file;
    std::string owner;

    std::array<std::uint8_t, kJournalHeaderBytes> encode() const;
    // `name` is for messages.
    static Result<JournalHeader> decode(const std::uint8_t* bytes, const std::string& name);
};

struct Record {
    enum class Type : std::uint8_t {
        write = 1,   // block is in slot
        zeroes = 2,  // `slot` blocks from `block` are zero
        mark = 3,
        sync_failed = 4,  // the storage refused to make data durable: trust CRCs alone from here
        snapshot = 5,     // block is in slot; from a checkpoint, whose mark covers it
        member = 6,       // like write, but counts only with the group it belongs to
        group = 7,        // the `block` records above, all members, count together or not at all
    };
    Type type = Type::write;
    std::uint32_t block = 0;
    std::uint32_t slot = 0;
    std::uint32_t crc = 0;

    static Record mark_of(std::uint64_t index) {
        return {Type::mark, static_cast<std::uint32_t>(index),
                static_cast<std::uint32_t>(index >> 32), 0};
    }
    static Record group_of(std::uint32_t members) { return {Type::group, members, 0, 0}; }
    std::uint64_t marked_index() const { return block | std::uint64_t{slot} << 32; }

    void encode(std::uint8_t* bytes, std::uint64_t index, std::uint32_t seed) const;
    static std::optional<Record> decode(const std::uint8_t* bytes, std::uint64_t index,
                                        std::uint32_t seed);
};

}  // namespace goldlink::disk
