#include "target/scsi/sense.hpp"

#include <algorithm>

#include "common/bytes.hpp"
#include "common/check.hpp"

namespace goldlink::scsi {

Sense sense_of(disk::Outcome outcome) {
    switch (outcome) {
        case disk::Outcome::medium_error:
            return sense::kUnrecoveredReadError;
        case disk::Outcome::write_failed:
            return sense::kWriteError;
        case disk::Outcome::out_of_space:
            return sense::kSpaceAllocationFailed;
        case disk::Outcome::out_of_range:
            return sense::kLbaOutOfRange;
        case disk::Outcome::gone:
            return sense::kBecomingReady;
        case disk::Outcome::ok:
            break;
    }
    CHECK(outcome != disk::Outcome::ok, "a request that went well has no sense");
    return sense::kInternalTargetFailure;
}

namespace {

bool has_key_specific(const Sense& sense) { return sense.has_field_pointer || sense.has_progress; }

constexpr std::uint8_t kCommandDataBit = 0x40;         // C/D: the pointer is into the CDB
constexpr std::uint8_t kSenseKeySpecificValid = 0x80;  // SKSV

// Field pointer or progress indication (SPC-4 4.5.2.4).
void put_key_specific(const Sense& sense, std::uint8_t* out) {
    const bool in_cdb = sense.has_field_pointer && sense.field_in_cdb;
    out[0] = static_cast<std::uint8_t>(kSenseKeySpecificValid | (in_cdb ? kCommandDataBit : 0));
    store_be16(out + 1, sense.has_field_pointer ? sense.field_byte : sense.progress);
}

// SPC-4 4.5.3
std::size_t encode_fixed(const Sense& sense, std::span<std::uint8_t, 64> out) {
    constexpr std::size_t kLength = 18;
    // A 64-bit INFORMATION that does not fit is left out (SPC-4 4.5.3: VALID is zero).
    const bool valid = sense.has_information && sense.information <= 0xFFFFFFFFu;
    out[0] = static_cast<std::uint8_t>(0x70 | (valid ? 0x80 : 0));
    out[2] = sense.key;
    if (valid) store_be32(&out[3], static_cast<std::uint32_t>(sense.information));
    out[7] = kLength - 8;
    out[12] = sense.asc;
    out[13] = sense.ascq;
    if (has_key_specific(sense)) put_key_specific(sense, &out[15]);
    return kLength;
}

// SPC-4 4.5.2
std::size_t encode_descriptor(const Sense& sense, std::span<std::uint8_t, 64> out) {
    out[0] = 0x72;
    out[1] = sense.key;
    out[2] = sense.asc;
    out[3] = sense.ascq;
    std::size_t at = 8;
    if (sense.has_information) {  // 4.5.2.2
        out[at] = 0x00;
        out[at + 1] = 0x0A;
        out[at + 2] = 0x80;
        store_be64(&out[at + 4], sense.information);
        at += 12;
    }
    if (has_key_specific(sense)) {  // 4.5.2.4
        out[at] = 0x02;
        out[at + 1] = 0x06;
        put_key_specific(sense, &out[at + 4]);
        at += 8;
    }
    out[7] = static_cast<std::uint8_t>(at - 8);
    return at;
}

}  // namespace

std::size_t encode_sense(const Sense& sense, bool descriptor, std::span<std::uint8_t, 64> out) {
    std::ranges::fill(out, std::uint8_t{0});
    return descriptor ? encode_descriptor(sense, out) : encode_fixed(sense, out);
}

}  // namespace goldlink::scsi
